"""What receivers count of requests, in messages on `raw.outcome.*`: refused ones by reason, stored ones by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from schemas.outcomes import RATE_LIMITED, REFUSED, UNCONFIRMED

MAX_QUANTITY = 2**63 - 1
_OUTCOMES = frozenset({RATE_LIMITED, REFUSED, UNCONFIRMED})


@dataclass(frozen=True, slots=True)
class Refusal:
    """`quantity` requests of one kind, refused for one reason in the minute that the message's headers name.

    `sender` is the class of address of a sender whose key is not known.
    """

    item_type: str
    reason: str
    quantity: int
    outcome: str = RATE_LIMITED
    sender: str = ""


class KeyUse(NamedTuple):
    """`requests` of a key were stored in the minute that the message's headers name."""

    organisation: str
    key_id: str
    requests: int


def encode(refusals: Iterable[Refusal]) -> bytes:
    """The body of a message, JSON. A refusal by a quota has three fields, as workers of older versions read it."""
    return orjson.dumps([_listed(refusal) for refusal in refusals])


def _listed(refusal: Refusal) -> list[str | int]:
    listed: list[str | int] = [refusal.item_type, refusal.reason, refusal.quantity]
    return listed if refusal.outcome == RATE_LIMITED else [*listed, refusal.outcome, refusal.sender]


def encode_use(uses: Iterable[KeyUse]) -> bytes:
    """The body of a message about keys in use, JSON."""
    return orjson.dumps({"used": [list(use) for use in uses]})


def decode(body: bytes) -> list[Refusal]:
    """The reverse of encode. Raises ValueError for anything else."""
    refusals = orjson.loads(body)
    if not isinstance(refusals, list):
        raise ValueError(f"expected a list of refusals, found {type(refusals).__name__}")
    return [_refusal(refusal) for refusal in refusals]


def decode_use(body: bytes) -> list[KeyUse] | None:
    """The reverse of encode_use; None for a body of `encode`. Raises ValueError for what is neither."""
    uses = orjson.loads(body)
    if not isinstance(uses, dict):
        return None
    listed = uses.get("used")
    if not isinstance(listed, list):
        raise ValueError("expected a list of keys in use, found none")
    return [_use(use) for use in listed]


def _refusal(entry: object) -> Refusal:
    match entry:
        case [str(item_type), str(reason), int(quantity)] if _is_quantity(quantity):
            return Refusal(item_type, reason, quantity)
        case [str(item_type), str(reason), int(quantity), str(outcome), str(sender)] if (
            _is_quantity(quantity) and outcome in _OUTCOMES
        ):
            return Refusal(item_type, reason, quantity, outcome, sender)
    raise ValueError(f"expected [item type, reason, quantity above 0, outcome, sender], found {str(entry)[:100]}")


def _use(entry: object) -> KeyUse:
    match entry:
        case [str(organisation), str(key_id), int(requests)] if _is_quantity(requests):
            return KeyUse(organisation, key_id, requests)
    raise ValueError(f"expected [organisation, key id, requests above 0], found {str(entry)[:100]}")


def _is_quantity(number: int) -> bool:
    return 0 < number <= MAX_QUANTITY and number is not True
