"""The program's side of workers: which there are, and what they are given to do."""
