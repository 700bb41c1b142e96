"""Mutation of binary protobuf by its fields, without a schema: dropped, doubled, retagged, wrapped, relabelled."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from schemas.otlp.protobuf_wire import FIXED32, FIXED64, LENGTH, VARINT, WireError, fields, length_field, varint_bytes

_NUMBERS: Final = (0, 1, 5, 127, 128, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
_CONTENTS: Final = (
    *(b"", b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"\0" * 16, b"\0" * 8, b"x" * 5000, b"\x0a\x00" * 30, b"\x08\x01"),
    *(b"\x0b\x0c", b"\x0b", b"\x80" * 11, b"\x00", b"\x12\x7f", b"\x32\x02\x0a\x00"),
)
_MAX_DEPTH: Final = 8

Field = tuple[int, Any]


def mutate_protobuf(rng: Random, body: bytes) -> bytes | None:
    """`body` with one change to one field, at any depth; None if it is no message, or an empty one."""
    return _mutated(rng, body, 0)


def _mutated(rng: Random, body: bytes, depth: int) -> bytes | None:
    try:
        found = list(fields(body))
    except WireError:
        return None
    if not found:
        return None
    at = rng.randrange(len(found))
    tag, value = found[at]
    if isinstance(value, bytes) and depth < _MAX_DEPTH and rng.random() < 0.8:
        inner = _mutated(rng, value, depth + 1)
        if inner is not None:
            found[at] = (tag, inner)
            return b"".join(map(_written, found))
    return _changed(rng, found, at)


def _changed(rng: Random, found: list[Field], at: int) -> bytes:
    tag, value = found[at]
    choice = rng.randrange(9)
    if choice == 0:
        del found[at]
    elif choice == 1:
        found.extend([found[at]] * rng.choice((1, 3, 60)))
    elif choice == 2:
        other = rng.randrange(len(found))
        found[at], found[other] = found[other], found[at]
    elif choice == 3:
        found[at] = (rng.randint(0, 20) << 3 | tag & 7, value)
    elif choice == 4:
        found[at] = (tag & ~7 | rng.choice((VARINT, FIXED64, FIXED32)), rng.choice(_NUMBERS))
    elif choice == 5:
        found[at] = (tag & ~7 | LENGTH, rng.choice(_CONTENTS))
    elif choice == 6:
        found[at] = (tag, _wrapped(rng, value)) if isinstance(value, bytes) else (tag, rng.choice(_NUMBERS))
    elif choice == 7:
        return b"".join(map(_written, found[:at])) + _lying(rng, found[at]) + b"".join(map(_written, found[at + 1 :]))
    else:
        found.insert(at, (rng.choice((1000, 1, 536870911, 99)) << 3 | LENGTH, rng.choice(_CONTENTS)))
    return b"".join(map(_written, found))


def _wrapped(rng: Random, value: bytes) -> bytes:
    """AnyValue in AnyValue: ArrayValue is field 5 and its values field 1, KeyValueList field 6."""
    for _ in range(rng.choice((1, 3, 40, 400))):
        value = length_field(rng.choice((5, 6)), length_field(1, value))
    return value


def _lying(rng: Random, field: Field) -> bytes:
    """A field whose length is wrong, or a group that may have no end."""
    tag, value = field
    content = value if isinstance(value, bytes) else b"\x01"
    if rng.random() < 0.3:
        return varint_bytes(tag & ~7 | 3) + content + (varint_bytes(tag & ~7 | 4) if rng.random() < 0.5 else b"")
    length = rng.choice((0, 1, len(content) + 1, max(len(content) - 1, 0), 2**31, 2**63))
    return varint_bytes(tag & ~7 | LENGTH) + varint_bytes(length) + content


def _written(field: Field) -> bytes:
    tag, value = field
    wire = tag & 7
    if isinstance(value, bytes):
        return varint_bytes(tag & ~7 | LENGTH) + varint_bytes(len(value)) + value
    if wire == FIXED64:
        return varint_bytes(tag) + int(value % 2**64).to_bytes(8, "little")
    if wire == FIXED32:
        return varint_bytes(tag) + int(value % 2**32).to_bytes(4, "little")
    return varint_bytes(tag & ~7 | VARINT) + varint_bytes(value)
