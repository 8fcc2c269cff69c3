"""What happens in executions is recorded, and read again: to go on, to reuse, to look back."""
