"""What OTLP rows share: attributes by type, maps of text, ids, size limits. The rows are in otlp_span and otlp_log."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.headers import Origin
from schemas.otlp.columns import text
from schemas.otlp.records import Attributes, Flaws, Value, json_text
from schemas.rows import clamp_ns

# A record whose JSON has more characters is cut to about this, and says so in `repairs`.
MAX_RECORD_LENGTH: Final = 1_048_576
MAX_NAME_LENGTH: Final = 16 * 1024
# Resource and scope are stored with every row, so what one body may make of them is bounded over all its rows.
MAX_RESOURCE_BYTES: Final = 64 * 1024
MIN_RESOURCE_BYTES: Final = 1024
MAX_SHARED_BYTES: Final = 64 * 1024 * 1024
MAX_DATETIME64_NS: Final = 2**63 - 1
MAX_REPAIR_LENGTH: Final = 64

TRUNCATED: Final = "record_truncated"
RESOURCE_TRUNCATED: Final = "resource_truncated"
TIMESTAMP_CLAMPED: Final = "timestamp_clamped"
TIME_FROM_ARRIVAL: Final = "time_from_arrival"
TRACE_ID_DIGITS: Final = 32
# W3C trace flags. The bits above (SpanFlags, LogRecordFlags: is the parent remote?) stay in the payload.
TRACE_FLAGS_MASK: Final = 0xFF
SPAN_ID_DIGITS: Final = 16
NULL_IDS: Final = frozenset({"0" * TRACE_ID_DIGITS, "0" * SPAN_ID_DIGITS})

ORIGIN_COLUMNS: Final = (
    *("organisation", "channel_id", "key_id", "environment", "version", "event_type", "item_type", "received_at"),
    "source_seq",
)
SCOPE_COLUMNS: Final = (*("resource", "service_name", "scope_name", "scope_version", "scope_attributes", "schema_url"),)


class TimeRange(NamedTuple):
    """The times a row may have, ns since 1970: where the partitions are. And when the body arrived."""

    earliest_ns: int
    latest_ns: int
    received_at_ns: int


def window(origin: Origin, retention_days: int) -> TimeRange:
    """The Window of one message: what clamp_ns makes of the ends of time."""
    received_at_ns = origin.received_at_ns
    return TimeRange(
        clamp_ns(0, received_at_ns, retention_days), clamp_ns(2**64, received_at_ns, retention_days), received_at_ns
    )


class Shared(NamedTuple):
    """What the rows of one scope share: their first and last values, and the hash of what their ids begin with.

    `identity` is schemas.rows.row_id's digest of the first parts of an id; copying it takes half the time of a new one.
    """

    head: tuple[object, ...]
    tail: tuple[object, ...]
    identity: blake2b
    times: TimeRange


def hashed(*parts: str | int) -> blake2b:
    """schemas.rows.row_id's digest of the first parts of an id; the last parts are the record's own."""
    raws = [str(part).encode() for part in parts]
    return blake2b(b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws), digest_size=16)


def origin_part(origin: Origin, event_type: str, item_type: str) -> tuple[object, ...]:
    """The values of ORIGIN_COLUMNS."""
    return (
        origin.organisation,
        origin.channel_id,
        origin.key_id,
        origin.environment,
        origin.version,
        event_type,
        item_type,
        origin.received_at_ns,
        origin.origin_seq,
    )


def text_map(attributes: Attributes) -> dict[str, str]:
    """Attributes as a map of text."""
    return {key: value if value.__class__ is str else text(value) for key, value in attributes.items()}


def is_id(text: str, digits: int) -> bool:
    """Whether `text` (lower case) is a W3C trace or span id: so many hex digits, not all of them zero."""
    try:
        # fromhex takes blanks between digits; hex gives none back
        return len(text) == digits and text not in NULL_IDS and len(bytes.fromhex(text)) * 2 == digits
    except ValueError:
        return False


def repairs(*flaws: Flaws | list[str]) -> list[str]:
    """The `repairs` of a row: each flaw once, in order."""
    return [flaw[:MAX_REPAIR_LENGTH] for flaw in dict.fromkeys(flaw for several in flaws for flaw in several)]


def fit(value: Value, budget: int) -> tuple[Value, int]:
    """(`value` cut so that its JSON takes about `budget` bytes, what is left of the budget)."""
    if isinstance(value, str | bytes):
        size = len(json_text(value))
        return (value, budget - size) if size <= budget else (value[: len(value) * max(budget, 0) // size], 0)
    if isinstance(value, list):
        kept = []
        for item in value:
            if budget <= 0:
                break
            held, budget = fit(item, budget - 1)
            kept.append(held)
        return kept, budget
    if isinstance(value, dict):
        members = {}
        for key, item in value.items():
            name, budget = fit(key, budget - 2)
            if budget <= 0:
                break
            members[name], budget = fit(item, budget)
        return members, budget
    return value, budget - 8


def fit_shared(attributes: Attributes, rows: int) -> tuple[Attributes, bool]:
    """Resource or scope attributes, cut if `rows` copies of them would be too much; and whether they were."""
    limit = max(MIN_RESOURCE_BYTES, min(MAX_RESOURCE_BYTES, MAX_SHARED_BYTES // max(rows, 1)))
    if len(json_text(attributes)) <= limit:
        return attributes, False
    fitted: Attributes = fit(attributes, limit)[0]
    return fitted, True
