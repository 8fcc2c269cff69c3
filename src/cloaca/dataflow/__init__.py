"""Whether what tasks read can come: worked out from declarations and from source, without running anything."""
