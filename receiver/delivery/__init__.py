"""From an admitted request to the broker's acknowledgement, and what became of it."""
