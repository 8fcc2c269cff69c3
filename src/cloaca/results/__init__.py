"""What a run leaves to who asked for it."""
