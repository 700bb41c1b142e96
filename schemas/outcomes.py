"""The rows of the two counting tables: outcomes (`outcome_rows`) and the ledger (`taken_rows`).

The fields here define the columns and their order.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.headers import Origin
from schemas.rows import NANOS_PER_SECOND, row_id

REJECTED: Final = "rejected"
DROPPED: Final = "dropped"
INVALID: Final = "invalid"
DEAD: Final = "dead"
RATE_LIMITED: Final = "rate_limited"
# A request that the receiver refused for another reason than a quota: nothing of it was stored.
REFUSED: Final = "refused"
# A request that the broker did not confirm in time: it may have been stored, and then it has other outcomes as well.
UNCONFIRMED: Final = "unconfirmed"
# Requests of a key that were stored; not in the view `outcomes`, which counts records.
USED: Final = "used"
# An invalid body whose bytes were not kept. Counted in addition to `invalid`.
NOT_KEPT: Final = "not_kept"
# Reported by an SDK as lost before it reached us; never one of our own outcomes.
CLIENT_PREFIX: Final = "client_"

NANOS_PER_MINUTE: Final = 60 * NANOS_PER_SECOND


class OutcomeRow(NamedTuple):
    """A row of `outcome_rows`: what became of `quantity` records that are no rows. `minute` is seconds since 1970."""

    minute: object
    organisation: str
    channel_id: int
    key_id: str
    item_type: str
    outcome: str
    reason: str
    source_id: object
    quantity: int
    version: int
    stage: str
    item_index: int
    sender: str = ""


class LedgerRow(NamedTuple):
    """A row of `taken_rows`, the ledger: how many rows one consumed message should produce."""

    minute: object
    organisation: str
    channel_id: int
    stage: str
    origin_seq: int
    item_index: int
    generation: int
    units: int


OUTCOME_COLUMNS: Final = OutcomeRow._fields
LEDGER_COLUMNS: Final = LedgerRow._fields


class Outcome(NamedTuple):
    """What became of `quantity` records of one type that are no rows; `reason` is for grouping."""

    outcome: str
    reason: str
    item_type: str
    quantity: int = 1


def minute_of(time_ns: int) -> int:
    """The minute of a time, in seconds since 1970; every count is stored by minute."""
    return (time_ns - time_ns % NANOS_PER_MINUTE) // NANOS_PER_SECOND


def outcome_row(origin: Origin, stage: str, outcome: Outcome) -> OutcomeRow:
    """The row of an outcome. Its id depends only on message, stage and reason, so a redelivery makes the same row."""
    return _outcome_row(origin, stage, outcome, row_id(origin.origin_id, origin.item_index, stage, outcome.reason))


def refusal_row(origin: Origin, outcome: Outcome, sender: str) -> OutcomeRow:
    """The row of requests that a receiver refused.

    It belongs to no message, so it has no stage, and its id has none.
    """
    parts = (origin.origin_id, outcome.outcome, outcome.item_type, outcome.reason)
    identity = row_id(*parts, sender) if sender else row_id(*parts)
    return _outcome_row(origin, "", outcome, identity)._replace(sender=sender)


def use_row(origin: Origin, organisation: str, key_id: str, requests: int) -> OutcomeRow:
    """The row of requests of one key that were stored. Like `refusal_row`, it belongs to no message."""
    row = _outcome_row(origin, "", Outcome(USED, "", "request", requests), row_id(origin.origin_id, USED, key_id))
    return row._replace(organisation=organisation, key_id=key_id)


def _outcome_row(origin: Origin, stage: str, outcome: Outcome, source_id: int) -> OutcomeRow:
    return OutcomeRow(
        minute=minute_of(origin.received_at_ns),
        organisation=origin.organisation,
        channel_id=origin.channel_id,
        key_id=origin.key_id,
        item_type=outcome.item_type,
        outcome=outcome.outcome,
        reason=outcome.reason,
        source_id=source_id,
        quantity=outcome.quantity,
        version=origin.version,
        stage=stage,
        item_index=origin.item_index,
    )
