"""One row per span, however it came: its columns, its times, its id. The wire forms are read elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from schemas.headers import Origin
from schemas.rows import APP_SPAN, Row, row_id
from workers.normalise import gen_ai
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.durations import MAX_DURATION_NS
from workers.normalise.envelope_item import ORIGIN_COLUMNS, RecordRefused, distinct
from workers.normalise.levels import Severity
from workers.normalise.scalars import value_text
from workers.normalise.timestamps import IMPOSSIBLE, SenderClock, bound_uint64, parse_ns
from workers.normalise.trace_context import span_id, trace_id

INVALID_TRACE_ID: Final = "invalid_trace_id"
INVALID_SPAN_ID: Final = "invalid_span_id"
INVALID_START: Final = "invalid_start_timestamp"
INVALID_END: Final = "invalid_end_timestamp"
END_BEFORE_START: Final = "end_before_start"
START_IMPOSSIBLE: Final = "start_impossible"
END_IMPOSSIBLE: Final = "end_impossible"
INVALID_SPAN: Final = "invalid_span"
NAME_CUT: Final = "name_cut"

# OpenTelemetry's words, the ones that OTLP rows have.
UNSET: Final = "unset"
UNSPECIFIED: Final = "unspecified"
_CODES: Final = {"": UNSET, "unknown": UNSET, "cancelled": UNSET, "ok": "ok"}
_PLAIN: Final = frozenset({"ok", "error"})

MODEL_OPS: Final = ("gen_ai.", "ai.")

UNLABELED_SPAN: Final = "<unlabeled span>"
NO_SEVERITY: Final[Severity] = (0, "")

SPAN_COLUMNS: Final[tuple[str, ...]] = (
    *ORIGIN_COLUMNS,
    "environment",
    "event_id",
    "event_type",
    "item_type",
    "timestamp",
    "original_timestamp_ns",
    "source_ordinal",
    "trace_id",
    "span_id",
    "parent_span_id",
    "span_kind",
    "span_op",
    "status",
    "status_message",
    "duration_ns",
    "severity_number",
    "severity_text",
    "name",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "user_id",
    "span_links",
    "dropped_attributes_count",
    "payload",
    "repairs",
)


class PlacedSpan(NamedTuple):
    """A span in time: its start as stored, as sent (0: not moved), its length, and what had to be repaired."""

    timestamp_ns: int
    original_ns: int
    duration_ns: int
    repairs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpanTimes:
    """Start and end in nanoseconds as sent; the end is not before the start."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class SpanIdentity:
    """Ids that are valid; `parent_span_id` may be ''."""

    trace_id: str
    span_id: str
    parent_span_id: str


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """Everything of a span that is not its message's; `shift_ns` moves it together with the transaction it is in.

    `status` is one of Sentry's words, '' if none was sent; `kind` one of OpenTelemetry's.
    """

    identity: SpanIdentity
    times: SpanTimes
    name: str
    op: str
    status: str
    attributes: Attributes
    resource: dict[str, str]
    environment: str
    user_id: str
    payload: str
    repairs: list[str]
    kind: str = UNSPECIFIED
    status_message: str = ""
    links: str = ""
    ordinal: int = 0
    item_type: str = "span"
    severity: Severity = NO_SEVERITY
    event_id: int | None = None
    shift_ns: int = 0


def span_row(origin: Origin, prefix: tuple[object, ...], clock: SenderClock, span: SpanRecord) -> Row:
    """The row, in the order of SPAN_COLUMNS. `timestamp` is the span's start, as in OpenTelemetry."""
    identity, times = span.identity, span.times
    placed = place(clock, times, span.shift_ns)
    span.repairs.extend(placed.repairs)
    attributes = span.attributes
    attributes.close(span.repairs)
    if span.op.startswith(MODEL_OPS) or gen_ai.is_model_call(attributes.keys):
        gen_ai.complete(attributes.strings, attributes.ints, attributes.doubles, span.op)
    return (
        *prefix,
        span.environment,
        span_row_id(origin, identity) if span.event_id is None else span.event_id,
        APP_SPAN,
        span.item_type,
        placed.timestamp_ns,
        placed.original_ns,
        span.ordinal,
        identity.trace_id,
        identity.span_id,
        identity.parent_span_id,
        span.kind,
        span.op,
        *_outcome(span),
        placed.duration_ns,
        *span.severity,
        span.name,
        *attributes.maps(),
        span.resource,
        span.user_id,
        span.links,
        attributes.dropped,
        span.payload,
        distinct(span.repairs),
    )


def _outcome(span: SpanRecord) -> tuple[str, str]:
    """(OpenTelemetry's status code, its message): Sentry's finer word stands where OpenTelemetry's SDKs put it.

    What Sentry does not count as a failure is none here either: cancelled, and unknown, its word for "not said".
    """
    code = _CODES.get(span.status, "error")
    return code, span.status_message or ("" if span.status in _PLAIN else span.status)


def span_row_id(origin: Origin, identity: SpanIdentity) -> int:
    """The same span sent twice, in a transaction and alone, is one row."""
    return row_id("sentry.span", origin.channel_id, identity.trace_id, identity.span_id)


def place(clock: SenderClock, times: SpanTimes, shift_ns: int) -> PlacedSpan:
    """Where a span is stored. A start that cannot be costs the start alone, and so does an end."""
    length_ns = times.end_ns - times.start_ns
    if length_ns <= MAX_DURATION_NS:
        if not clock.is_plausible(times.end_ns + shift_ns):
            return PlacedSpan(clock.received_at_ns, bound_uint64(times.start_ns), length_ns, (IMPOSSIBLE,))
        timestamp, original_ns, repairs = _by_end(clock, times, shift_ns)
        return PlacedSpan(timestamp, original_ns, length_ns, repairs)
    is_start_the_wrong_one = not clock.is_plausible(times.start_ns) or times.end_ns + clock.drift_ns <= clock.latest_ns
    kept_ns, repair = (times.end_ns, START_IMPOSSIBLE) if is_start_the_wrong_one else (times.start_ns, END_IMPOSSIBLE)
    timestamp, original_ns, repairs = clock.place_ns(kept_ns + shift_ns)
    return PlacedSpan(timestamp, original_ns, 0, (*repairs, repair))


def _by_end(clock: SenderClock, times: SpanTimes, shift_ns: int) -> tuple[int, int, tuple[str, ...]]:
    """(time to store, start as sent or 0, repairs). It is the end that must not lie ahead: a span is sent after it."""
    placed_end, _, repairs = clock.place_ns(times.end_ns + shift_ns)
    start_ns = times.start_ns + placed_end - times.end_ns
    timestamp = clock.clamp(start_ns)
    if timestamp != start_ns and not repairs:
        repairs = ("timestamp_too_old",)
    return timestamp, bound_uint64(times.start_ns) if timestamp != times.start_ns else 0, repairs


def read_span_ids(fields: dict[str, Any], where: str, parent: str) -> SpanIdentity:
    """The ids of a span. Raises RecordRefused."""
    trace, span = trace_id(fields.get("trace_id")), span_id(fields.get("span_id"))
    if not trace:
        given = value_text(fields.get("trace_id"))
        raise RecordRefused(
            INVALID_TRACE_ID, f"expected 32 hex digits, not all zero, as {where}trace_id, found {given}"
        )
    if not span:
        given = value_text(fields.get("span_id"))
        raise RecordRefused(INVALID_SPAN_ID, f"expected 16 hex digits, not all zero, as {where}span_id, found {given}")
    return SpanIdentity(trace, span, parent)


def read_times(start: Any, end: Any, where: str) -> SpanTimes:
    """Start and end of a span. Raises RecordRefused."""
    start_ns, end_ns = parse_ns(start), parse_ns(end)
    if start_ns is None:
        raise RecordRefused(
            INVALID_START, f"expected epoch seconds or ISO 8601 as {where}start, found {value_text(start)}"
        )
    if end_ns is None:
        raise RecordRefused(INVALID_END, f"expected epoch seconds or ISO 8601 as {where}end, found {value_text(end)}")
    if end_ns < start_ns:
        raise RecordRefused(
            END_BEFORE_START, f"expected {where}end not before its start, found {value_text(end)} < {value_text(start)}"
        )
    return SpanTimes(start_ns, end_ns)


def user_key(attributes: Attributes) -> str:
    """The user's id, else name, e-mail or address."""
    text = attributes.text
    return text("user.id") or text("user.name") or text("user.email") or text("client.address")
