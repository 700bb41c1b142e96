"""What all processes share: subjects, headers, parsers of received bytes, row identity. No I/O and no clock."""

# ops/cli/installed.py checks this name: another distribution's package `schemas` does not have it.
DISTRIBUTION = "axonpush-ingest"
