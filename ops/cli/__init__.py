"""The command `axonpush`. Each command reads its options, calls the code that does the work, and prints the result."""
