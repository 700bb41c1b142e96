"""One evaluation of all rules: up to which time, which questions, and what is stored of the answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from console.alerts import metrics
from console.alerts.bucket import BucketUnavailable, EntryChanged
from console.alerts.lease import LeaseLost
from console.alerts.rules import metric_rule, monitor_rule
from console.alerts.rules.issue_activity import ActivityReader
from console.alerts.rules.issue_details import IssueDetails
from console.alerts.rules.issue_rule import IssueRound
from console.alerts.rules.metric_values import MetricValues, dataset_of
from console.alerts.rules.monitor_runs import MonitorRuns
from console.api.errors import ApiError
from console.rules.parsed import KINDS, IssueRule, MetricRule, MonitorRule

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.alerts.rules.progress import IngestProgress
    from console.alerts.rules.source import KnownRule, RuleKey, RuleSource
    from console.alerts.settings import AlertsSettings
    from console.alerts.state import RuleState, StoredState
    from console.alerts.states import Found, States
    from console.storage.clickhouse import ClickHouse

NS: Final = 1_000_000_000
# A receiver notes the time of a body before it is stored, and clocks differ.
RECEIVED_MARGIN_S: Final = 30.0
ROWS_MARGIN_S: Final = 1.0
# How far a new rule looks back, if it was made while nobody evaluated.
FIRST_LOOK_S: Final = 600.0
# A longer pause between two evaluations is caught up in steps, so that a peak in it is seen.
PAUSE_S: Final = 120.0
MOST_STEPS: Final = 60
MONITOR_STEP_S: Final = 5.0
# Rows that are behind for longer are told in the state of the rules that need complete ones.
BEHIND_S: Final = 120.0

log = structlog.get_logger()

# Of the broker: what was decided cannot be stored, or not by this process.
ENDS_ROUND: Final = (LeaseLost, EntryChanged, BucketUnavailable)

Kind = TypeVar("Kind", IssueRule, MetricRule, MonitorRule)


@dataclass(slots=True)
class Evaluator:
    """Evaluates; `now_s` is the wall clock. `errors`: why a rule could not be evaluated in the last round."""

    settings: AlertsSettings
    clickhouse: ClickHouse
    entries: KnownEntries
    source: RuleSource
    states: States
    progress: IngestProgress
    url: str
    now_s: Callable[[], float]
    errors: dict[RuleKey, str] = field(default_factory=dict)
    activity: ActivityReader = field(init=False)
    values: MetricValues = field(init=False)
    runs: MonitorRuns = field(init=False)

    def __post_init__(self) -> None:
        self.activity = ActivityReader(self.clickhouse)
        self.values = MetricValues(self.clickhouse, self.entries)
        self.runs = MonitorRuns(self.clickhouse)

    async def round(self) -> None:
        """All rules, once. Raises ApiError 503 without ClickHouse; LeaseLost, EntryChanged, BucketUnavailable."""
        now_s = self.now_s()
        await self.progress.look(now_s)
        known = await self.source.read()
        await self.states.remove_others(known)
        self.errors = {key: entry.error for key, entry in known.items() if entry.error}
        _count(known)
        for organisation in sorted({organisation for organisation, _ in known}):
            of_organisation = [entry for key, entry in known.items() if key[0] == organisation]
            await self._issues(organisation, _of_kind(of_organisation, IssueRule), now_s)
            await self._monitors(organisation, _of_kind(of_organisation, MonitorRule), now_s)
            await self._metrics(_of_kind(of_organisation, MetricRule), now_s)
        metrics.BROKEN_RULES.set(len(self.errors))
        metrics.LAST_ROUND.set(now_s)

    async def _issues(self, organisation: str, rules: Sequence[IssueRule], now_s: float) -> None:
        """Errors count as soon as their rows are there; how far rows are complete decides what is looked at again."""
        if not rules:
            return
        complete_ns = int((self.progress.complete_until_s("errors") - RECEIVED_MARGIN_S) * NS)
        pairs = [(rule, await self._state(rule, now_s)) for rule in rules]
        last_ns = min(stored.state.evaluated_ns for _, stored in pairs)
        for end_ns in steps(last_ns, int(now_s * NS)):
            due = [(rule, stored) for rule, stored in pairs if stored.state.evaluated_ns < end_ns]
            with self._told([rule.head.key for rule, _ in due]):
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
        for rule, stored in pairs:
            with self._told([rule.head.key]):
                state = stored.state.copied()
                firings = await built.evaluate(rule, state, complete_ns)
                await self._commit(rule, stored, state, [(firing, ()) for firing in firings])

    async def _metrics(self, rules: Sequence[MetricRule], now_s: float) -> None:
        """Up to where rows are complete: a window without its late rows would be too small a number."""
        by_end: dict[int, list[tuple[MetricRule, StoredState]]] = {}
        for rule in rules:
            stored = await self._state(rule, now_s)
            end_ns = self._complete_ns(dataset_of(rule).name, rule.head.key, now_s)
            if end_ns - stored.state.evaluated_ns >= metric_rule.step_s(rule) * NS:
                for step_ns in steps(stored.state.evaluated_ns, end_ns):
                    by_end.setdefault(step_ns, []).append((rule, stored))
        for end_ns in sorted(by_end):
            with self._told([rule.head.key for rule, _ in by_end[end_ns]]):
                await self._metric_round(by_end[end_ns], end_ns)

    async def _metric_round(self, pairs: Sequence[tuple[MetricRule, StoredState]], end_ns: int) -> None:
        values = await self.values.read([rule for rule, _ in pairs], end_ns / NS)
        for rule, stored in pairs:
            value = values[rule.head.key]
            if value.error:
                self.errors[rule.head.key] = value.error
                continue
            state = stored.state.copied()
            before = state.status
            firing = metric_rule.evaluate(rule, state, value.value, end_ns)
            labels = metric_rule.told_labels(before, state.status)
            await self._commit(rule, stored, state, [(firing, labels)] if firing else [])

    async def _monitors(self, organisation: str, rules: Sequence[MonitorRule], now_s: float) -> None:
        """Up to where check-ins are complete: one that waits for a worker is not missed."""
        due: list[tuple[MonitorRule, StoredState, int]] = []
        for rule in rules:
            stored = await self._state(rule, now_s)
            end_ns = self._complete_ns("check_ins", rule.head.key, now_s)
            if end_ns - stored.state.evaluated_ns >= MONITOR_STEP_S * NS:
                due.append((rule, stored, end_ns))
        if not due:
            return
        channels = sorted({channel for rule, _, _ in due for channel in rule.head.channels})
        with self._told([rule.head.key for rule, _, _ in due]):
            monitors = await self.runs.read(organisation, channels, now_s)
            for rule, stored, end_ns in due:
                for step_ns in steps(stored.state.evaluated_ns, end_ns):
                    state = stored.state.copied()
                    firings = monitor_rule.evaluate(rule, state, monitors, step_ns)
                    await self._commit(rule, stored, state, [(firing, ()) for firing in firings])

    async def _state(self, rule: Kind, now_s: float) -> StoredState:
        """Of a rule; one that was never evaluated begins where it was made, and an old one not before `catch_up_s`."""
        stored = await self.states.of(rule.head.key)
        first_ns = max(rule.head.created_ns, int((now_s - FIRST_LOOK_S) * NS))
        oldest_ns = int((now_s - self.settings.alerts_catch_up_s) * NS)
        if stored.state.evaluated_ns == 0:
            await stored.keep(lambda state: _begin(state, first_ns))
        elif stored.state.evaluated_ns < oldest_ns:
            skipped_s = (oldest_ns - stored.state.evaluated_ns) / NS
            log.warning("time_skipped", rule=stored.name, seconds=round(skipped_s))
            metrics.SKIPPED_SECONDS.inc(skipped_s)
            await stored.keep(lambda state: _begin(state, oldest_ns))
        return stored

    def _complete_ns(self, rows: str, key: RuleKey, now_s: float) -> int:
        complete_s = self.progress.complete_until_s(rows)
        behind_s = now_s - complete_s
        metrics.BEHIND_SECONDS.labels(rows).set(behind_s if complete_s else 0)
        if complete_s and behind_s > BEHIND_S:
            self.errors[key] = f"rows are {behind_s:.0f} s behind, so nothing newer is evaluated: see `axonpush status`"
        return int((complete_s - ROWS_MARGIN_S) * NS)

    async def _commit(
        self, rule: IssueRule | MetricRule | MonitorRule, stored: StoredState, state: RuleState, answer: Sequence[Found]
    ) -> None:
        kind = KINDS[(IssueRule, MetricRule, MonitorRule).index(type(rule))]
        await self.states.commit(stored, state, answer, rule.head.actions, kind)

    def _told(self, keys: Sequence[RuleKey]) -> _Told:
        return _Told(self.errors, keys)


class _Told:
    """What fails for these rules is told in their state, and the others go on; without ClickHouse the round ends."""

    def __init__(self, errors: dict[RuleKey, str], keys: Sequence[RuleKey]) -> None:
        self._errors = errors
        self._keys = keys

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is None or not isinstance(error, Exception) or isinstance(error, ENDS_ROUND):
            return False
        if isinstance(error, ApiError):
            if error.status == 503:
                return False
            self._errors |= dict.fromkeys(self._keys, error.detail)
            return True
        log.exception("rules_failed", rules=[f"{organisation}.{number}" for organisation, number in self._keys])
        self._errors |= dict.fromkeys(self._keys, "it failed; the log of `axonpush alerts` says why")
        return True


def steps(last_ns: int, end_ns: int) -> list[int]:
    """The ends of the evaluations from one time to another: one, or several after a pause."""
    gap_ns = end_ns - last_ns
    if gap_ns <= 0:
        return []
    if gap_ns <= PAUSE_S * NS:
        return [end_ns]
    number = min(MOST_STEPS, int(gap_ns // (PAUSE_S * NS / 2)))
    return [last_ns + gap_ns * step // number for step in range(1, number + 1)]


def _begin(state: RuleState, moment_ns: int) -> None:
    state.evaluated_ns = state.complete_ns = moment_ns


def _of_kind(known: Iterable[KnownRule], kind: type[Kind]) -> list[Kind]:
    return [entry.rule for entry in known if isinstance(entry.rule, kind)]


def _count(known: Mapping[RuleKey, KnownRule]) -> None:
    for kind in KINDS:
        metrics.RULES.labels(kind).set(sum(entry.kind == kind for entry in known.values()))
