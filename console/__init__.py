"""What people and their tools read: the Web API.

Reads ClickHouse; writes states of issues, releases, deploys and uploaded artifacts.
"""

# ops/cli/installed.py checks it: a package of this name exists on the package index.
DISTRIBUTION = "axonpush-ingest"
