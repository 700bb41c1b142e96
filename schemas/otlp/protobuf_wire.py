"""Parses the protobuf wire format to fields, without a schema."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32 = range(6)
# Maximum fields of a message: no message that we parse has as many, and each takes time.
MAX_FIELDS: Final = 1_000_000
U32: Final = 0xFFFF_FFFF
U64: Final = 0xFFFF_FFFF_FFFF_FFFF

_fixed64 = struct.Struct("<Q").unpack_from
_fixed32 = struct.Struct("<I").unpack_from


class WireError(ValueError):
    """The bytes are not a protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yields (tag, value) of each field; a tag is field number * 8 + wire type.

    The value is an int for varint, fixed64 and fixed32 (raw bits), else bytes. Groups are skipped. Raises WireError at
    the first invalid byte.
    """
    i, end = 0, len(data)
    try:
        for _ in range(MAX_FIELDS):
            if i >= end:
                break
            tag, i = varint_at(data, i)
            value, i = value_at(data, i, tag)
            if value is not None:
                yield tag, value
    except (IndexError, struct.error):
        i = end + 1
    if i < end:
        raise WireError(f"more than {MAX_FIELDS} fields in one message of {end} bytes")
    if i != end:
        raise WireError(f"a field that runs past the end of its message of {end} bytes")


def collect(data: bytes) -> dict[int, list[Any]]:
    """Every value of every field, by tag. The parts of a message that was sent in parts join to the merged message."""
    by_tag: dict[int, list[Any]] = {}
    for tag, value in fields(data):
        by_tag.setdefault(tag, []).append(value)
    return by_tag


def varint_at(data: bytes, i: int) -> tuple[int, int]:
    """The number at position `i`, and where it ends. Raises WireError and, past the end, IndexError."""
    result = shift = 0
    while True:
        byte = data[i]
        i += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & U64, i
        shift += 7
        if shift > 63:
            raise WireError(f"a number longer than 10 bytes, ending at byte {i}")


def value_at(data: bytes, i: int, tag: int) -> tuple[Any, int]:
    """The value of a field and where the next one starts; None for a group, which is skipped.

    Raises WireError and, past the end, IndexError or struct.error. Bytes may end early: the caller compares positions.
    """
    wire = tag & 7
    if tag < 8 or tag > U32:
        raise WireError(f"field number {tag >> 3} before byte {i}")
    if wire == VARINT:
        return varint_at(data, i)
    if wire == LENGTH:
        size, i = varint_at(data, i)
        return data[i : i + size], i + size
    if wire == FIXED64:
        return _fixed64(data, i)[0], i + 8
    if wire == FIXED32:
        return _fixed32(data, i)[0], i + 4
    if wire == GROUP:
        return None, _skip_group(data, i, tag >> 3)
    raise WireError(f"wire type {wire} before byte {i}")


def _skip_group(data: bytes, i: int, number: int) -> int:
    unclosed = [number]
    while unclosed:
        tag, i = varint_at(data, i)
        if tag & 7 == GROUP:
            unclosed.append(tag >> 3)
        elif tag & 7 == GROUP_END:
            if unclosed.pop() != tag >> 3:
                raise WireError(f"the end of a group that was not begun, before byte {i}")
        else:
            _, i = value_at(data, i, tag)
    return i


def varint_bytes(value: int) -> bytes:
    """`value` (not negative) as a varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def length_field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint_bytes(number << 3 | LENGTH) + varint_bytes(len(content)) + content
