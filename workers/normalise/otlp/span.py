"""One OTLP span to one row, or why it is refused.

How spans are read is in schemas/otlp/http_bodies.py, the body's walk in otlp.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.otlp.columns import text_of_value, typed
from schemas.otlp.json_values import U32_MAX
from schemas.otlp.records import Attributes, Flaws, OtlpSpan, Value, json_text
from schemas.rows import Row
from workers.normalise import gen_ai
from workers.normalise.otlp.values import (
    MAX_NAME_LENGTH,
    MAX_RECORD_LENGTH,
    SPAN_ID_DIGITS,
    TIME_FROM_ARRIVAL,
    TIMESTAMP_CLAMPED,
    TRACE_FLAGS_MASK,
    TRACE_ID_DIGITS,
    TRUNCATED,
    Shared,
    TimeRange,
    is_id,
    repairs,
)
from workers.normalise.size_limits import Cuts, fit_texts, fit_together
from workers.normalise.stack_text import error_hash

INVALID_TRACE_ID: Final = "invalid_trace_id"
INVALID_SPAN_ID: Final = "invalid_span_id"

COLUMNS: Final = (
    *("event_id", "timestamp", "original_timestamp_ns", "source_ordinal", "trace_id", "span_id", "parent_span_id"),
    *("trace_state", "trace_flags", "span_kind", "status", "status_message", "duration_ns", "name"),
    *("attributes_string", "attributes_int", "attributes_double", "attributes_bool", "span_events", "span_links"),
    *("dropped_attributes_count", "dropped_events_count", "dropped_links_count"),
    *("exception_type", "exception_message", "exception_stacktrace", "group_hash", "payload", "repairs"),
)
KINDS: Final = {0: "unspecified", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
STATUSES: Final = {0: "unset", 1: "ok", 2: "error"}


class Unidentified(ValueError):
    """A span without a valid identity: (reason, what was expected and found)."""


def row(span: OtlpSpan, ordinal: int, shared: Shared, inherited: Flaws) -> Row:
    """The whole row, COLUMNS in its middle. `inherited` are the flaws of its resource and scope. Raises Unidentified.

    Most spans go another way (plain_spans), which makes the same rows.
    """
    (trace_id, span_id, parent_id, state, trace_flags, name, kind, start_ns, end_ns, attributes, *_) = span
    (*_, dropped, events, dropped_events, links, dropped_links, code, message, flaws) = span
    if not is_id(trace_id, TRACE_ID_DIGITS) or not is_id(span_id, SPAN_ID_DIGITS):
        raise _unidentified(span)
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
    if trace_flags:
        members["flags"] = trace_flags
    if state or events or links or dropped or dropped_events or dropped_links:
        members |= _rare_members(span)
    payload = json_text(members)
    if len(payload) > MAX_RECORD_LENGTH and TRUNCATED not in flaws:
        return row(_cut(span), ordinal, shared, inherited)
    if inherited:
        flaws += inherited
    if parent_id and not is_id(parent_id, SPAN_ID_DIGITS):
        flaws += (f"parent_span_id_invalid:{parent_id}",)
        parent_id = ""
    time_ns, original_ns, duration_ns = start_ns, 0, end_ns - start_ns
    if duration_ns < 0 or not time_ns:
        time_ns, duration_ns, time_flaws = _odd_times(span, shared.times)
        flaws += time_flaws
    times = shared.times
    if not times.earliest_ns <= time_ns <= times.latest_ns:
        original_ns, time_ns = time_ns, min(max(time_ns, times.earliest_ns), times.latest_ns)
        flaws += (TIMESTAMP_CLAMPED,)
    strings, integers, doubles, booleans = typed(attributes)
    if shared.has_model_calls and gen_ai.is_model_call(attributes):
        gen_ai.complete(strings, integers, doubles)
    if links:
        links = [link for link in links if _is_linked(link)]
        flaws += () if len(links) == len(span.links) else ("link_dropped",)
    identity = shared.identity.copy()
    identity.update(f"\0\0\0\x20{trace_id}\0\0\0\x10{span_id}".encode())
    exception = _exception(events, strings)
    return (
        *shared.head,
        int.from_bytes(identity.digest(), "big"),
        time_ns,
        original_ns,
        ordinal,
        trace_id,
        span_id,
        parent_id,
        state,
        trace_flags & TRACE_FLAGS_MASK,
        KINDS.get(kind, "unspecified"),
        STATUSES.get(code, "unset"),
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
        *exception,
        error_hash(*exception),
        payload,
        repairs(flaws) if flaws else [],
        *shared.tail,
    )


def _unidentified(span: OtlpSpan) -> Unidentified:
    if not is_id(span.trace_id, TRACE_ID_DIGITS):
        return Unidentified(INVALID_TRACE_ID, _expected(TRACE_ID_DIGITS, "traceId", span.trace_id))
    return Unidentified(INVALID_SPAN_ID, _expected(SPAN_ID_DIGITS, "spanId", span.span_id))


def _expected(digits: int, member: str, actual: str) -> str:
    wanted = f"expected {digits} hex digits, not all zero, in {member}"
    return f"{wanted}, found {actual[:48]!r}" if actual else f"{wanted}, found none"


WITHOUT_TRACE_ID: Final = (INVALID_TRACE_ID, _expected(TRACE_ID_DIGITS, "traceId", ""))


def _rare_members(span: OtlpSpan) -> dict[str, Any]:
    """What most spans leave out of their JSON."""
    members = {
        "traceState": span.trace_state,
        "events": span.events,
        "links": span.links,
        "droppedAttributesCount": span.dropped_attributes,
        "droppedEventsCount": span.dropped_events,
        "droppedLinksCount": span.dropped_links,
    }
    return {name: value for name, value in members.items() if value}


def _odd_times(span: OtlpSpan, times: TimeRange) -> tuple[int, int, Flaws]:
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
    given = get("exception.type", ""), get("exception.message", ""), get("exception.stacktrace", "")
    for event in events:
        if event.get("name") == "exception":
            event_attributes: Attributes = event.get("attributes", {})
            own = (
                text_of_value(event_attributes.get("exception.type")),
                text_of_value(event_attributes.get("exception.message")),
            )
            return (
                own[0] or given[0],
                own[1] or given[1],
                text_of_value(event_attributes.get("exception.stacktrace")) or given[2],
            )
    return given


def _cut(span: OtlpSpan) -> OtlpSpan:
    """The span cut to about MAX_RECORD_LENGTH characters of JSON, its long values only."""
    cuts = Cuts()
    texts: dict[str, Any] = {"name": span.name, "trace_state": span.trace_state, "status_message": span.status_message}
    texts = fit_texts(texts, MAX_NAME_LENGTH, cuts)
    values: dict[str, Any] = {"attributes": span.attributes, "events": span.events, "links": span.links}
    values = fit_together(values, MAX_RECORD_LENGTH * 7 // 8, cuts)
    return span._replace(
        **texts,
        **values,
        dropped_attributes=min(span.dropped_attributes + cuts.count, U32_MAX),
        dropped_events=min(span.dropped_events + len(span.events) - len(values["events"]), U32_MAX),
        dropped_links=min(span.dropped_links + len(span.links) - len(values["links"]), U32_MAX),
        flaws=(*span.flaws, TRUNCATED, *cuts.repairs()),
    )
