"""What an operator runs: the command line, provisioning, the embedded servers. Nothing else changes servers."""

# Read by ops/cli/installed.py: another package of the same name, installed over ours, does not have it.
DISTRIBUTION = "axonpush-ingest"
