"""What a workflow is, once it is built: nothing of it ever changes."""
