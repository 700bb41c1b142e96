"""Turns messages into rows: messages in, rows out, acknowledgement last."""

# Read by ops/cli/installed.py: another package of the same name, installed over ours, does not have it.
DISTRIBUTION = "axonpush-ingest"
