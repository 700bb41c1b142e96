"""What is remembered has bounds: the entry of a rule, all entries of an organisation.

The broker's bucket is shared by all organisations, and refuses what is beyond its size: who has more than a share gives
up his own oldest messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from console.alerts import metrics
from console.alerts.state import FAILED, PENDING, AlertDelivery, Firing, RuleState, written

if TYPE_CHECKING:
    from console.alerts.rules.source import RuleKey

# Of one rule; 500 messages that wait have 1 MB, if their texts are of a usual length.
MAX_ENTRY_BYTES: Final = 1_500_000
MAX_ORGANISATION_BYTES: Final = 3_000_000
# ops/provisioning/streams.py has the size of the bucket: the lease needs room too.
MAX_TOTAL_BYTES: Final = 8_000_000
# However full it is: how far a rule came.
LEAST_BYTES: Final = 1_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A firing that is in no state any more, with those of its messages of which rows have to be written."""

    key: RuleKey
    firing: Firing
    deliveries: tuple[AlertDelivery, ...]


def fitted(name: str, state: RuleState, most_bytes: int) -> tuple[bytes, list[tuple[Firing, list[AlertDelivery]]]]:
    """The entry, and what was given up so that it fits: the oldest firings, with their messages that are not recorded.

    It may still be larger than `most_bytes`: the newest firing stays, and what is remembered beside firings.
    """
    value, left_out = written(state), list[Firing]()
    while len(value) > most_bytes and len(state.firings) > 1:
        number = max(1, len(state.firings) // 4)
        left_out += state.firings[:number]
        state.firings = state.firings[number:]
        value = written(_without(state, left_out))
    if not left_out:
        return value, []
    log.error("alerts_given_up", rule=name, firings=len(left_out), bytes=len(value))
    by_firing: dict[str, list[AlertDelivery]] = {firing.id: [] for firing in left_out}
    for delivery in state.deliveries:
        if delivery.firing in by_firing and not delivery.is_settled:
            by_firing[delivery.firing].append(_given_up(delivery))
    state.deliveries = _without(state, left_out).deliveries
    return value, [(firing, by_firing[firing.id]) for firing in left_out]


def _without(state: RuleState, firings: Sequence[Firing]) -> RuleState:
    """The same without the messages of these firings."""
    ids = {firing.id for firing in firings}
    return replace(state, deliveries=[entry for entry in state.deliveries if entry.firing not in ids])


def _given_up(delivery: AlertDelivery) -> AlertDelivery:
    """One that was sent already stays as it is."""
    if delivery.status != PENDING:
        return delivery
    metrics.GIVEN_UP.inc()
    return replace(delivery, status=FAILED, answer="too many messages wait", change=delivery.change + 1)


class Room:
    """Bytes of all entries, by organisation."""

    def __init__(self) -> None:
        self._bytes: dict[RuleKey, int] = {}
        self._by_organisation: Counter[str] = Counter()

    def note(self, key: RuleKey, size: int) -> None:
        """An entry has this size now; 0: it is gone."""
        self._by_organisation[key[0]] += size - self._bytes.pop(key, 0)
        if size:
            self._bytes[key] = size

    def most_bytes(self, key: RuleKey) -> int:
        """What the entry of a rule may have: its organisation has what others leave, and never less than its part."""
        own, of_organisation = self._bytes.get(key, 0), self._by_organisation[key[0]]
        number = sum(size > 0 for name, size in self._by_organisation.items() if name != key[0]) + 1
        left = MAX_TOTAL_BYTES - (self._by_organisation.total() - of_organisation)
        share = min(MAX_ORGANISATION_BYTES, max(MAX_TOTAL_BYTES // number, left))
        return max(LEAST_BYTES, min(MAX_ENTRY_BYTES, share - of_organisation + own))
