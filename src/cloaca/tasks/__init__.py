"""What a task has in hand: its context and all that comes with it, and how its function is called."""
