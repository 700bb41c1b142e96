"""Parses a Sentry envelope into items, and writes one: its grammar and limits. Items are interpreted elsewhere.

Follows the Sentry envelope specification: a header line, then items of (header line, payload), lines ended by LF. It
also accepts leading blanks, headers over several lines, CRLF after headers, and extra newlines at the end. A valid
envelope is still read exactly as specified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from schemas.envelope.header_line import (
    MAX_DEPTH,
    MAX_HEADER_BYTES,
    EnvelopeError,
    Line,
    Place,
    found_byte,
    found_kind,
    read_line,
    skip_blanks,
    too_long,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_HEADER_BYTES",
    "MAX_ITEMS",
    "EnvelopeError",
    "EnvelopeHeader",
    "Identity",
    "Item",
    "OpenedItem",
    "parse_event_id",
    "read",
    "read_header",
    "read_identity",
    "read_items",
    "write_opened",
    "write_single",
]

MAX_ITEMS: Final = 500

# Names that may occur only once in a header. For other repeated names the last one counts.
_ENVELOPE_NAMES: Final = (b'"event_id"', b'"dsn"', b'"sent_at"')
_ITEM_NAMES: Final = (b'"type"', b'"length"')
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_OBJECT: Final = frozenset({dict, type(None)})

_UUID = re.compile(
    r"(?:urn:uuid:|(?P<brace>\{))?"
    r"(?P<digits>[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?(brace)\})",
    re.ASCII | re.IGNORECASE,
)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,30})?(?:[Zz]|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


@dataclass(slots=True)
class EnvelopeHeader:
    """The first line: all its `fields`, and those with a meaning. `repairs` names what was ignored or changed.

    `raw` is its JSON on one line, for `write_single`. `datetime.fromisoformat` can read `sent_at` (no zone: UTC);
    `event_id` is 32 lower-case hex digits.
    """

    event_id: str | None
    dsn: str | None
    sent_at: str | None
    sdk: dict[str, Any] | None
    trace: dict[str, Any] | None
    fields: dict[str, Any]
    raw: bytes
    repairs: tuple[str, ...]


class Identity(NamedTuple):
    """The event id and DSN of a body's header. Fields as in EnvelopeHeader."""

    event_id: str | None
    dsn: str | None


@dataclass(slots=True)
class Item:
    """One item. `payload` is a view into the body, `offset` its position there; `type` may be unknown."""

    index: int
    type: str
    header: dict[str, Any]
    payload: memoryview | bytes
    offset: int
    repairs: tuple[str, ...] = ()


class OpenedItem(bytes):
    """An envelope of one item that `write_opened` wrote. In the same process `read` need not parse its headers again.

    Whatever makes other bytes of it (masking, the broker, another process) gives plain bytes, which are parsed.
    """

    header: EnvelopeHeader
    item_header: dict[str, Any]

    def items(self) -> list[Item]:
        """Its one item. Made anew each time: a view that it kept of itself would keep it in memory."""
        start = len(self) - int(self.item_header["length"])
        return [Item(0, self.item_header["type"], self.item_header, memoryview(self)[start:], start)]


def read_header(body: bytes) -> EnvelopeHeader:
    """Parses only the header. Raises EnvelopeError."""
    return _header(body, _header_line(body))


def read_identity(body: bytes) -> Identity:
    """Parses only what a receiver needs of the header, which is faster. Raises EnvelopeError as `read_header` does."""
    line = _header_line(body)
    return Identity(_header_event_id(line), _header_text(line, "dsn"))


def read_items(body: bytes) -> Iterator[Item]:
    """Yields the items in order; payloads are views, nothing is copied. Raises EnvelopeError.

    An error may come after valid items. `read_header` checks the values in the envelope header.
    """
    return _items(body, _header_line(body).after)


def read(body: bytes) -> tuple[EnvelopeHeader, list[Item]]:
    """The header and all items of a valid envelope. Raises EnvelopeError."""
    if isinstance(body, OpenedItem):
        return body.header, body.items()
    line = _header_line(body)
    return _header(body, line), list(_items(body, line.after))


def write_single(header_line: bytes, item_header: dict[str, Any], payload: bytes | memoryview) -> bytes:
    """An envelope of one item with an explicit length. Reading it returns the same header, item header and payload.

    Any `EnvelopeHeader.raw` and `Item.header` that were read can be written. Raises ValueError for a header of several
    lines, which would be read as something else.
    """
    if b"\n" in header_line:
        raise ValueError("expected an envelope header of one line, found a newline in it; pass EnvelopeHeader.raw")
    item_line = orjson.dumps({**item_header, "length": len(payload)})
    return b"\n".join((header_line or b"{}", item_line, payload))


def write_opened(header: EnvelopeHeader, item_header: dict[str, Any], payload: bytes | memoryview) -> OpenedItem:
    """The same bytes, which know what reading them gives: a header without repairs, whose `raw` is what is written."""
    opened = OpenedItem(write_single(header.raw, item_header, payload))
    opened.header = header
    opened.item_header = {**item_header, "length": len(payload)}
    return opened


def parse_event_id(text: str) -> str | None:
    """Any form of a UUID (plain, hyphens, braces, urn) as 32 lower-case hex digits; None for anything else."""
    match = _UUID.fullmatch(text)
    return match["digits"].replace("-", "").lower() if match else None


def _header_line(body: bytes) -> Line:
    start = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    start = skip_blanks(body, start)
    if start == len(body):
        actual = "only blanks" if body else "an empty body"
        raise EnvelopeError(Place(0, None), "an envelope header", actual, "send at least {} as the first line")
    return read_line(body, Place(start, None), _ENVELOPE_NAMES)


def _header(body: bytes, line: Line) -> EnvelopeHeader:
    fields = line.fields
    sent_at, sdk, trace = _sent_at(fields.get("sent_at")), fields.get("sdk"), fields.get("trace")
    is_known = sdk.__class__ in _OBJECT and trace.__class__ in _OBJECT and (sent_at or fields.get("sent_at") is None)
    is_plain = is_known and not line.was_repaired and not body.startswith(_BYTE_ORDER_MARK)
    return EnvelopeHeader(
        event_id=_header_event_id(line),
        dsn=_header_text(line, "dsn"),
        sent_at=sent_at,
        sdk=sdk if isinstance(sdk, dict) else None,
        trace=trace if isinstance(trace, dict) else None,
        fields=fields,
        raw=line.raw,
        repairs=() if is_plain else _header_repairs(body, line, sent_at),
    )


def _header_repairs(body: bytes, line: Line, sent_at: str | None) -> tuple[str, ...]:
    fields = line.fields
    ignored = {name for name in ("sdk", "trace") if fields.get(name).__class__ not in _OBJECT}
    if sent_at is None and fields.get("sent_at") is not None:
        ignored.add("sent_at")
    repairs = [f"envelope header: {name} ignored" for name in sorted(ignored)]
    if body.startswith(_BYTE_ORDER_MARK):
        repairs.append("envelope header: byte order mark skipped")
    if line.was_repaired:
        repairs.append("envelope header: not strict JSON")
    return tuple(repairs)


def _header_event_id(line: Line) -> str | None:
    text = _header_text(line, "event_id")
    identifier = None if text is None else parse_event_id(text)
    if text is not None and identifier is None:
        actual = f"{len(text)} characters, {text[:40]!a}"
        raise EnvelopeError(line.place, "a UUID as event_id", actual, "send 32 hex digits, or no event_id")
    return identifier


def _header_text(line: Line, name: str) -> str | None:
    value = line.fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise EnvelopeError(line.place, f"a text as {name}", found_kind(value), f"put {name} into quotes or leave it out")


def _sent_at(value: object) -> str | None:
    """The time in a form that `datetime.fromisoformat` reads; None if it is no valid RFC 3339 time."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        return None
    text = value.upper()
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not UTC:
            # A time zone can move the first and last day out of a datetime's range.
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return text


def _items(body: bytes, position: int) -> Iterator[Item]:
    view = memoryview(body)
    index = 0
    position = skip_blanks(body, position)
    while position < len(body):
        line = _item_line(body, Place(position, index))
        end = _payload_end(body, line)
        yield Item(
            index=index,
            type=line.fields["type"],
            header=line.fields,
            payload=view[line.after : end],
            offset=line.after,
            repairs=("item header: not strict JSON",) if line.was_repaired else (),
        )
        # Skips the newline after the payload, and extra ones before the next header.
        position = skip_blanks(body, end)
        index += 1


def _item_line(body: bytes, place: Place) -> Line:
    if place.item_index == MAX_ITEMS:
        remedy = "send the items in several envelopes"
        raise EnvelopeError(place, f"the end after {MAX_ITEMS} items", "another item", remedy)
    line = read_line(body, place, _ITEM_NAMES)
    item_type = line.fields.get("type")
    if not isinstance(item_type, str):
        raise EnvelopeError(
            place,
            'an item header with a text as "type"',
            found_kind(item_type) if "type" in line.fields else "none",
            'write for example {"type":"event"}, and check the length of the item before it',
        )
    _check_can_be_written(line)
    return line


def _check_can_be_written(line: Line) -> None:
    """Item headers are written again for our queue, where numbers may become longer (1e15: from 4 to 18 characters)."""
    if len(line.raw) <= MAX_HEADER_BYTES // 5:
        return
    if len(orjson.dumps({**line.fields, "length": 10**18})) > MAX_HEADER_BYTES:
        raise too_long(line.place, "one that is longer when written out")


def _payload_end(body: bytes, line: Line) -> int:
    if "length" not in line.fields:
        newline = body.find(b"\n", line.after)
        return newline if newline >= 0 else len(body)
    length = _length(line)
    end = line.after + length
    if end > len(body):
        raise EnvelopeError(
            Place(len(body), line.place.item_index),
            f"a payload of {length} bytes",
            f"the end of the body after {len(body) - line.after}",
            "correct the item's length or send the whole payload",
        )
    if end < len(body) and not _ends_line(body, end, is_crlf=line.is_crlf):
        raise EnvelopeError(
            Place(end, line.place.item_index),
            f"a newline after a payload of {length} bytes",
            found_byte(body, end),
            "correct the item's length (bytes, not characters) or end the payload with LF",
        )
    return end


def _ends_line(body: bytes, end: int, *, is_crlf: bool) -> bool:
    """LF; or CR LF if the item's header ended so too: otherwise CR may be the last byte of a payload."""
    return body[end] == _LF or (is_crlf and body[end : end + 2] in (b"\r\n", b"\r"))


def _length(line: Line) -> int:
    length = line.fields["length"]
    if type(length) is int and length >= 0:
        return length
    raise EnvelopeError(
        line.place,
        "the payload's size in bytes as length",
        found_kind(length),
        "write a whole number from 0, or leave length out of a payload without newlines",
    )
