"""Commands `axonpush alerts …`, which ask the console."""
