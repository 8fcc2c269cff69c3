"""What this machine leaves to the program."""
