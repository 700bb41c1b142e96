"""Uploaded source maps and mappings: lists, deletion, pruning, and events that are processed again for them."""
