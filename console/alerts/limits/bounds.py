"""What is remembered has bounds: texts of a firing, the entry of a rule, all entries of an organisation.

Texts come from senders, so any of them may be megabytes. The broker's bucket is shared by all organisations, and
refuses what is beyond its size: who has more than a share gives up his own oldest messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from console.alerts import metrics
from console.alerts.bucket import EntryTooLarge
from console.alerts.state import FAILED, PENDING, AlertDelivery, Firing, RuleState, written

if TYPE_CHECKING:
    from console.alerts.rules.source import RuleKey

MAX_TITLE: Final = 300
MAX_MESSAGE: Final = 2_000
MAX_DETAILS_BYTES: Final = 8_000
# Texts of details are cut to the first of these with which all are within their bytes.
_TEXTS: Final = (1_000, 200, 50)
_MEMBERS: Final = 100
# Of one rule; 500 messages that wait have 1 MB, if their texts are of a usual length.
MAX_ENTRY_BYTES: Final = 1_500_000
MAX_ORGANISATION_BYTES: Final = 3_000_000
# ops/provisioning/streams.py has the size of the bucket: the lease needs room too.
MAX_TOTAL_BYTES: Final = 8_000_000
# However full it is: how far a rule came.
LEAST_BYTES: Final = 1_000

log = structlog.get_logger()


def cut(firing: Firing) -> Firing:
    """The same with texts and details within their bounds."""
    return replace(
        firing,
        title=firing.title[:MAX_TITLE],
        message=firing.message[:MAX_MESSAGE],
        details=_cut_details(firing.details),
    )


def _cut_details(details: dict[str, Any]) -> dict[str, Any]:
    for most in _TEXTS:
        result = _cut(details, most)
        if len(orjson.dumps(result)) <= MAX_DETAILS_BYTES:
            assert isinstance(result, dict)
            return result
    return {}


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[: most - 1]}…"
    if isinstance(value, Mapping):
        return {str(name)[:most]: _cut(entry, most) for name, entry in list(value.items())[:_MEMBERS]}
    return [_cut(entry, most) for entry in value[:_MEMBERS]] if isinstance(value, list | tuple) else value


def fitted(name: str, state: RuleState, most_bytes: int) -> tuple[bytes, list[AlertDelivery]]:
    """The entry within its bytes, and the messages that were given up for it: those of the oldest firings.

    Raises EntryTooLarge if the newest firing alone, or what is remembered beside firings, is too large.
    """
    value, lost = written(state), list[AlertDelivery]()
    while len(value) > most_bytes and len(state.firings) > 1:
        number = max(1, len(state.firings) // 4)
        given_up = {firing.id for firing in state.firings[:number]}
        state.firings = state.firings[number:]
        lost += [entry for entry in state.deliveries if entry.firing in given_up and entry.status == PENDING]
        state.deliveries = [entry for entry in state.deliveries if entry.firing not in given_up]
        log.error("alerts_given_up", rule=name, firings=number, bytes=len(value))
        value = written(state)
    if len(value) > most_bytes:
        text = f"expected at most {most_bytes} bytes to remember of this rule, found {len(value)}: narrow it"
        raise EntryTooLarge(text)
    for delivery in lost:
        delivery.status, delivery.answer, delivery.change = FAILED, "too many messages wait", delivery.change + 1
    metrics.GIVEN_UP.inc(len(lost))
    return value, lost


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
