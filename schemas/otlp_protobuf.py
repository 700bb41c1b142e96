"""OTLP binary protobuf: bytes to records, by walking the wire format. JSON is in otlp_json.

Measured with 512 spans of 10 attributes: the walk is as fast as Google's C decoder followed by a walk over its objects
(117k against 125k spans/s, one core). And it can do what that decoder cannot: invalid UTF-8 costs one string instead of
the whole body (the C decoder refuses it all), one broken record costs one record, and nesting has no other limit
than ours. Tags are written as on the wire: field number * 8 + wire type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from schemas.otlp_protobuf_values import NO_BYTES, Pairs, any_value, attributes, odd_pair, plain_pair, text
from schemas.otlp_records import (
    DUPLICATE_ATTRIBUTE,
    MALFORMED_RECORD,
    MALFORMED_RESOURCE,
    TRACES,
    Attributes,
    LogRecord,
    Malformed,
    OtlpError,
    Record,
    Request,
    Resource,
    Scope,
    Signal,
    Span,
    Value,
    check_count,
    event,
    legacy_warning,
    link,
    settled,
)
from schemas.protobuf_wire import FIXED64, LENGTH, U32, VARINT, WireError, collect, fixed64_at, value_at, varint_at

_LEGACY_SCOPES: Final = 1000 * 8 + LENGTH
# An id that is too long is no id; this much of it is kept to be named.
_MAX_ID_BYTES: Final = 64

# One record's bytes, and what is known of its body's attributes, to the record.
ReadRecord = Callable[[bytes, Pairs], Record]


def read(body: bytes, signal: Signal) -> Request:
    """The request in an Export{Traces,Logs}ServiceRequest. Zero bytes are the empty request. Raises OtlpError."""
    reader = _Reader(signal)
    try:
        resources = [reader.resource(collect(raw)) for raw in collect(body).get(0x0A, ())]
    except WireError as error:
        hint = "; it looks like JSON: send Content-Type: application/json" if body.lstrip()[:1] in (b"{", b"[") else ""
        message = f"expected an OTLP {signal.name} export request in protobuf, found {error}{hint}"
        raise OtlpError(message) from error
    request = Request(resources, reader.warnings)
    records = request.records()
    if records and all(isinstance(record, Malformed) for record in records):
        raise OtlpError(f"expected an OTLP {signal.name} export request in protobuf, found nothing that decodes")
    return request


class _Reader:
    """One walk over one request: which record function, what is known of the attributes, what to warn about."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.warnings: list[str] = []
        self.count = 0
        self.pairs: Pairs = {}
        self.read_record: ReadRecord = _span if signal is TRACES else _log

    def resource(self, found: dict[int, list[bytes]]) -> Resource:
        """ResourceSpans or ResourceLogs: 1 resource, 2 scopes, 3 schema_url. Raises WireError."""
        if _LEGACY_SCOPES in found:
            self.warnings = [legacy_warning(self.signal)]
        flaws: list[str] = []
        held: Attributes = {}
        read_record = self.read_record
        url = text(found.get(0x1A, NO_BYTES)[-1], flaws)
        try:
            held = attributes(collect(b"".join(found.get(0x0A, ()))).get(0x0A, []), flaws)
        except WireError as error:
            read_record = _refuse(f"its resource holds {error}")
        scopes = [self.scope(collect(raw), read_record) for raw in found.get(0x12, ())]
        return Resource(held, url, settled(flaws), scopes)

    def scope(self, found: dict[int, list[bytes]], read_record: ReadRecord) -> Scope:
        """ScopeSpans or ScopeLogs: 1 scope, 2 records, 3 schema_url."""
        flaws: list[str] = []
        name = version = ""
        held: Attributes = {}
        url = text(found.get(0x1A, NO_BYTES)[-1], flaws)
        try:
            scope = collect(b"".join(found.get(0x0A, ())))
            name, version = text(scope.get(0x0A, NO_BYTES)[-1], flaws), text(scope.get(0x12, NO_BYTES)[-1], flaws)
            held = attributes(scope.get(0x1A, []), flaws)
        except WireError as error:
            read_record = _refuse(f"its scope holds {error}")
        records = found.get(0x12, [])
        self.count += len(records)
        check_count(self.count)
        pairs = self.pairs
        return Scope(name, version, held, url, settled(flaws), [_record(raw, read_record, pairs) for raw in records])


def _refuse(detail: str) -> ReadRecord:
    refusal = Malformed(MALFORMED_RESOURCE, detail)
    return lambda _raw, _pairs: refusal


def _record(raw: bytes, read_record: ReadRecord, pairs: Pairs) -> Record:
    try:
        return read_record(raw, pairs)
    except (IndexError, struct.error):
        return Malformed(MALFORMED_RECORD, f"expected a message of {len(raw)} bytes, found a field that runs past it")
    except WireError as error:
        return Malformed(MALFORMED_RECORD, f"expected a protobuf message, found {error}")


def _scan(
    data: bytes, attribute: int, messages: tuple[int, ...], pairs: Pairs
) -> tuple[dict[int, Any], Attributes, list[str]]:
    """One record: fields by tag (the last one; a list for those in `messages`), attributes, and the flaws in these.

    The hot loop: one-byte tags and lengths are read in place, and an attribute seen before costs one look-up.
    """
    found: dict[int, Any] = {}
    flaws: list[str] = []
    entries: list[tuple[str, Value]] = []
    add, known = entries.append, pairs.get
    i, end = 0, len(data)
    while i < end:
        tag, i = data[i], i + 1
        if tag > 0x7F:
            tag, i = varint_at(data, i - 1)
        if tag & 7 == LENGTH:
            size, i = data[i], i + 1
            if size > 0x7F:
                size, i = varint_at(data, i - 1)
            chunk = data[i : i + size]
            i += size
            if tag == attribute:
                add(known(chunk) or plain_pair(chunk, pairs) or odd_pair(chunk, pairs, flaws))
            elif tag in messages:
                found.setdefault(tag, []).append(chunk)
            else:
                found[tag] = chunk
        elif tag & 7 == VARINT and data[i] < 0x80:
            found[tag], i = data[i], i + 1
        elif tag & 7 == FIXED64:
            (found[tag],) = fixed64_at(data, i)
            i += 8
        else:
            found[tag], i = value_at(data, i, tag)
    if i != end:
        raise IndexError
    held = dict(entries)
    if len(held) != len(entries):
        flaws.append(DUPLICATE_ATTRIBUTE)
    return found, held, flaws


def _span(raw: bytes, pairs: Pairs) -> Span:
    """Span: 1 trace_id, 2 span_id, 3 trace_state, 4 parent_span_id, 5 name, 6 kind, 7 start, 8 end, 9 attributes,
    10 dropped_attributes_count, 11 events, 12 dropped, 13 links, 14 dropped, 15 status, 16 flags (fixed32).
    """
    found, held, flaws = _scan(raw, 0x4A, (0x5A, 0x6A, 0x7A), pairs)
    get = found.get
    code, message = _status(b"".join(found[0x7A]), flaws) if 0x7A in found else (0, "")
    return Span(
        get(0x0A, b"").hex(),
        get(0x12, b"").hex(),
        get(0x22, b"")[:_MAX_ID_BYTES].hex(),
        text(found[0x1A], flaws) if 0x1A in found else "",
        get(0x85, 0),
        text(found[0x2A], flaws) if 0x2A in found else "",
        _enum(get(0x30, 0)),
        get(0x39, 0),
        get(0x41, 0),
        held,
        get(0x50, 0) & U32,
        [_event(event, flaws) for event in found[0x5A]] if 0x5A in found else [],
        get(0x60, 0) & U32,
        [_link(link, flaws) for link in found[0x6A]] if 0x6A in found else [],
        get(0x70, 0) & U32,
        code,
        message,
        settled(flaws) if flaws else (),
    )


def _status(raw: bytes, flaws: list[str]) -> tuple[int, str]:
    """Status: 2 message, 3 code. Most say nothing but the code."""
    if len(raw) == 2 and raw[0] == 0x18 and raw[1] < 0x80:
        return raw[1], ""
    found = collect(raw)
    return _enum(found.get(0x18, (0,))[-1]), text(found.get(0x12, NO_BYTES)[-1], flaws)


def _event(raw: bytes, flaws: list[str]) -> dict[str, Value]:
    """Span.Event: 1 time (fixed64), 2 name, 3 attributes, 4 dropped_attributes_count."""
    found = collect(raw)
    return event(
        found.get(0x09, (0,))[-1],
        text(found.get(0x12, NO_BYTES)[-1], flaws),
        attributes(found.get(0x1A, []), flaws),
        found.get(0x20, (0,))[-1] & U32,
    )


def _link(raw: bytes, flaws: list[str]) -> dict[str, Value]:
    """Span.Link: 1 trace_id, 2 span_id, 3 trace_state, 4 attributes, 5 dropped_attributes_count, 6 flags (fixed32)."""
    found = collect(raw)
    return link(
        (found.get(0x0A, NO_BYTES)[-1][:_MAX_ID_BYTES].hex(), found.get(0x12, NO_BYTES)[-1][:_MAX_ID_BYTES].hex()),
        text(found.get(0x1A, NO_BYTES)[-1], flaws),
        attributes(found.get(0x22, []), flaws),
        found.get(0x28, (0,))[-1] & U32,
        found.get(0x35, (0,))[-1],
    )


def _log(raw: bytes, pairs: Pairs) -> LogRecord:
    """LogRecord: 1 time, 2 severity_number, 3 severity_text, 5 body, 6 attributes, 7 dropped_attributes_count,
    8 flags (fixed32), 9 trace_id, 10 span_id, 11 observed time, 12 event_name.
    """
    found, held, flaws = _scan(raw, 0x32, (0x2A,), pairs)
    get = found.get
    return LogRecord(
        get(0x09, 0),
        get(0x59, 0),
        _enum(get(0x10, 0)),
        text(get(0x1A, b""), flaws),
        any_value(b"".join(get(0x2A, ())), 1, flaws),
        text(get(0x62, b""), flaws),
        held,
        get(0x38, 0) & U32,
        get(0x45, 0),
        get(0x4A, b"")[:_MAX_ID_BYTES].hex(),
        get(0x52, b"")[:_MAX_ID_BYTES].hex(),
        settled(flaws) if flaws else (),
    )


def _enum(value: int) -> int:
    """An enum is an int32, sent sign-extended to 64 bits."""
    value &= U32
    return value - (1 << 32) if value >> 31 else value
