"""The states of all rules in the memory of the process that evaluates, and how firings get into them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from console.alerts import metrics
from console.alerts.bucket import EntryTooLarge
from console.alerts.limits.bounds import GivenUp, Room, fitted
from console.alerts.limits.firing_texts import cut
from console.alerts.state import (
    FAILED,
    MAX_PENDING,
    PENDING,
    STATE_PREFIX,
    AlertDelivery,
    Firing,
    RuleState,
    StoredState,
    entry_name,
    identity,
    load,
)

if TYPE_CHECKING:
    from console.alerts.bucket import Entries
    from console.alerts.lease import EvaluationLease
    from console.alerts.rules.source import RuleKey
    from console.rules.actions import Action

# Progress alone is written so often: after a kill this much is evaluated again.
SAVE_PROGRESS_S: Final = 60.0
# A rule that is not listed for so long was deleted.
MISSING_S: Final = 600.0
LOADED_AT_ONCE: Final = 50
# Of them rows are written as soon as ClickHouse answers.
MAX_GIVEN_UP: Final = 2_000

log = structlog.get_logger()

# A firing, and the labels of the triggers whose actions it concerns; none: all actions.
Found = tuple[Firing, tuple[str, ...]]


class States:
    """Loaded when the lease is taken, and forgotten when it is lost. `now_ns` is the wall clock."""

    def __init__(self, entries: Entries, lease: EvaluationLease, now_ns: Callable[[], int]) -> None:
        self._entries = entries
        self._lease = lease
        self._now_ns = now_ns
        self._stored: dict[RuleKey, StoredState] = {}
        self._missing_since_ns: dict[RuleKey, int] = {}
        self._room = Room()
        # What is in no state any more and has no row that says so.
        self.given_up: list[GivenUp] = []

    def __iter__(self) -> Iterator[tuple[RuleKey, StoredState]]:
        return iter(list(self._stored.items()))

    async def load_all(self) -> None:
        """Every entry, so that pending deliveries go on before their rules are evaluated. Raises BucketUnavailable."""
        self.forget()
        keys = [key for name in await self._entries.names(STATE_PREFIX) if (key := _key_of(name)) is not None]
        for begin in range(0, len(keys), LOADED_AT_ONCE):
            await asyncio.gather(*(self._load(key) for key in keys[begin : begin + LOADED_AT_ONCE]))

    async def _load(self, key: RuleKey) -> None:
        """One of a rule that was deleted is empty."""
        stored = await load(self._entries, entry_name(*key))
        if stored.size:
            self._stored[key] = stored
            self._room.note(key, stored.size)

    def forget(self) -> None:
        """Another process has them now."""
        self._stored, self._missing_since_ns, self._room = {}, {}, Room()

    async def of(self, key: RuleKey) -> StoredState:
        """The state of a rule. Raises BucketUnavailable."""
        if key not in self._stored:
            loaded = await load(self._entries, entry_name(*key))
            # Two may ask at once: both get the same state.
            self._stored.setdefault(key, loaded)
        await self._stored[key].settle(self._entries)
        self._room.note(key, self._stored[key].size)
        return self._stored[key]

    async def remove_others(self, known: Mapping[RuleKey, object]) -> None:
        """Entries of rules that have been gone for MISSING_S, with what was pending.

        A server of ClickHouse that is behind lists fewer rules than there are; new tables, until a backup is restored,
        none. Raises LeaseLost, BucketUnavailable.
        """
        now_ns = self._now_ns()
        missing = [key for key in self._stored if key not in known] if known else []
        self._missing_since_ns = {key: self._missing_since_ns.get(key, now_ns) for key in missing}
        for key, since_ns in list(self._missing_since_ns.items()):
            if now_ns - since_ns >= MISSING_S * 1e9:
                self._lease.check()
                await self._entries.remove(entry_name(*key))
                del self._stored[key]
                self._room.note(key, 0)

    async def change(self, stored: StoredState, change: Callable[[RuleState], None]) -> None:
        """A change that is stored: a message is tried, was sent, is recorded. No size is too large for it: what is
        sent has to be noted, and the entry has at most as much more as an answer.

        Raises LeaseLost, EntryChanged, EntryTooLarge if the bucket is full, BucketUnavailable.
        """
        await self._store(stored, change, is_bounded=False)

    async def _store(self, stored: StoredState, change: Callable[[RuleState], None], *, is_bounded: bool) -> None:
        self._lease.check()
        key = _key_of(stored.name)
        assert key is not None
        most_bytes, given_up = self._room.most_bytes(key), list[GivenUp]()

        def value_of(state: RuleState) -> bytes:
            value, left_out = fitted(stored.name, state, most_bytes)
            if is_bounded and len(value) > max(most_bytes, stored.size):
                text = f"expected at most {most_bytes} bytes to remember of this rule, found {len(value)}: narrow it"
                raise EntryTooLarge(text)
            given_up.extend(GivenUp(key, firing, tuple(deliveries)) for firing, deliveries in left_out)
            return value

        await stored.update(self._entries, self._now_ns() / 1e9, change, value_of)
        self._room.note(key, stored.size)
        self.given_up += given_up
        del self.given_up[:-MAX_GIVEN_UP]

    async def commit(
        self, stored: StoredState, evaluated: RuleState, findings: Sequence[Found], actions: Sequence[Action], kind: str
    ) -> None:
        """What an evaluation decided, with its firings and their deliveries, in one write.

        Raises LeaseLost, EntryChanged, EntryTooLarge, BucketUnavailable.
        """
        now_ns = self._now_ns()

        def change(state: RuleState) -> None:
            state.take_evaluation(evaluated)
            state.bound()
            for firing, labels in ((cut(firing), labels) for firing, labels in findings):
                state.last_fired_ns = firing.at_ns
                state.firings.append(firing)
                state.deliveries += deliveries_of(firing, labels, actions, now_ns)
            _give_up_oldest(state)

        is_due = now_ns / 1e9 - stored.saved_at_s >= SAVE_PROGRESS_S
        if not findings and not is_due and not _has_decided(stored.state, evaluated):
            await stored.keep(change)
            return
        await self._store(stored, change, is_bounded=True)
        for firing, _ in findings:
            metrics.FIRINGS.labels(kind, firing.status).inc()
            log.info("alert_fired", rule=stored.name, firing=firing.id, status=firing.status, about=firing.about)


def _key_of(name: str) -> RuleKey | None:
    """The rule of an entry."""
    organisation, _, number = name.removeprefix(STATE_PREFIX).rpartition(".")
    return (organisation, int(number)) if organisation and number.isdigit() else None


def deliveries_of(firing: Firing, labels: Sequence[str], actions: Sequence[Action], now_ns: int) -> list[AlertDelivery]:
    """A message for each action that the firing concerns; two actions with the same receiver are one."""
    wanted = [entry for entry in actions if not labels or not entry.labels or set(labels) & set(entry.labels)]
    by_receiver = {(entry.kind, entry.receiver): entry for entry in reversed(wanted)}
    chosen = [entry for entry in wanted if by_receiver[entry.kind, entry.receiver] is entry or not labels]
    return [
        AlertDelivery(identity(firing.id, entry.uuid), firing.id, entry.uuid, entry.kind, entry.target, now_ns, now_ns)
        for entry in chosen
    ]


def _give_up_oldest(state: RuleState) -> None:
    pending = [delivery for delivery in state.deliveries if delivery.status == PENDING]
    for delivery in pending[: max(0, len(pending) - MAX_PENDING)]:
        delivery.status, delivery.answer = FAILED, f"more than {MAX_PENDING} messages of this rule wait"
        delivery.change += 1


def _has_decided(before: RuleState, evaluated: RuleState) -> bool:
    """Whether an evaluation changed more than how far it came."""
    names = ("status", "transitions", "quiet", "regressions", "monitors")
    return any(getattr(before, name) != getattr(evaluated, name) for name in names)
