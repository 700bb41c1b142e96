"""Hostile bodies: every known kind, and variants for a search."""
