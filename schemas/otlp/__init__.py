"""OTLP over HTTP: bodies in protobuf and JSON to one form of record, and the bodies of answers."""
