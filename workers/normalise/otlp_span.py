"""One OTLP span to one row, or why it is refused. How spans are read is in schemas/otlp.py, the body's walk in otlp."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from schemas.otlp_records import Flaws, Span, json_text
from schemas.rows import Row
from workers.normalise.otlp_values import (
    MAX_RECORD_BYTES,
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
KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")


def refusal(span: Span) -> tuple[str, str] | None:
    """(reason, what was expected and found) for a span that cannot be told from others; None for any other."""
    if not is_id(span.trace_id, TRACE_ID_DIGITS):
        return INVALID_TRACE_ID, _expected(TRACE_ID_DIGITS, "traceId", span.trace_id)
    if not is_id(span.span_id, SPAN_ID_DIGITS):
        return INVALID_SPAN_ID, _expected(SPAN_ID_DIGITS, "spanId", span.span_id)
    return None


def _expected(digits: int, member: str, found: str) -> str:
    wanted = f"expected {digits} hex digits, not all zero, in {member}"
    return f"{wanted}, found {found[:48]!r}" if found else f"{wanted}, found none"


def row(span: Span, ordinal: int, times: Window, id_prefix: bytes, inherited: Flaws) -> Row:
    """The values of COLUMNS. `id_prefix` starts every span id of the channel, `inherited` are flaws of its resource."""
    (
        *(trace_id, span_id, parent_id, trace_state, flags, name, kind, start_ns, end_ns, attributes, dropped_attributes),
        *(events, dropped_events, links, dropped_links, status_code, status_message, flaws),
    ) = span
