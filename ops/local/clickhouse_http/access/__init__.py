"""Access control of the embedded engine: who may query, and what statements may contain."""
