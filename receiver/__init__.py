"""Accepts requests and stores their bodies as they came. Only what an answer needs is read out of a body."""

# Read by ops/cli/installed.py: another package of the same name, installed over ours, does not have it.
DISTRIBUTION = "axonpush-ingest"
