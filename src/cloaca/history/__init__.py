"""The plan of a workflow, what was written under it, and who sees what of that. Pure."""
