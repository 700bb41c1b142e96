"""Row identity and the fixed values of a row: event types, item types, severities. tables/ defines the columns."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Protocol

# One row of one normaliser: values in the order of its column names. Other columns take the table's DEFAULT, which
# ClickHouse computes, so that Python spends no time on them.
Row = tuple[object, ...]

EVENTS_TABLE: Final = "event_rows"
# Filled from it by a materialised view: schemas/tables/0009_issues.sql.
ERRORS_TABLE: Final = "error_rows"
OUTCOMES_TABLE: Final = "outcome_rows"
DEAD_LETTERS_TABLE: Final = "dead_letter_rows"
LEDGER_TABLE: Final = "taken_rows"

AGENT_ERROR: Final = "agent.error"
APP_LOG: Final = "app.log"
APP_SPAN: Final = "app.span"
CUSTOM: Final = "custom"

NANOS_PER_SECOND: Final = 1_000_000_000
NANOS_PER_DAY: Final = 86_400 * NANOS_PER_SECOND


def row_id(*parts: str | bytes | int) -> int:
    """A 128-bit id that depends only on its parts, so that a redelivery or a replay makes the same row.

    Parts are length-prefixed before hashing: ("ab", "c") and ("a", "bc") differ. The result fits a ClickHouse UUID.
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return int.from_bytes(digest.digest(), "big")


class ItemOrigin(Protocol):
    """Which item a row is made from; schemas.headers.Origin is one."""

    channel_id: int
    origin_id: str
    item_index: int


def item_row_id(origin: ItemOrigin, *place: int) -> int:
    """The id of a row whose item has none: made from the body, the item's index, and the row's index in the item."""
    return row_id("sentry.item", origin.channel_id, origin.origin_id, origin.item_index, *place)


def clamp_ns(time_ns: int, received_at_ns: int, retention_days: int) -> int:
    """`time_ns` if it lies within [received - retention, received + 1 day], else the nearer end of that range.

    A single wrong timestamp would otherwise create a partition, and more than 100 partitions in one insert make the
    whole block fail for ever (opentelemetry-collector-contrib issue 43599).
    """
    earliest = received_at_ns - retention_days * NANOS_PER_DAY
    return min(max(time_ns, earliest), received_at_ns + NANOS_PER_DAY)
