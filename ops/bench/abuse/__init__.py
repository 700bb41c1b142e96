"""Abusive bodies: every kind we know, and variants that a search may try."""
