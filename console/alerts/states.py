"""The states of all rules in the memory of the process that evaluates, and how firings get into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from console.alerts import metrics
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

    def __iter__(self) -> Iterator[tuple[RuleKey, StoredState]]:
        return iter(list(self._stored.items()))

    async def load_all(self) -> None:
        """Every entry, so that pending deliveries go on before their rules are evaluated. Raises BucketUnavailable."""
        self._stored = {}
        for name in await self._entries.names(STATE_PREFIX):
            organisation, _, number = name.removeprefix(STATE_PREFIX).rpartition(".")
            if organisation and number.isdigit():
                self._stored[organisation, int(number)] = await load(self._entries, name)

    def forget(self) -> None:
        """Another process has them now."""
        self._stored = {}

    async def of(self, key: RuleKey) -> StoredState:
        """The state of a rule. Raises BucketUnavailable."""
        if key not in self._stored:
            self._stored[key] = await load(self._entries, entry_name(*key))
        await self._stored[key].settle(self._entries)
        return self._stored[key]

    async def remove_others(self, known: Mapping[RuleKey, object]) -> None:
        """Entries of rules that were deleted, with what was pending. Raises LeaseLost, BucketUnavailable."""
        for key in [key for key in self._stored if key not in known]:
            self._lease.check()
            await self._entries.remove(entry_name(*key))
            del self._stored[key]

    async def change(self, stored: StoredState, change: Callable[[RuleState], None]) -> None:
        """A change that is stored. Raises LeaseLost, EntryChanged, BucketUnavailable."""
        self._lease.check()
        await stored.update(self._entries, self._now_ns() / 1e9, change)

    async def commit(
        self, stored: StoredState, evaluated: RuleState, findings: Sequence[Found], actions: Sequence[Action], kind: str
    ) -> None:
        """What an evaluation decided, with its firings and their deliveries, in one write.

        Raises LeaseLost, EntryChanged, BucketUnavailable.
        """
        now_ns = self._now_ns()

        def change(state: RuleState) -> None:
            state.take_evaluation(evaluated)
            for firing, labels in findings:
                state.last_fired_ns = firing.at_ns
                state.firings.append(firing)
                state.deliveries += deliveries_of(firing, labels, actions, now_ns)
            _give_up_oldest(state)

        is_due = now_ns / 1e9 - stored.saved_at_s >= SAVE_PROGRESS_S
        if not findings and not is_due and not _has_decided(stored.state, evaluated):
            await stored.keep(change)
            return
        await self.change(stored, change)
        for firing, _ in findings:
            metrics.FIRINGS.labels(kind, firing.status).inc()
            log.info("alert_fired", rule=stored.name, firing=firing.id, status=firing.status, about=firing.about)


def deliveries_of(firing: Firing, labels: Sequence[str], actions: Sequence[Action], now_ns: int) -> list[AlertDelivery]:
    """A message for each action that the firing concerns; two actions with the same receiver are one."""
    wanted = [entry for entry in actions if not labels or not entry.labels or set(labels) & set(entry.labels)]
    by_receiver = {(entry.kind, entry.target): entry for entry in reversed(wanted)}
    chosen = [entry for entry in wanted if by_receiver[entry.kind, entry.target] is entry or not labels]
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
