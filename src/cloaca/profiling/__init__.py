"""Profiles of tasks: how they are taken by others' profilers, put together, and shown by others' viewers."""
