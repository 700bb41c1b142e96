"""Native events to rows."""
