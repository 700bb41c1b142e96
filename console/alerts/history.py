"""Rows for people: firings, deliveries, how each rule is. Written after the state that decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from console.alerts.bucket import EntryTooLarge
from console.alerts.state import AlertDelivery, Firing, RuleState, StoredState
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.alerts.evaluate import Evaluator
    from console.alerts.rules.source import KnownRule, RuleKey
    from console.alerts.states import States
    from console.storage.clickhouse import ClickHouse, Row

FIRINGS: Final = "alert_firing_rows"
DELIVERIES: Final = "alert_delivery_rows"
STATES: Final = "alert_state_rows"
# The state of a rule that does not change is written so often: it says when the rule was last evaluated.
STATE_EVERY_S: Final = 30.0

log = structlog.get_logger()


class History:
    """Writes the rows of all rules together. `clock` is monotonic."""

    def __init__(
        self, clickhouse: ClickHouse, states: States, evaluator: Evaluator, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clickhouse = clickhouse
        self._states = states
        self._evaluator = evaluator
        self._clock = clock
        self._shown: dict[RuleKey, tuple[object, ...]] = {}
        self._written_at = float("-inf")

    async def write(self) -> None:
        """What has no row yet. Raises ApiError 503; LeaseLost, EntryChanged, BucketUnavailable."""
        firings: list[Row] = []
        deliveries: list[Row] = []
        changed: list[tuple[StoredState, dict[str, int], set[str]]] = []
        given_up, self._states.given_up = self._states.given_up, []
        for lost in given_up:
            if (known := self._evaluator.source.rules.get(lost.key)) is not None:
                firings += [] if lost.firing.is_recorded else [_firing_row(known, lost.firing)]
                deliveries += [_delivery_row(known, delivery, lost.firing) for delivery in lost.deliveries]
        for key, stored in self._states:
            known = self._evaluator.source.rules.get(key)
            if known is not None:
                new_firings = [entry for entry in stored.state.firings if not entry.is_recorded]
                new_deliveries = [entry for entry in stored.state.deliveries if entry.recorded != entry.change]
                firings += [_firing_row(known, entry) for entry in new_firings]
                deliveries += [
                    _delivery_row(known, entry, stored.state.firing(entry.firing)) for entry in new_deliveries
                ]
                if new_firings or new_deliveries:
                    numbers = {entry.id: entry.change for entry in new_deliveries}
                    changed.append((stored, numbers, {entry.id for entry in new_firings}))
        try:
            await self._insert({FIRINGS: firings, DELIVERIES: deliveries})
        except BaseException:
            self._states.given_up[:0] = given_up
            raise
        for stored, numbers, ids in changed:
            try:
                await self._states.change(stored, _recorded(numbers, ids))
            except EntryTooLarge as error:  # its rows are written again; those of others are not
                log.warning("alert_history_not_noted", rule=stored.name, error=str(error))
        await self._write_states()

    async def _insert(self, rows_of: Mapping[str, Sequence[Row]]) -> None:
        for table, rows in rows_of.items():
            if rows:
                await self._clickhouse.insert(table, rows)

    async def write_test(self, rows: Sequence[Row]) -> None:
        """Tests, which have no state. Raises ApiError 503."""
        await self._clickhouse.insert(DELIVERIES, rows)

    async def _write_states(self) -> None:
        is_due = self._clock() - self._written_at >= STATE_EVERY_S
        rows: list[Row] = []
        shown: dict[RuleKey, tuple[object, ...]] = {}
        for key, known in self._evaluator.source.rules.items():
            stored = await self._states.of(key)
            row = _state_row(known, stored.state, self._evaluator.failures.text(key))
            shown[key] = row["status"], row["since"], row["error"], row["last_fired_at"]
            if is_due or self._shown.get(key) != shown[key]:
                rows.append(row)
        if rows:
            await self._clickhouse.insert(STATES, rows)
        self._shown = shown
        if is_due:
            self._written_at = self._clock()


def _recorded(numbers: dict[str, int], ids: set[str]) -> Callable[[RuleState], None]:
    def change(state: RuleState) -> None:
        for delivery in state.deliveries:
            delivery.recorded = numbers.get(delivery.id, delivery.recorded)
        for firing in state.firings:
            firing.is_recorded = firing.is_recorded or firing.id in ids
        state.tidy()

    return change


def _firing_row(known: KnownRule, firing: Firing) -> Row:
    organisation, rule_id = known.key
    return {
        "organisation": organisation,
        "rule_id": rule_id,
        "firing_id": firing.id,
        "row_version": firing.at_ns,
        "kind": known.kind,
        "rule_name": known.name,
        "channel_id": firing.channel,
        "status": firing.status,
        "severity": firing.severity,
        "about": firing.about,
        "title": firing.title,
        "message": firing.message,
        "path": firing.path,
        "value": firing.value,
        "fired_at": time_text(firing.at_ns),
        "details": orjson.dumps(firing.details).decode(),
    }


def _delivery_row(known: KnownRule, delivery: AlertDelivery, firing: Firing | None) -> Row:
    organisation, rule_id = known.key
    return {
        "organisation": organisation,
        "rule_id": rule_id,
        "delivery_id": delivery.id,
        "row_version": delivery.change,
        "firing_id": delivery.firing,
        "rule_kind": known.kind,
        "rule_name": known.name,
        "title": firing.title if firing else "",
        "type": delivery.kind,
        "target": delivery.target,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "answer": delivery.answer,
        "created_at": time_text(delivery.created_ns),
        "last_at": time_text(delivery.last_ns),
        "next_at": time_text(delivery.next_ns if delivery.status == "pending" else 0),
        "is_test": False,
    }


def _state_row(known: KnownRule, state: RuleState, error: str) -> dict[str, Any]:
    organisation, rule_id = known.key
    shown = {"critical": "firing"}.get(state.status, state.status)
    return {
        "organisation": organisation,
        "rule_id": rule_id,
        "row_version": time.time_ns(),
        "status": "error" if error else shown,
        "since": time_text(state.since_ns),
        "evaluated_at": time_text(state.evaluated_ns),
        "last_fired_at": time_text(state.last_fired_ns),
        "error": error,
        "value": state.value,
    }
