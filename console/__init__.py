"""What people and their tools read: the Web API. Reads ClickHouse; writes states of issues, releases and deploys."""

# ops/cli/installed.py checks it: a package of this name exists on the package index.
DISTRIBUTION = "axonpush-ingest"
