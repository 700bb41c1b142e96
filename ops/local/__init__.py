"""`axonpush up`: runs the whole system on one machine, including embedded NATS and ClickHouse servers."""
