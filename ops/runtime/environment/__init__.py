"""Which environment variables our programs know."""
