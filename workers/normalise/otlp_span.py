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
    and scope. The hot path: fields are unpacked once, no call per attribute, and what is rare is somewhere else.
    """
    payload = _payload(span)
    if len(payload) > MAX_RECORD_LENGTH and TRUNCATED not in span.flaws:
        return row(_cut(span), ordinal, times, id_prefix, inherited)
    (trace_id, span_id, parent_id, state, trace_flags, name, kind, time_ns, end_ns, attributes, *_) = span
    (*_, dropped, events, dropped_events, links, dropped_links, code, message, flaws) = span
    flaws += inherited
    if parent_id and not is_id(parent_id, SPAN_ID_DIGITS):
        flaws += (f"parent_span_id_invalid:{parent_id}",)
        parent_id = ""
    duration_ns = end_ns - time_ns
    if duration_ns < 0 or not time_ns:
        time_ns, duration_ns, time_flaws = _odd_times(span, times)
        flaws += time_flaws
    original_ns = 0
    if not times.earliest_ns <= time_ns <= times.latest_ns:
        original_ns, time_ns = time_ns, min(max(time_ns, times.earliest_ns), times.latest_ns)
        flaws += (TIMESTAMP_CLAMPED,)
    strings, integers, doubles, booleans = typed(attributes)
    if links:
        links = [link for link in links if _is_linked(link)]
        flaws += () if len(links) == len(span.links) else ("link_dropped",)
    identity = id_prefix + f"\0\0\0\x20{trace_id}\0\0\0\x10{span_id}".encode()
    exception_type, exception_message, exception_stacktrace = _exception(events, strings)
    return (
        int.from_bytes(blake2b(identity, digest_size=16).digest(), "big"),
        time_ns,
        original_ns,
        ordinal,
        trace_id,
        span_id,
        parent_id,
        state,
        trace_flags,
        _KINDS.get(kind, "unspecified"),
        _STATUSES.get(code, "unset"),
        message,
        duration_ns,
        name,
        strings,
        integers,
        doubles,
        booleans,
        json_text(events) if events else "",
        json_text(links) if links else "",
        dropped,
        dropped_events,
        dropped_links,
        exception_type,
        exception_message,
        exception_stacktrace,
        payload,
        repairs(flaws) if flaws else [],
    )


def _payload(span: Span) -> str:
    """The span as JSON: names as in OTLP/JSON, attributes as one object, times as numbers, empty members left out."""
    (trace_id, span_id, parent_id, state, flags, name, kind, start_ns, end_ns, attributes, *rest) = span
    (dropped, events, dropped_events, links, dropped_links, code, message, _) = rest
    members: dict[str, Any] = {
        "traceId": trace_id,
        "spanId": span_id,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": start_ns,
        "endTimeUnixNano": end_ns,
        "attributes": attributes,
    }
    if parent_id:
        members["parentSpanId"] = parent_id
    if code or message:
        members["status"] = {"code": code, "message": message}
    if flags:
        members["flags"] = flags
    if state:
        members["traceState"] = state
    if events:
        members["events"] = events
    if links:
        members["links"] = links
    if dropped:
        members["droppedAttributesCount"] = dropped
    if dropped_events:
        members["droppedEventsCount"] = dropped_events
    if dropped_links:
        members["droppedLinksCount"] = dropped_links
    return json_text(members)


def _odd_times(span: Span, times: Window) -> tuple[int, int, Flaws]:
    """(time, duration, flaws) of a span that does not start, or ends before it does or never."""
    if not span.start_ns:
        missing = ("start_missing",) if span.end_ns else ("start_missing", "end_missing", TIME_FROM_ARRIVAL)
        return span.end_ns or times.received_at_ns, 0, missing
    return span.start_ns, 0, ("end_before_start",) if span.end_ns else ("end_missing",)


def _is_linked(link: dict[str, Value]) -> bool:
    return is_id(link.get("traceId", ""), TRACE_ID_DIGITS) and is_id(link.get("spanId", ""), SPAN_ID_DIGITS)


def _exception(events: list[dict[str, Value]], strings: dict[str, str]) -> tuple[str, str, str]:
    """Type, message, stack trace of the first exception event; what it leaves out is taken from the attributes."""
    get = strings.get
    found = get("exception.type", ""), get("exception.message", ""), get("exception.stacktrace", "")
    for event in events:
        if event.get("name") == "exception":
            held: Attributes = event.get("attributes", {})
            own = (text(held.get("exception.type")), text(held.get("exception.message")))
            return own[0] or found[0], own[1] or found[1], text(held.get("exception.stacktrace")) or found[2]
    return found


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
