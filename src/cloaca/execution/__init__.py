"""Executors: the contract that a run knows, and the one that runs tasks in the program itself."""
