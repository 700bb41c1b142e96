"""Minidumps to errors: the file, its streams, and what they say in words."""
