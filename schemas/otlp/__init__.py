"""OTLP over HTTP: parses bodies in protobuf and JSON to the same records, and writes answers."""
