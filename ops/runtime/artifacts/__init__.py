"""Uploaded artifacts in the broker's object store: what the console writes and event workers read."""
