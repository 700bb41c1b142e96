"""Stores rows: batches, inserts, failed inserts, dead letters."""
