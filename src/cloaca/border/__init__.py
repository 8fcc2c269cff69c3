"""What the program and its workers share, or hand over to one another."""
