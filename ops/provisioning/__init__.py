"""Streams, consumers, buckets and tables, as data and as `axonpush migrate` makes them."""
