"""Rows out: batches, inserts, what to do about failures, dead letters."""
