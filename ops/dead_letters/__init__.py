"""What operators do with messages that could not become rows."""
