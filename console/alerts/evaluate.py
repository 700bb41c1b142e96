"""One evaluation of all rules: up to which time, which questions, and what is stored of the answers."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from console.alerts import metrics
from console.alerts.limits.failures import RuleFailures
from console.alerts.limits.turns import Turns
from console.alerts.rules import metric_rule, monitor_rule
from console.alerts.rules.issue_activity import ActivityReader
from console.alerts.rules.issue_details import IssueDetails
from console.alerts.rules.issue_rule import IssueRound
from console.alerts.rules.metric_values import MetricValues, dataset_of
from console.alerts.rules.monitor_runs import MonitorRuns
from console.alerts.times import CLOCKS_DIFFER_S, FIRST_LOOK_S, NS, begin, set_back, steps
from console.rules.parsed import KINDS, IssueRule, MetricRule, MonitorRule

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.alerts.rules.monitor_runs import Monitor, MonitorKey
    from console.alerts.rules.progress import IngestProgress
    from console.alerts.rules.source import KnownRule, RuleKey, RuleSource
    from console.alerts.settings import AlertsSettings
    from console.alerts.state import RuleState, StoredState
    from console.alerts.states import Found, States
    from console.storage.clickhouse import ClickHouse

# A receiver notes the time of a body before it is stored, and clocks differ.
RECEIVED_MARGIN_S: Final = 30.0
ROWS_MARGIN_S: Final = 1.0
MONITOR_STEP_S: Final = 5.0
# Rows that are behind for longer are told in the state of the rules that need complete ones.
BEHIND_S: Final = 120.0
# The same of rules for which there was no time; the longest pause between two evaluations is half of it.
LATE_S: Final = 600.0

log = structlog.get_logger()

Kind = TypeVar("Kind", IssueRule, MetricRule, MonitorRule)


@dataclass(slots=True)
class Evaluator:
    """Evaluates; `now_s` is the wall clock, `clock` a monotonic one."""

    settings: AlertsSettings
    clickhouse: ClickHouse
    entries: KnownEntries
    source: RuleSource
    states: States
    progress: IngestProgress
    url: str
    now_s: Callable[[], float]
    clock: Callable[[], float] = time.monotonic
    failures: RuleFailures = field(init=False)
    turns: Turns = field(init=False)
    activity: ActivityReader = field(init=False)
    values: MetricValues = field(init=False)
    runs: MonitorRuns = field(init=False)
    # With which kind of rules the next turn of an organisation begins.
    _first_kind: dict[str, int] = field(default_factory=dict)
    # Logged when it begins.
    _clocks_differ: bool = False

    def __post_init__(self) -> None:
        self.failures = RuleFailures(self.clickhouse, self.clock)
        self.turns = Turns(self.clock)
        self.activity = ActivityReader(self.clickhouse)
        self.values = MetricValues(self.clickhouse, self.entries)
        self.runs = MonitorRuns(self.clickhouse)

    @property
    def errors(self) -> dict[RuleKey, str]:
        """Why rules are not evaluated as they should be."""
        return self.failures.texts()

    async def round(self) -> None:
        """All rules, once. Raises ApiError 503 without ClickHouse; LeaseLost, EntryChanged, BucketUnavailable."""
        now_s = await self._now_s()
        await self.progress.look(now_s)
        known = await self.source.read()
        await self.states.remove_others(known)
        self.failures.begin_round(known)
        _count(known)
        by_organisation: dict[str, list[KnownRule]] = {}
        for (organisation, _), entry in known.items():
            by_organisation.setdefault(organisation, []).append(entry)
        self.runs.keep(by_organisation)
        for organisation in self.turns.of(by_organisation):
            with self.turns.turn(organisation):
                await self._organisation(organisation, by_organisation[organisation], now_s)
        self._note_late(known, now_s)
        metrics.BROKEN_RULES.set(len(self.errors))
        metrics.LAST_ROUND.set(now_s)

    async def _now_s(self) -> float:
        """Of two clocks the earlier: with a time that has not come, what happens until then would not be looked at."""
        own_s = self.now_s()
        other_s = await self.source.now_s()
        if other_s is None:
            return own_s
        differ = abs(own_s - other_s) > CLOCKS_DIFFER_S
        if differ and not self._clocks_differ:
            log.warning("clocks_differ", clickhouse_is_ahead_s=round(other_s - own_s), remedy="set both by NTP")
        self._clocks_differ = differ
        return min(own_s, other_s)

    async def _organisation(self, organisation: str, rules: Sequence[KnownRule], now_s: float) -> None:
        """The kinds in turn: the one after that in which the time was over begins the next time."""
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: self._issues(organisation, _of_kind(rules, IssueRule), now_s),
            lambda: self._monitors(organisation, _of_kind(rules, MonitorRule), now_s),
            lambda: self._metrics(_of_kind(rules, MetricRule), now_s),
        )
        first = self._first_kind.get(organisation, 0)
        for kind in (number % len(kinds) for number in range(first, first + len(kinds))):
            await kinds[kind]()
            if self.turns.is_over():
                self._first_kind[organisation] = (kind + 1) % len(kinds)
                return
        self._first_kind.pop(organisation, None)

    async def _pairs(self, rules: Sequence[Kind], now_s: float) -> list[tuple[Kind, StoredState]]:
        """Rules that are not waiting after a failure, each with its state; what was evaluated longest ago is first."""
        ready = [rule for rule in rules if not self.failures.is_waiting(rule.head.key)]
        pairs = [(rule, await self._state(rule, now_s)) for rule in ready]
        return sorted(pairs, key=lambda pair: pair[1].state.evaluated_ns)

    def _ends(self, keys: Sequence[RuleKey], last_ns: int, end_ns: int) -> list[int]:
        """Of the evaluations that are due. A rule that failed is tried once, and the time before is left out."""
        ends = steps(last_ns, end_ns)
        return ends[-1:] if any(self.failures.has_failed(key) for key in keys) else ends

    async def _issues(self, organisation: str, rules: Sequence[IssueRule], now_s: float) -> None:
        """Errors count as soon as their rows are there; how far rows are complete decides what is looked at again."""
        pairs = await self._pairs(rules, now_s)
        together = [pair for pair in pairs if not self.failures.has_failed(pair[0].head.key)]
        alone = [[pair] for pair in pairs if self.failures.has_failed(pair[0].head.key)]
        for group in [together, *alone] if together else alone:
            await self._issue_group(organisation, group, int(now_s * NS))

    async def _issue_group(
        self, organisation: str, pairs: Sequence[tuple[IssueRule, StoredState]], now_ns: int
    ) -> None:
        complete_ns = int((self.progress.complete_until_s("errors") - RECEIVED_MARGIN_S) * NS)
        last_ns = min(stored.state.evaluated_ns for _, stored in pairs)
        for end_ns in self._ends([rule.head.key for rule, _ in pairs], last_ns, now_ns):
            due = [
                (rule, stored)
                for rule, stored in pairs
                if stored.state.evaluated_ns < end_ns and not self.failures.is_waiting(rule.head.key)
            ]
            if not due or self.turns.is_over():
                return
            async with self.failures.of([rule.head.key for rule, _ in due]):
                await self._issue_round(organisation, due, end_ns, complete_ns)

    async def _issue_round(
        self, organisation: str, pairs: Sequence[tuple[IssueRule, StoredState]], end_ns: int, complete_ns: int
    ) -> None:
        channels = sorted({channel for rule, _ in pairs for channel in rule.head.channels})
        begin_ns = min(max(stored.state.complete_ns, rule.head.created_ns) for rule, stored in pairs)
        activity, end_ns = await self.activity.read(organisation, channels, begin_ns, end_ns)
        now = dt.datetime.fromtimestamp(end_ns / NS, dt.UTC)
        details = IssueDetails(self.clickhouse, self.entries, organisation, now)
        built = IssueRound(self.activity, details, activity, end_ns, self.url)
        for number, (rule, stored) in enumerate(pairs):
            await asyncio.sleep(0)  # a rule may look at ten thousand issues: the lease is renewed between two
            if number and self.turns.is_over():
                return
            async with self.failures.of([rule.head.key]):
                state = stored.state.copied()
                firings = await built.evaluate(rule, state, complete_ns)
                await self._commit(rule, stored, state, [(firing, ()) for firing in firings])

    async def _metrics(self, rules: Sequence[MetricRule], now_s: float) -> None:
        """Up to where rows are complete: a window without its late rows would be too small a number."""
        by_end: dict[int, list[tuple[MetricRule, StoredState]]] = {}
        for rule, stored in await self._pairs(rules, now_s):
            end_ns = self._complete_ns(dataset_of(rule).name, rule.head.key, now_s)
            if end_ns - stored.state.evaluated_ns >= metric_rule.step_s(rule) * NS:
                for step_ns in self._ends([rule.head.key], stored.state.evaluated_ns, end_ns):
                    by_end.setdefault(step_ns, []).append((rule, stored))
        for end_ns in sorted(by_end):
            due = [pair for pair in by_end[end_ns] if not self.failures.is_waiting(pair[0].head.key)]
            if self.turns.is_over():
                return
            async with self.failures.of([rule.head.key for rule, _ in due]):
                await self._metric_round(due, end_ns)

    async def _metric_round(self, pairs: Sequence[tuple[MetricRule, StoredState]], end_ns: int) -> None:
        values = await self.values.read([rule for rule, _ in pairs], end_ns / NS, self.turns.is_over)
        for rule, stored in pairs:
            await asyncio.sleep(0)
            value = values.get(rule.head.key)
            if value is None:  # in a later round
                continue
            if value.error:
                self.failures.failed([rule.head.key], value.error)
                continue
            async with self.failures.of([rule.head.key]):
                state = stored.state.copied()
                before = state.status
                firing = metric_rule.evaluate(rule, state, value.value, end_ns)
                labels = metric_rule.told_labels(before, state.status)
                await self._commit(rule, stored, state, [(firing, labels)] if firing else [])

    async def _monitors(self, organisation: str, rules: Sequence[MonitorRule], now_s: float) -> None:
        """Up to where check-ins are complete: one that waits for a worker is not missed."""
        due: list[tuple[MonitorRule, StoredState, int]] = []
        for rule, stored in await self._pairs(rules, now_s):
            end_ns = self._complete_ns("check_ins", rule.head.key, now_s)
            if end_ns - stored.state.evaluated_ns >= MONITOR_STEP_S * NS:
                due.append((rule, stored, end_ns))
        if not due:
            return
        channels = sorted({channel for rule, _, _ in due for channel in rule.head.channels})
        async with self.failures.of([rule.head.key for rule, _, _ in due]):
            failures = max(rule.failures for rule, _, _ in due)
            monitors = await self.runs.read(organisation, channels, now_s, failures)
            for number, (rule, stored, end_ns) in enumerate(due):
                if number and self.turns.is_over():
                    return
                await asyncio.sleep(0)
                await self._monitor_steps(rule, stored, monitors, end_ns)

    async def _monitor_steps(
        self, rule: MonitorRule, stored: StoredState, monitors: Mapping[MonitorKey, Monitor], end_ns: int
    ) -> None:
        async with self.failures.of([rule.head.key]):
            for number, step_ns in enumerate(self._ends([rule.head.key], stored.state.evaluated_ns, end_ns)):
                if number and self.turns.is_over():
                    return
                state = stored.state.copied()
                firings = await monitor_rule.evaluate(rule, state, monitors, step_ns)
                await self._commit(rule, stored, state, [(firing, ()) for firing in firings])

    async def _state(self, rule: Kind, now_s: float) -> StoredState:
        """Of a rule; one that was never evaluated begins where it was made, and an old one not before `catch_up_s`."""
        stored = await self.states.of(rule.head.key)
        first_ns = max(rule.head.created_ns, int((now_s - FIRST_LOOK_S) * NS))
        oldest_ns = int((now_s - self.settings.alerts_catch_up_s) * NS)
        if stored.state.evaluated_ns == 0:
            await stored.keep(lambda state: begin(state, first_ns))
        elif stored.state.evaluated_ns > max(first_ns, int((now_s + CLOCKS_DIFFER_S) * NS)):
            log.error("time_set_back", rule=stored.name, seconds=round(stored.state.evaluated_ns / NS - now_s))
            await stored.keep(lambda state: set_back(state, first_ns, int(now_s * NS)))
        elif stored.state.evaluated_ns < oldest_ns:
            skipped_s = (oldest_ns - stored.state.evaluated_ns) / NS
            log.warning("time_skipped", rule=stored.name, seconds=round(skipped_s))
            metrics.SKIPPED_SECONDS.inc(skipped_s)
            await stored.keep(lambda state: begin(state, oldest_ns))
        return stored

    def _complete_ns(self, rows: str, key: RuleKey, now_s: float) -> int:
        complete_s = self.progress.complete_until_s(rows)
        behind_s = now_s - complete_s
        metrics.BEHIND_SECONDS.labels(rows).set(behind_s if complete_s else 0)
        is_behind = complete_s > 0 and behind_s > BEHIND_S
        text = f"rows are {behind_s:.0f} s behind, so nothing newer is evaluated: see `axonpush status`"
        self.failures.note(key, "rows", text if is_behind else "")
        return int((complete_s - ROWS_MARGIN_S) * NS)

    def _note_late(self, known: Mapping[RuleKey, KnownRule], now_s: float) -> None:
        """Of rules for which there was no time, because those of their organisation take too long."""
        for key, stored in self.states:
            is_late = 0 < stored.state.evaluated_ns < (now_s - LATE_S) * NS and key in known
            text = (
                "the rules of this organisation take too long, so each is evaluated less often: have fewer or simpler"
            )
            self.failures.note(key, "turn", text if is_late and key[0] in self._first_kind else "")

    async def _commit(
        self, rule: IssueRule | MetricRule | MonitorRule, stored: StoredState, state: RuleState, answer: Sequence[Found]
    ) -> None:
        kind = KINDS[(IssueRule, MetricRule, MonitorRule).index(type(rule))]
        await self.states.commit(stored, state, answer, rule.head.actions, kind)
        self.failures.worked(rule.head.key)


def _of_kind(known: Iterable[KnownRule], kind: type[Kind]) -> list[Kind]:
    return [entry.rule for entry in known if isinstance(entry.rule, kind)]


def _count(known: Mapping[RuleKey, KnownRule]) -> None:
    for kind in KINDS:
        metrics.RULES.labels(kind).set(sum(entry.kind == kind for entry in known.values()))
