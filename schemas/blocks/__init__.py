"""Rows as the bytes of their columns, in the format of an insert."""
