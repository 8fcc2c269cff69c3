"""The worker's side: reads assignments, runs them one by one, reports each."""
