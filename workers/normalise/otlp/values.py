"""What OTLP rows share: attributes by type, maps of text, ids, size limits. The rows are in otlp_span and otlp_log."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.headers import Origin
from schemas.otlp.columns import text_of_value
from schemas.otlp.records import Attributes, Flaws, json_text
from schemas.rows import clamp_ns
from workers.normalise.attributes import RESOURCE_TRUNCATED, shared_rank
from workers.normalise.size_limits import Cuts, fit, shares

# A record whose JSON has more characters is cut to about this, and says so in `repairs`.
MAX_RECORD_LENGTH: Final = 1_048_576
MAX_NAME_LENGTH: Final = 16 * 1024
# Resource and scope are stored with every row, so what one body may make of them is bounded: each one's own rows count.
MAX_RESOURCE_BYTES: Final = 64 * 1024
MIN_RESOURCE_BYTES: Final = 1024
MAX_SHARED_BYTES: Final = 64 * 1024 * 1024
MAX_DATETIME64_NS: Final = 2**63 - 1
MAX_REPAIR_LENGTH: Final = 64

TRUNCATED: Final = "record_truncated"
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
    # Whether attributes of some of them are about calls of models.
    has_model_calls: bool = False


def hashed(*parts: str | int) -> blake2b:
    """schemas.rows.row_id's digest of the first parts of an id; the last parts are the record's own."""
    return blake2b(hashed_bytes(*parts), digest_size=16)


def hashed_bytes(*parts: str | int) -> bytes:
    """What `hashed` hashes: each part behind its length."""
    raws = [str(part).encode() for part in parts]
    return b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws)


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
    return {key: value if value.__class__ is str else text_of_value(value) for key, value in attributes.items()}


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


def size_of(attributes: Attributes) -> int:
    """Bytes of the attributes' JSON."""
    return len(json_text(attributes)) if attributes else 0


def fit_shared(attributes: Attributes, limit: int) -> tuple[Attributes, Flaws]:
    """Resource or scope attributes cut to `limit` bytes, and the flaws that say so. What columns read stays first."""
    cuts = Cuts()
    fitted: Attributes = fit(attributes, limit, cuts, shared_rank)
    return fitted, (RESOURCE_TRUNCATED, *cuts.repairs()) if cuts.count else ()


def shared_limits(blocks: list[tuple[int, int]]) -> list[int]:
    """How many bytes each resource or scope may have, given (its size, the number of its own records).

    What its rows take together is what counts. The body's MAX_SHARED_BYTES are shared out over the blocks: one that is
    copied too often is cut, and those beside it are not.
    """
    demands = [min(size, MAX_RESOURCE_BYTES) * max(records, 1) for size, records in blocks]
    if sum(demands) <= MAX_SHARED_BYTES:
        return [MAX_RESOURCE_BYTES] * len(blocks)
    given = zip(blocks, shares(demands, MAX_SHARED_BYTES, 0), strict=True)
    return [max(MIN_RESOURCE_BYTES, share // max(records, 1)) for (_, records), share in given]
