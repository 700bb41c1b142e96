"""The reconciliation for the console's page, computed by the janitor while somebody looks."""
