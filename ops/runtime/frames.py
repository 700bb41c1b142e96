"""Encodes messages for NATS and writes many of them at once.

group_commit.py decides what a message is and when it counts as stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NEWLINES: Final = str.maketrans({"\r": " ", "\n": " "})
_BLANK: Final = re.compile(r"[ \t\r\n]")


class Block:
    """Headers that many messages share, encoded once. Do not change them."""

    __slots__ = ("fields", "lines")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        self.lines = lines(fields)


def lines(headers: Mapping[str, str]) -> bytes:
    """Encodes headers to the same bytes as nats-py; a value cannot start another header line.

    Raises nats.errors.BadHeaderError for an invalid name.
    """
    return "".join([f"{_name(name)}: {_value(value)}\r\n" for name, value in headers.items()]).encode()


def frame(subject: str, body: bytes, header_lines: bytes) -> bytes:
    """The bytes that precede `body` on the wire; a CRLF follows it. Raises nats.errors.BadSubjectError."""
    size_bytes = len(header_lines) + 12  # NATS/1.0 and its CRLF, and the CRLF that ends the headers
    return b"HPUB %s  %d %d\r\nNATS/1.0\r\n%s\r\n" % (
        _subject(subject),
        size_bytes,
        size_bytes + len(body),
        header_lines,
    )


NOTHING_SHARED: Final = Block({})


def can_write(client: Client) -> bool:
    """Whether `write` works for this connection: nats-py has no public way to send prepared bytes."""
    return client.is_connected and isinstance(getattr(client, "_transport", None), TcpTransport)


def write(client: Client, messages: Iterable[tuple[bytes, bytes]]) -> None:
    """Sends the (frame, body) pairs with one write and without copying, before anything published later.

    Client.publish encodes headers line by line and copies the body three times
    (docs/decisions/0014-receiver.md). Nothing is awaited: the caller limits how many bytes are in flight.
    Raises nats.errors.ConnectionClosedError.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    for head, body in messages:
        pieces += (head, body, b"\r\n")
        size_bytes += len(body)
    try:
        client._transport.writelines(pieces)  # type: ignore[union-attr]  # can_write has looked
    except RuntimeError as error:  # the event loop noticed the closed connection, nats-py has not yet
        raise nats.errors.ConnectionClosedError from error
    client.stats["out_msgs"] += len(pieces) // 3
    client.stats["out_bytes"] += size_bytes


@lru_cache(maxsize=1024)
def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise nats.errors.BadHeaderError(name)
    return name


def _value(value: str) -> str:
    value = value.strip()
    return value.translate(_NEWLINES) if "\n" in value or "\r" in value else value


@lru_cache(maxsize=4096)
def _subject(subject: str) -> bytes:
    if not subject or _BLANK.search(subject):
        raise nats.errors.BadSubjectError
    return subject.encode()
