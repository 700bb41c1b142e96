"""Parsers in C: how they are built, and the switch between them and the Python versions."""
