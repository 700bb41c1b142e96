"""One OTLP span to one row, or why it is refused. How spans are read is in schemas/otlp.py, the body's walk in otlp."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from schemas.otlp_records import Attributes, Flaws, Span, Value, json_text
from schemas.rows import Row
from workers.normalise.otlp_values import (
    MAX_NAME_LENGTH,
    MAX_RECORD_LENGTH,
    SPAN_ID_DIGITS,
    TIME_FROM_ARRIVAL,
    TIMESTAMP_CLAMPED,
    TRACE_ID_DIGITS,
    TRUNCATED,
    Window,
    fit,
    is_id,
    repairs,
    text,
    typed,
)

INVALID_TRACE_ID: Final = "invalid_trace_id"
INVALID_SPAN_ID: Final = "invalid_span_id"

COLUMNS: Final = (
    *("event_id", "timestamp", "original_timestamp_ns", "source_ordinal", "trace_id", "span_id", "parent_span_id"),
    *("trace_state", "trace_flags", "span_kind", "status", "status_message", "duration_ns", "name"),
    *("attributes_string", "attributes_int", "attributes_double", "attributes_bool", "span_events", "span_links"),
    *("dropped_attributes_count", "dropped_events_count", "dropped_links_count"),
    *("exception_type", "exception_message", "exception_stacktrace", "payload", "repairs"),
)
_KINDS: Final = {0: "unspecified", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_STATUSES: Final = {0: "unset", 1: "ok", 2: "error"}
_EXCEPTION: Final = ("exception.type", "exception.message", "exception.stacktrace")


def refusal(span: Span) -> tuple[str, str] | None:
    """(reason, what was expected and found) for a span without a valid identity; None for any other."""
    if not is_id(span.trace_id, TRACE_ID_DIGITS):
        return INVALID_TRACE_ID, _expected(TRACE_ID_DIGITS, "traceId", span.trace_id)
    if not is_id(span.span_id, SPAN_ID_DIGITS):
        return INVALID_SPAN_ID, _expected(SPAN_ID_DIGITS, "spanId", span.span_id)
    return None


def _expected(digits: int, member: str, found: str) -> str:
    wanted = f"expected {digits} hex digits, not all zero, in {member}"
    return f"{wanted}, found {found[:48]!r}" if found else f"{wanted}, found none"


def row(span: Span, ordinal: int, times: Window, id_prefix: bytes, inherited: Flaws) -> Row:
    """The values of COLUMNS for a span that has an identity.

    `id_prefix` is what schemas.rows.row_id hashes for every span of the channel, `inherited` the flaws of its resource
    and scope. The hot path: no call per attribute, and what is rare is somewhere else.
    """
    payload = _payload(span)
    if len(payload) > MAX_RECORD_LENGTH and TRUNCATED not in span.flaws:
        return row(_cut(span), ordinal, times, id_prefix, inherited)
    flaws = span.flaws + inherited
    trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
    if parent_id and not is_id(parent_id, SPAN_ID_DIGITS):
        flaws += (f"parent_span_id_invalid:{parent_id}",)
        parent_id = ""
    time_ns, duration_ns = span.start_ns, span.end_ns - span.start_ns
    if duration_ns < 0 or not time_ns:
        time_ns, duration_ns, time_flaws = _odd_times(span, times)
        flaws += time_flaws
    original_ns = 0
    if not times.earliest_ns <= time_ns <= times.latest_ns:
        original_ns, time_ns = time_ns, min(max(time_ns, times.earliest_ns), times.latest_ns)
        flaws += (TIMESTAMP_CLAMPED,)
    strings, integers, doubles, booleans = typed(span.attributes)
    links = span.links
    if links:
        links = [link for link in links if _is_linked(link)]
        flaws += () if len(links) == len(span.links) else ("link_dropped",)
    identity = id_prefix + f"\0\0\0\x20{trace_id}\0\0\0\x10{span_id}".encode()
    exception = _exception(span.events, strings) if span.events else tuple(strings.get(key, "") for key in _EXCEPTION)
    return (
        int.from_bytes(blake2b(identity, digest_size=16).digest(), "big"),
        time_ns,
        original_ns,
        ordinal,
        trace_id,
        span_id,
        parent_id,
        span.trace_state,
        span.flags,
        _KINDS.get(span.kind, "unspecified"),
        _STATUSES.get(span.status_code, "unset"),
        span.status_message,
        duration_ns,
        span.name,
        strings,
        integers,
        doubles,
        booleans,
        json_text(span.events) if span.events else "",
        json_text(links) if links else "",
        span.dropped_attributes,
        span.dropped_events,
        span.dropped_links,
        *exception,
        payload,
        repairs(flaws) if flaws else [],
    )


def _payload(span: Span) -> str:
    """The span as JSON: names as in OTLP/JSON, attributes as one object, times as numbers, empty members left out."""
    members: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_ns,
        "endTimeUnixNano": span.end_ns,
        "attributes": span.attributes,
    }
    if span.parent_span_id:
        members["parentSpanId"] = span.parent_span_id
    if span.status_code or span.status_message:
        members["status"] = {"code": span.status_code, "message": span.status_message}
    if span.flags:
        members["flags"] = span.flags
    if span.trace_state:
        members["traceState"] = span.trace_state
    if span.events:
        members["events"] = span.events
    if span.links:
        members["links"] = span.links
    if span.dropped_attributes:
        members["droppedAttributesCount"] = span.dropped_attributes
    if span.dropped_events:
        members["droppedEventsCount"] = span.dropped_events
    if span.dropped_links:
        members["droppedLinksCount"] = span.dropped_links
    return json_text(members)


def _odd_times(span: Span, times: Window) -> tuple[int, int, Flaws]:
    """(time, duration, flaws) of a span that does not start, or ends before it does or never."""
    if not span.start_ns:
        missing = ("start_missing",) if span.end_ns else ("start_missing", "end_missing", TIME_FROM_ARRIVAL)
        return span.end_ns or times.received_at_ns, 0, missing
    return span.start_ns, 0, ("end_before_start",) if span.end_ns else ("end_missing",)


def _is_linked(link: dict[str, Value]) -> bool:
    return is_id(link.get("traceId", ""), TRACE_ID_DIGITS) and is_id(link.get("spanId", ""), SPAN_ID_DIGITS)


def _exception(events: list[dict[str, Value]], strings: dict[str, str]) -> tuple[str, ...]:
    """Type, message, stack trace of the first exception event; what it leaves out is taken from the attributes."""
    held: Attributes = next((event.get("attributes", {}) for event in events if event.get("name") == "exception"), {})
    return tuple(text(held.get(key)) or strings.get(key, "") for key in _EXCEPTION)


def _cut(span: Span) -> Span:
    """The span cut to about MAX_RECORD_LENGTH characters of JSON."""
    return span._replace(
        name=span.name[:MAX_NAME_LENGTH],
        trace_state=span.trace_state[:MAX_NAME_LENGTH],
        status_message=span.status_message[:MAX_NAME_LENGTH],
        attributes=fit(span.attributes, MAX_RECORD_LENGTH // 2)[0],
        events=fit(span.events, MAX_RECORD_LENGTH // 4)[0],
        links=fit(span.links, MAX_RECORD_LENGTH // 8)[0],
        flaws=(*span.flaws, TRUNCATED),
    )
