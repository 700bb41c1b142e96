"""Counts of refused requests, as a receiver stored them, become rows of outcome_rows. Pure."""

from __future__ import annotations

from schemas import refusals
from schemas.headers import Origin
from schemas.outcomes import refusal_row
from workers.normalise.verdict import Invalid, Verdict


def normalise(origin: Origin, body: bytes) -> Verdict:
    """One row for each count. Raises Invalid.

    A message tried twice by its receiver carries one id, so however often it is stored or delivered it is one outcome.
    """
    try:
        counted = refusals.decode(body)
    except ValueError as error:
        raise Invalid(str(error)) from error
    rows = [refusal_row(origin, refusal.item_type, refusal.reason, refusal.quantity) for refusal in counted]
    return Verdict(rows=list(rows), accepted=len(rows))
