"""Organisations, channels, keys and environments: changes, and export and import as a file."""
