"""Who may query the embedded engine, and what statements may hold."""
