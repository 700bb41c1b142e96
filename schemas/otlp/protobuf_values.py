"""Parses attributes and AnyValue in protobuf to Python values. protobuf_wire parses the wire format."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.otlp.protobuf_wire import WireError, collect, fields, varint_at
from schemas.otlp.records import (
    CUT,
    DUPLICATE_ATTRIBUTE,
    HARD_DEPTH,
    INVALID_UTF8,
    STRING_INDEX,
    Allowance,
    Attributes,
    NonFinite,
    Value,
    bound_depth,
)

# KeyValue bytes -> (key, value), for one body: values such as http.request.method=GET repeat often.
Pairs = dict[bytes, tuple[str, Value]]


class Notes(list[str]):
    """The flaws of one record, resource or scope, and the allowance of its body, which all of them use."""

    __slots__ = ("allowance",)

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance


@dataclass(slots=True)
class BodyTally:
    """What was seen of one body so far."""

    allowance: Allowance
    pairs: Pairs = field(default_factory=dict)
    # A key with its tag and length -> the key.
    keys: dict[bytes, str] = field(default_factory=dict)


NO_BYTES: Final = (b"",)
# Cost of an unusual attribute, in list items: it was tried as a plain one first.
_ODD_PAIR_PARTS: Final = 3
# Cost of a list or map, in list items.
_CONTAINER_PARTS: Final = 2
_MERGING: Final = (0x2A, 0x32)
_I64_END: Final = 1 << 63
_double = struct.Struct("<d").unpack_from
_u64_bytes = struct.Struct("<Q").pack


def plain_pair(raw: bytes, seen: BodyTally) -> tuple[str, Value] | None:
    """A KeyValue in the usual form: a key, then one scalar, nothing else. None: use `odd_pair`.

    Half of the attributes come through here. Keys are few, so a known key is not decoded again; values are read in
    place if both lengths take one byte.
    """
    try:
        i = raw[1] + 2
        key = seen.keys.get(raw[:i])
        if key is None or raw[i] != 0x12:
            return _new_key(raw, seen)
        size = raw[i + 1]
        if size > 0x7F or i + 2 + size != len(raw):
            return _long_pair(raw, key, i, seen)
        tag = raw[i + 2]
        value: Value
        if tag == 0x0A:
            if raw[i + 3] != size - 2:
                return None
            value = raw[i + 4 :].decode()
        else:
            value = _scalar(raw, i + 3, len(raw), tag)
            if value is None:
                return None
    except (IndexError, UnicodeDecodeError, WireError):
        return None
    plain = seen.pairs[raw] = (key, value)
    return plain


def _new_key(raw: bytes, seen: BodyTally) -> tuple[str, Value] | None:
    """The same for a new key. Raises IndexError, UnicodeDecodeError."""
    i = raw[1] + 2
    if raw[0] != 0x0A or i > 0x81 or raw[i] != 0x12:
        return None
    seen.keys[raw[:i]] = raw[2:i].decode()
    return plain_pair(raw, seen)


def _long_pair(raw: bytes, key: str, i: int, seen: BodyTally) -> tuple[str, Value] | None:
    """The same for a value whose length takes more than one byte. Raises IndexError, UnicodeDecodeError, WireError."""
    size, i = varint_at(raw, i + 1)
    if i + size != len(raw) or raw[i] != 0x0A:
        return None
    size, i = varint_at(raw, i + 1)
    if i + size != len(raw):
        return None
    plain = seen.pairs[raw] = (key, raw[i:].decode())
    return plain


def _scalar(raw: bytes, i: int, end: int, tag: int) -> int | float | bool | None:
    """A number or boolean that ends at `end`; None for anything else."""
    if tag == 0x21 and i + 8 == end:
        value: float = _double(raw, i)[0]
        return None if value - value else value
    if tag == 0x18:
        number, i = varint_at(raw, i)
        return None if i != end else number - (1 << 64) if number >= _I64_END else number
    return raw[i] != 0 if tag == 0x10 and i + 1 == end and raw[i] < 0x80 else None


def odd_pair(raw: bytes, pairs: Pairs, flaws: Notes) -> tuple[str, Value]:
    """Any KeyValue of a record. Raises WireError."""
    flaws.allowance.add_parts(_ODD_PAIR_PARTS)
    before = len(flaws)
    key_and_value = pair(raw, 1, flaws)
    if len(flaws) == before:
        pairs[raw] = key_and_value
    return key_and_value


def pair(raw: bytes, depth: int, flaws: Notes) -> tuple[str, Value]:
    """Any KeyValue: 1 key, 2 value, 3 key_strindex (profiles only: ignored). Raises WireError."""
    sent = collect(raw)
    if 0x18 in sent:
        flaws.append(STRING_INDEX)
    return text_field(sent.get(0x0A, NO_BYTES)[-1], flaws), any_value(b"".join(sent.get(0x12, ())), depth, flaws)


def any_value(raw: bytes, depth: int, flaws: Notes) -> Value:
    """Any AnyValue; of several members the last one counts, as for any protobuf oneof. Raises WireError."""
    if depth > HARD_DEPTH:
        return CUT
    last = 0
    parts: list[Any] = []
    for tag, value in fields(raw):
        if tag in _MEMBERS:
            if tag != last or tag not in _MERGING:
                parts.clear()
            parts.append(value)
            last = tag
    if not last:
        return None
    return _MEMBERS[last](b"".join(parts) if last in _MERGING else parts[0], depth, flaws)


def _signed(value: int, _depth: int, _flaws: Notes) -> int:
    return value - (1 << 64) if value >= _I64_END else value


def _float(bits: int, _depth: int, _flaws: Notes) -> float:
    (value,) = _double(_u64_bytes(bits))
    return NonFinite(value) if value - value else float(value)


def _array(raw: bytes, depth: int, flaws: Notes) -> Value:
    items = collect(raw).get(0x0A, ())
    flaws.allowance.add_parts(_CONTAINER_PARTS + len(items))
    return bound_depth([any_value(item, depth + 1, flaws) for item in items], depth, flaws)


def _kvlist(raw: bytes, depth: int, flaws: Notes) -> Value:
    items = collect(raw).get(0x0A, ())
    flaws.allowance.add_parts(_CONTAINER_PARTS + len(items))
    return bound_depth(dict(pair(item, depth + 1, flaws) for item in items), depth, flaws)


def _no_value(_index: int, _depth: int, flaws: Notes) -> None:
    flaws.append(STRING_INDEX)


_MEMBERS: Final[dict[int, Callable[[Any, int, Notes], Value]]] = {
    0x0A: lambda raw, _depth, flaws: text_field(raw, flaws),
    0x10: lambda value, _depth, _flaws: value != 0,
    0x18: _signed,
    0x21: _float,
    0x2A: _array,
    0x32: _kvlist,
    0x3A: lambda raw, _depth, _flaws: raw,
    0x40: _no_value,
}


def text_field(raw: bytes, flaws: Notes) -> str:
    """A string field. Invalid UTF-8 becomes U+FFFD with a flaw."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        flaws.append(INVALID_UTF8)
        return raw.decode("utf-8", "replace")


def attributes(chunks: list[bytes], flaws: Notes) -> Attributes:
    """KeyValue messages as a dict; for equal keys the last one counts. Raises WireError."""
    flaws.allowance.add_parts(len(chunks))
    by_key = dict(pair(chunk, 1, flaws) for chunk in chunks)
    if len(by_key) != len(chunks):
        flaws.append(DUPLICATE_ATTRIBUTE)
    return by_key
