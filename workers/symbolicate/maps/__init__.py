"""Source maps and ProGuard mappings: built and asked in a process of their own."""
