"""What operators do with dead letters: list, retry, drop."""
