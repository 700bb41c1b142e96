"""Minified stack frames into frames of the source: maps are found, built in a child process, and asked."""
