"""Organisations, channels, keys and environments: changes, and the registry as a file."""
