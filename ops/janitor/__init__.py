"""Room in RAW, and what the broker cannot tell Prometheus itself."""
