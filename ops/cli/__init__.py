"""The command `axonpush`: each command reads its options, calls, and prints. The work is done elsewhere."""
