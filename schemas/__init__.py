"""The words every process shares: subjects, headers, readers of outside bytes, rows. No I/O and no clock."""

# Read by ops/cli/installed.py: another package of the same name, installed over ours, does not have it.
DISTRIBUTION = "axonpush-ingest"
