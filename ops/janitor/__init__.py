"""Deletes processed bodies from RAW, and exports metrics about the broker."""
