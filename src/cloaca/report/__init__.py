"""What a run left, as a page to look at."""
