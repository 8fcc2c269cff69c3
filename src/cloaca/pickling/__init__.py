"""Functions and classes to bytes, and back: what cloudpickle does, and what it leaves to be done."""
