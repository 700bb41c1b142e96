"""State of workers and streams, quotas, and the reconciliation."""
