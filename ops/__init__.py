"""What an operator runs: commands, provisioning, embedded servers. No other package changes servers."""

# ops/cli/installed.py checks this name: another distribution's package `ops` does not have it.
DISTRIBUTION = "axonpush-ingest"
