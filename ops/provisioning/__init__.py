"""Streams, consumers, buckets and tables as data, and `axonpush migrate`, which creates them."""
