"""ClickHouse's own compression of bodies, beside the content encodings of HTTP (body.py)."""
