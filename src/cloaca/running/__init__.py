"""A run in the program: its loop, its coordinator, and what is told of it while it goes on."""
