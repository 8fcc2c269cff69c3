"""What existing scripts bring along: their configuration, the URL of a database, the full names of tasks."""
