"""Hostile Sentry bodies: items, records, names and texts that cost more than their size suggests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ops.bench.abuse.shape import AbuseKind, Shape, nest, repeat, repeat_numbered

ENVELOPE: Final = "sentry.envelope"
STORE: Final = "sentry.store"
ENVELOPE_TYPE: Final = "application/x-sentry-envelope"
JSON: Final = "application/json"


ID: Final = b"a" * 32


KEY: Final = b"ak_0123456789abcdef0123456789abcdef"


NOW_S: Final = b"1795272300"

Part = Callable[[Shape], bytes]


def build_envelope(*items: bytes) -> bytes:
    """A header line and these items."""
    return b'{"event_id":"%b"}\n' % ID + b"".join(items)


def build_item(kind: str, payload: bytes) -> bytes:
    """One item with its length."""
    return b'{"type":"%b","length":%d}\n%b\n' % (kind.encode(), len(payload), payload)


def of(kind: str, payload: Part) -> Part:
    return lambda shape: build_envelope(build_item(kind, payload(shape)))


def build_event(members: Part) -> Part:
    """An event with these members."""
    return of("event", lambda shape: b'{"event_id":"%b",%b}' % (ID, members(shape)))


def member(name: str, value: Part) -> Part:
    return build_event(lambda shape: b'"%b":%b' % (name.encode(), value(shape)))


def list_of(unit: bytes | Part) -> Part:
    return lambda shape: b"[%b]" % repeat(unit(shape) if callable(unit) else unit, shape.size_bytes, b",")


def object_of(value: bytes) -> Part:
    """An object with different names and equal values."""
    return lambda shape: b"{%b}" % repeat_numbered(lambda n: b'"k%07d":%b' % (n, value), shape.size_bytes, b",")


def string_of(unit: bytes) -> Part:
    return lambda shape: b'"%b"' % repeat(unit, shape.size_bytes)


def deep_list(opening: bytes, closing: bytes) -> Part:
    return lambda shape: b"[%b]" % repeat(nest(opening, b"1", closing, shape.depth), shape.size_bytes, b",")


def strange(payload: Part) -> Part:
    """A NaN at the end: JSON that a slower parser has to parse again."""
    return lambda shape: payload(shape)[:-1] + b",NaN]"


EMPTY_LISTS: Final = strange(list_of(b"[]"))


ALL: Final = 5_900_000


LARGE: Final = Shape(size_bytes=ALL)


WIDE: Final = Shape(width=100)


def abuse_kinds(
    route: str, content_type: str, *bodies: tuple[str, Part] | tuple[str, Part, Shape]
) -> tuple[AbuseKind, ...]:
    return tuple(
        AbuseKind(body[0], route, content_type, body[1], body[2] if len(body) == 3 else Shape()) for body in bodies
    )


KINDS: Final = abuse_kinds(
    STORE,
    JSON,
    ("store: empty lists and NaN", lambda s: b'{"message":"x","extra":{"a":%b}}' % EMPTY_LISTS(s), LARGE),
    (
        "store: deep lists and NaN",
        lambda s: b'{"extra":{"a":%b}}' % strange(deep_list(b"[", b"]"))(s),
        Shape(size_bytes=ALL, depth=300),
    ),
    ("store: names and NaN", lambda s: b'{"extra":%b,"a":NaN}' % object_of(b"1")(s), LARGE),
)
