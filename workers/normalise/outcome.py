"""What a receiver counted, refused requests and keys in use, becomes rows of outcome_rows. Pure."""

from __future__ import annotations

from schemas import refusals
from schemas.headers import Origin
from schemas.outcomes import Outcome, refusal_row, use_row
from workers.normalise.verdict import Invalid, Verdict


def normalise(origin: Origin, body: bytes) -> Verdict:
    """One row for each count. Raises Invalid.

    A message tried twice by its receiver carries one id, so however often it is stored or delivered it is one outcome.
    """
    try:
        uses = refusals.decode_use(body)
        counted = refusals.decode(body) if uses is None else []
    except ValueError as error:
        raise Invalid(str(error)) from error
    rows = [
        refusal_row(
            origin,
            Outcome(refusal.outcome, refusal.reason, refusal.item_type, refusal.quantity),
            refusal.sender,
        )
        for refusal in counted
    ]
    rows += [use_row(origin, use.organisation, use.key_id, use.requests) for use in uses or ()]
    return Verdict(rows=list(rows), accepted=len(rows))
