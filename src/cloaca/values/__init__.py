"""Values to bytes, and back; where large ones lie, and for how long."""
