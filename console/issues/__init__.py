"""Issues: lists, one issue, its events, and what people do with them."""
