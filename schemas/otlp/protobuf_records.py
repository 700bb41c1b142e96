"""Parses spans and log records in protobuf. protobuf_body parses resources and scopes.

The fast path handles nearly all records: text is UTF-8, attributes are scalars with different keys, spans have no
events. The careful path parses everything else: invalid UTF-8 costs one string, and nesting has only our own limit.
Both make the same record of the same bytes. docs/decisions/0010-normalising.md has the speeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from schemas.compiled import readers as compiled
from schemas.otlp.columns import PlainSpans, SpanColumns, typed
from schemas.otlp.protobuf_messages import LogMessage, LogOfBytes, SpanMessage, SpanOfBytes
from schemas.otlp.protobuf_values import (
    NO_BYTES,
    BodyTally,
    Notes,
    any_value,
    attributes,
    odd_pair,
    plain_pair,
    text_field,
)
from schemas.otlp.protobuf_wire import U32, WireError, collect
from schemas.otlp.records import (
    DUPLICATE_ATTRIBUTE,
    EMPTY_LOG,
    EMPTY_SPAN,
    MALFORMED_RECORD,
    Attributes,
    LogRecord,
    Malformed,
    OtlpSpan,
    Record,
    Value,
    link,
    settled,
    span_event_json,
)

# Length at which a too long id is cut; it is kept only for the error message.
_MAX_ID_BYTES: Final = 64
# Cost of an event or a link, in list items.
_EVENT_PARTS: Final = 5
_plain_span = SpanMessage.FromString
_plain_log = LogMessage.FromString
_parse_span = SpanOfBytes.FromString
_parse_log = LogOfBytes.FromString
# A NamedTuple's own constructor costs one more call in Python.
_new = tuple.__new__


def spans(chunks: Sequence[bytes], seen: BodyTally) -> Sequence[Record]:
    """One record per Span message, as SpanColumns if all are plain. Raises TooMany when the allowance is used up."""
    if not all(chunks):
        rest = iter(spans([raw for raw in chunks if raw], seen))
        return [next(rest) if raw else EMPTY_SPAN for raw in chunks]
    columns, odd = compiled.messages(chunks) if compiled.messages else plain_spans(chunks, seen)
    plain = SpanColumns(columns)
    if not odd:
        return plain
    careful = {index: record_of(chunks[index], careful_span, seen) for index in odd}
    rest = iter(plain)
    return [careful.get(index) or next(rest) for index in range(len(chunks))]


def plain_spans(chunks: Iterable[bytes], seen: BodyTally) -> PlainSpans:
    """The plain spans as columns, and the indexes of the others. `_plain_spans.c` does the same."""
    sent: list[Any] = []
    attributes_of_spans: list[Attributes] = []
    odd: list[int] = []
    known = seen.pairs.get
    for index, raw in enumerate(chunks):
        try:
            span = _plain_span(raw)
            entries = [known(chunk) or plain_pair(chunk, seen) for chunk in span.attributes]
            span_attributes = dict(entries)  # type: ignore[arg-type]  # None among them is the TypeError caught below
            is_plain = len(span_attributes) == len(entries) and not span.events and not span.links
        except (DecodeError, TypeError):
            is_plain = False
        if is_plain:
            sent.append(span)
            attributes_of_spans.append(span_attributes)
        else:
            odd.append(index)
    return _columns(sent, attributes_of_spans), odd


def _columns(sent: list[Any], attributes_of_spans: list[Attributes]) -> tuple[list[Any], ...]:
    statuses = [span.status for span in sent]
    return (
        [span.trace_id.hex() for span in sent],
        [span.span_id.hex() for span in sent],
        [span.parent_span_id[:_MAX_ID_BYTES].hex() for span in sent],
        [span.trace_state for span in sent],
        [span.flags for span in sent],
        [span.name for span in sent],
        [span.kind for span in sent],
        [span.start_time_unix_nano for span in sent],
        [span.end_time_unix_nano for span in sent],
        attributes_of_spans,
        [span.dropped_attributes_count for span in sent],
        [span.dropped_events_count for span in sent],
        [span.dropped_links_count for span in sent],
        [span_status.code for span_status in statuses],
        [span_status.message for span_status in statuses],
        [typed(attributes) for attributes in attributes_of_spans],
    )


def logs(chunks: Sequence[bytes], seen: BodyTally) -> list[Record]:
    """One record per LogRecord message. Raises TooMany when the allowance is used up."""
    records: list[Record] = []
    known = seen.pairs.get
    for raw in chunks:
        if not raw:
            records.append(EMPTY_LOG)
            continue
        try:
            sent = _plain_log(raw)
            entries = [known(chunk) or plain_pair(chunk, seen) for chunk in sent.attributes]
            log_attributes = dict(entries)  # type: ignore[arg-type]  # None among them is the TypeError caught below
            body = _plain_body(sent.body)
            is_plain = len(log_attributes) == len(entries) and body is not None
        except (DecodeError, TypeError, UnicodeDecodeError):
            is_plain = False
        if not is_plain:
            records.append(record_of(raw, careful_log, seen))
            continue
        records.append(
            _new(
                LogRecord,
                (
                    sent.time_unix_nano,
                    sent.observed_time_unix_nano,
                    sent.severity_number,
                    sent.severity_text,
                    body,
                    sent.event_name,
                    log_attributes,
                    sent.dropped_attributes_count,
                    sent.flags,
                    sent.trace_id[:_MAX_ID_BYTES].hex(),
                    sent.span_id[:_MAX_ID_BYTES].hex(),
                    (),
                ),
            )
        )
    return records


def _plain_body(parts: Sequence[bytes]) -> str | None:
    """The text of a body that is one short string, else None. Raises UnicodeDecodeError."""
    if len(parts) != 1:
        return None
    raw = parts[0]
    if raw[:1] == b"\x0a" and len(raw) > 1 and raw[1] == len(raw) - 2 < 0x80:
        return raw[2:].decode()
    return None


def record_of(raw: bytes, read: Callable[[bytes, BodyTally], Record], seen: BodyTally) -> Record:
    """A record by the careful way; Malformed for what is no message. Raises TooMany."""
    try:
        return read(raw, seen)
    except (DecodeError, WireError) as error:
        return Malformed(
            MALFORMED_RECORD, f"expected a protobuf message, found {len(raw)} bytes that are none: {error}"
        )


def _attributes(chunks: Iterable[bytes], seen: BodyTally, flaws: Notes) -> Attributes:
    """The attributes of a record. An attribute that was seen before costs one look-up."""
    known = seen.pairs.get
    entries = [known(chunk) or plain_pair(chunk, seen) or odd_pair(chunk, seen.pairs, flaws) for chunk in chunks]
    record_attributes = dict(entries)
    if len(record_attributes) != len(entries):
        flaws.append(DUPLICATE_ATTRIBUTE)
    return record_attributes


def careful_span(raw: bytes, seen: BodyTally) -> OtlpSpan:
    """A Span message. Raises DecodeError and WireError, and TooMany when the allowance is used up."""
    sent = _parse_span(raw)
    flaws = Notes(seen.allowance)
    span_attributes = _attributes(sent.attributes, seen, flaws)
    events, links, status = sent.events, sent.links, sent.status
    if events or links:
        seen.allowance.add_parts(_EVENT_PARTS * (len(events) + len(links)))
    code, message = _status(b"".join(status), flaws) if status else (0, "")
    return OtlpSpan(
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id[:_MAX_ID_BYTES].hex(),
        text_field(state, flaws) if (state := sent.trace_state) else "",
        sent.flags,
        text_field(sent.name, flaws),
        sent.kind,
        sent.start_time_unix_nano,
        sent.end_time_unix_nano,
        span_attributes,
        sent.dropped_attributes_count,
        [_event(event, flaws) for event in events] if events else [],
        sent.dropped_events_count,
        [_link(link, flaws) for link in links] if links else [],
        sent.dropped_links_count,
        code,
        message,
        settled(flaws) if flaws else (),
    )


def careful_log(raw: bytes, seen: BodyTally) -> LogRecord:
    """A LogRecord message. Raises DecodeError and WireError, and TooMany when the allowance is used up."""
    sent = _parse_log(raw)
    flaws = Notes(seen.allowance)
    log_attributes = _attributes(sent.attributes, seen, flaws)
    return LogRecord(
        sent.time_unix_nano,
        sent.observed_time_unix_nano,
        sent.severity_number,
        text_field(sent.severity_text, flaws),
        any_value(b"".join(sent.body), 1, flaws),
        text_field(sent.event_name, flaws),
        log_attributes,
        sent.dropped_attributes_count,
        sent.flags,
        sent.trace_id[:_MAX_ID_BYTES].hex(),
        sent.span_id[:_MAX_ID_BYTES].hex(),
        settled(flaws) if flaws else (),
    )


def _status(raw: bytes, flaws: Notes) -> tuple[int, str]:
    """Status: 2 message, 3 code. Most have only the code."""
    if len(raw) == 2 and raw[0] == 0x18 and raw[1] < 0x80:
        return raw[1], ""
    sent = collect(raw)
    return _enum(sent.get(0x18, (0,))[-1]), text_field(sent.get(0x12, NO_BYTES)[-1], flaws)


def _event(raw: bytes, flaws: Notes) -> dict[str, Value]:
    """Span.Event: 1 time (fixed64), 2 name, 3 attributes, 4 dropped_attributes_count."""
    sent = collect(raw)
    return span_event_json(
        sent.get(0x09, (0,))[-1],
        text_field(sent.get(0x12, NO_BYTES)[-1], flaws),
        attributes(sent.get(0x1A, []), flaws),
        sent.get(0x20, (0,))[-1] & U32,
    )


def _link(raw: bytes, flaws: Notes) -> dict[str, Value]:
    """Span.Link: 1 trace_id, 2 span_id, 3 trace_state, 4 attributes, 5 dropped_attributes_count, 6 flags (fixed32)."""
    sent = collect(raw)
    return link(
        (sent.get(0x0A, NO_BYTES)[-1][:_MAX_ID_BYTES].hex(), sent.get(0x12, NO_BYTES)[-1][:_MAX_ID_BYTES].hex()),
        text_field(sent.get(0x1A, NO_BYTES)[-1], flaws),
        attributes(sent.get(0x22, []), flaws),
        sent.get(0x28, (0,))[-1] & U32,
        sent.get(0x35, (0,))[-1],
    )


def _enum(value: int) -> int:
    """An enum is an int32, sent sign-extended to 64 bits."""
    value &= U32
    return value - (1 << 32) if value >> 31 else value
