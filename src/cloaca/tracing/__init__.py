"""A run as other programs show it that trace programs."""
