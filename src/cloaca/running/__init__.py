"""A run in the program: its loop, what goes to workers and comes back, and what it leaves."""
