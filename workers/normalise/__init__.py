"""Pure functions from messages to rows. registry.py names one for each item type."""
