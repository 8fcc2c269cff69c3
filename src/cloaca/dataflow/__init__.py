"""Whether what tasks read can come: worked out from declarations and from bytecode, without running anything."""
