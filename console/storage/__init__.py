"""ClickHouse for the console: bounded queries and confirmed inserts."""
