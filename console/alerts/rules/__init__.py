"""The three kinds of rules: what they ask ClickHouse, and what follows from the answers."""
