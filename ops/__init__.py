"""The keys: the command line, provisioning and the embedded servers. The only room that changes servers."""

# Read by ops/cli/installed.py: another package of the same name, installed over ours, does not have it.
DISTRIBUTION = "axonpush-ingest"
