"""Where executions are recorded, and what is recorded of them."""
