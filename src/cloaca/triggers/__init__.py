"""Whether a task starts: rules by name, conditions, and what becomes of them."""
