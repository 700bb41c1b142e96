"""OTLP bodies to rows: the walk over a body, one span, one log record."""
