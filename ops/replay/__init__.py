"""Stored bodies processed once more."""
