"""Counts of refused requests, as a receiver stored them, become rows of outcome_rows. Pure."""

from __future__ import annotations

from typing import Final

from schemas import refusals
from schemas.headers import Origin
from schemas.refusals import Refusal
from schemas.rows import NANOS_PER_SECOND, Row, row_id
from workers.normalise.verdict import Invalid, Verdict

COLUMNS: Final = (
    "minute", "organisation", "channel_id", "key_id", "item_type", "outcome", "reason", "source_id", "quantity",
    "version",
)  # fmt: skip
RATE_LIMITED: Final = "rate_limited"
_SECONDS_PER_MINUTE: Final = 60


def normalise(origin: Origin, body: bytes) -> Verdict:
    """One row for each count. Raises Invalid.

    A message tried twice by its receiver carries one id, so however often it is stored or delivered it is one outcome.
    """
    try:
        found = refusals.decode(body)
    except ValueError as error:
        raise Invalid(str(error)) from error
    return Verdict(rows=[_row(origin, one) for one in found], accepted=len(found))


def _row(origin: Origin, refusal: Refusal) -> Row:
    seconds = origin.received_at_ns // NANOS_PER_SECOND
    return (
        seconds - seconds % _SECONDS_PER_MINUTE,
        origin.organisation,
        origin.channel_id,
        origin.key_id,
        refusal.item_type,
        RATE_LIMITED,
        refusal.reason,
        row_id(origin.origin_id, RATE_LIMITED, refusal.item_type, refusal.reason),
        refusal.quantity,
        origin.version,
    )
