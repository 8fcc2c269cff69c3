"""What users write workflows with: the block, the decorator, and what they check."""
