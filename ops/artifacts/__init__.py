"""Uploaded source maps and mappings: lists, deletion and pruning, and events that are processed again after an upload."""
