"""What keeps one rule, one organisation or one sender from stopping the alerts of others: pauses, turns, bounds."""
