"""What one attempt does, in whichever process it runs."""
