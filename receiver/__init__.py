"""Accepts requests: bytes in, broker acknowledgement out. It never looks inside an item."""

# Read by ops/cli/installed.py: another package of the same name, installed over ours, does not have it.
DISTRIBUTION = "axonpush-ingest"
