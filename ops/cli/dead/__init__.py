"""The commands `axonpush dead …`: their options, and what they print. ops/dead_letters/ does the work."""
