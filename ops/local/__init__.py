"""`axonpush up`: everything on one machine, the embedded NATS and ClickHouse included."""
