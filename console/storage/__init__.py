"""ClickHouse for the console: bounded queries, confirmed inserts, times."""
