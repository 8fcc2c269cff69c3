"""Does: runs assignments, in this process or in others. Knows messages, not workflows."""
