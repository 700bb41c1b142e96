"""Writes multipart/form-data bodies for tests, as uploaders do. No test lives here."""

from __future__ import annotations

from collections.abc import Sequence

BOUNDARY = "----axonpush-7MA4YWxk"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

# (name, content) of a text field, or (name, content, filename) of a file.
Field = tuple[str, bytes] | tuple[str, bytes, str]


def write(fields: Sequence[Field], boundary: str = BOUNDARY) -> bytes:
    """The body."""
    return b"".join(_part(field, boundary) for field in fields) + f"--{boundary}--\r\n".encode()


def _part(field: Field, boundary: str) -> bytes:
    filename = f'; filename="{field[2]}"\r\nContent-Type: application/octet-stream' if len(field) == 3 else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field[0]}"{filename}\r\n\r\n'
    return head.encode() + field[1] + b"\r\n"
