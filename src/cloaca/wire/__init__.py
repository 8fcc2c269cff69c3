"""The vocabulary that the program and its workers share: messages, and how they travel."""
