"""One event through the whole path, again and again."""
