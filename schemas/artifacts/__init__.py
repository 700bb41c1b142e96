"""Uploaded files that make stack traces readable: bundles of source maps, mappings; their names, their index."""
