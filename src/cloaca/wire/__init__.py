"""The vocabulary that coordinator and workers share: messages, and how values become bytes."""
