"""Requests that a receiver refused because of a quota: counts in one message on `raw.outcome.*`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

MAX_QUANTITY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """`quantity` requests of one kind, refused for one reason in the minute that the message's headers name."""

    item_type: str
    reason: str
    quantity: int


def encode(refusals: Iterable[Refusal]) -> bytes:
    """The body of a message, JSON."""
    return orjson.dumps([[refusal.item_type, refusal.reason, refusal.quantity] for refusal in refusals])


def decode(body: bytes) -> list[Refusal]:
    """The reverse of encode. Raises ValueError for anything else."""
    refusals = orjson.loads(body)
    if not isinstance(refusals, list):
        raise ValueError(f"expected a list of refusals, found {type(refusals).__name__}")
    return [_refusal(refusal) for refusal in refusals]


def _refusal(found: object) -> Refusal:
    match found:
        case [str(item_type), str(reason), int(quantity)] if 0 < quantity <= MAX_QUANTITY and quantity is not True:
            return Refusal(item_type, reason, quantity)
    raise ValueError(f"expected [item type, reason, quantity above 0], found {str(found)[:100]}")
