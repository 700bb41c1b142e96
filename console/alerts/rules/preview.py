"""What a rule would have told in a time that is over: the same evaluation, on rows as they are now. Nobody is told.

It asks at least once in each window, so that no peak is between two questions. It is bounded in questions and in time,
and says from when to when it looked.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from console.alerts.limits.firing_texts import cut
from console.alerts.rules import metric_rule, monitor_rule
from console.alerts.rules.issue_activity import ActivityReader
from console.alerts.rules.issue_details import IssueDetails
from console.alerts.rules.issue_rule import IssueRound
from console.alerts.rules.metric_values import MetricValues
from console.alerts.rules.monitor_runs import MonitorRuns
from console.alerts.state import Firing, RuleState
from console.api.errors import ApiError
from console.rules.parsed import IssueRule, MetricRule, MonitorRule, Rule
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.alerts.rules.metric_values import MetricValue
    from console.storage.clickhouse import ClickHouse

NS: Final = 1_000_000_000
MOST_QUESTIONS: Final = 300
# Tools wait for 30 s.
MOST_S: Final = 10.0
_AT_ONCE: Final = 4
_LEAST_STEP_S: Final = 60.0
_MOST_STEP_S: Final = 3_600.0
# A quiet time begins at the end of a step: with long steps it would end too late, or be over too early.
_STEPS_OF_QUIET: Final = 5
# As many check-ins of each monitor as a look reads at most.
_FAILURES: Final = 100
_STEPS_WITH_ERRORS: Final = """
SELECT DISTINCT intDiv(toUnixTimestamp64Nano(received_at) - {begin_ns:Int64} - 1, {step_ns:Int64}) AS step
FROM error_rows WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
  AND received_at > toDateTime64({begin:String}, 9, 'UTC') AND received_at <= toDateTime64({end:String}, 9, 'UTC')
ORDER BY step DESC LIMIT %d"""


# Of all steps: the newest first.
_SHARES: Final = (16, 4, 1)


@dataclass(slots=True)
class PreviewResult:
    """`begin_ns` to `end_ns` were looked at; `is_cut`: there was no time for more. `values`: of a metric rule."""

    begin_ns: int
    end_ns: int
    firings: list[Firing] = field(default_factory=list)
    is_cut: bool = False
    values: list[tuple[int, float | None]] = field(default_factory=list)

    def add(self, firings: Sequence[Firing]) -> None:
        """More of them, with their texts within bounds."""
        self.firings += [cut(firing) for firing in firings]


# Evaluates these steps, the oldest first.
Look = Callable[[Sequence[int]], Awaitable[PreviewResult]]


class RulePreview:
    """Of one rule. `clock` is monotonic. Its methods raise ApiError."""

    def __init__(
        self, clickhouse: ClickHouse, entries: KnownEntries, url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clickhouse = clickhouse
        self._entries = entries
        self._url = url
        self._ends_at = clock() + MOST_S
        self._clock = clock
        self._reader = ActivityReader(clickhouse)

    async def run(self, rule: Rule, begin_ns: int, end_ns: int) -> PreviewResult:
        """From `begin_ns`, or later if that is too much, to `end_ns`."""
        rule = replace(rule, head=replace(rule.head, created_ns=begin_ns))
        if isinstance(rule, IssueRule):
            return await self._issues(rule, begin_ns, end_ns)
        if isinstance(rule, MetricRule):
            return await self._numbers(rule, begin_ns, end_ns)
        return await self._monitors(rule, begin_ns, end_ns)

    def _is_over(self) -> bool:
        return self._clock() >= self._ends_at

    async def _widest(self, steps: Sequence[int], look: Look) -> PreviewResult:
        """The newest steps, then more of them, as long as there is time: the answer is about the last days or hours."""
        widest = None
        for number in sorted({max(1, len(steps) // share) for share in _SHARES}):
            result = await look(steps[-number:])
            if widest is not None and result.is_cut and result.end_ns < widest.end_ns:
                return replace(widest, is_cut=True)
            widest = result
            if result.is_cut:
                break
        assert widest is not None
        return widest

    async def _issues(self, rule: IssueRule, begin_ns: int, end_ns: int) -> PreviewResult:
        """Only of steps in which errors came: in the others an issue rule has nothing to look at."""
        step_ns = int(_issue_step_s(rule) * NS)
        steps = await self._steps_with_errors(rule, begin_ns, end_ns, step_ns)
        is_all = len(steps) <= MOST_QUESTIONS

        async def look(chosen: Sequence[int]) -> PreviewResult:
            first_ns = begin_ns if is_all and len(chosen) == len(steps) else begin_ns + chosen[0] * step_ns
            result, state = PreviewResult(first_ns, end_ns), RuleState()
            asked = replace(rule, head=replace(rule.head, created_ns=first_ns))
            for step in chosen:
                if self._is_over():
                    result.end_ns, result.is_cut = begin_ns + step * step_ns, True
                    break
                await self._issue_step(asked, state, result, (begin_ns + step * step_ns, step_ns))
            return result

        return await self._widest(steps[-MOST_QUESTIONS:], look) if steps else PreviewResult(begin_ns, end_ns)

    async def _steps_with_errors(self, rule: IssueRule, begin_ns: int, end_ns: int, step_ns: int) -> list[int]:
        rows = await self._clickhouse.query(
            _STEPS_WITH_ERRORS % (MOST_QUESTIONS + 1),
            organisation=rule.head.organisation,
            channels=list(rule.head.channels),
            begin_ns=begin_ns,
            step_ns=step_ns,
            begin=time_text(begin_ns),
            end=time_text(end_ns),
        )
        return sorted(int(row["step"]) for row in rows)

    async def _issue_step(
        self, rule: IssueRule, state: RuleState, result: PreviewResult, step: tuple[int, int]
    ) -> None:
        """A step in which very many issues are active takes several evaluations, as it does when it happens."""
        state.complete_ns, until_ns = step[0], min(step[0] + step[1], result.end_ns)
        head, reader = rule.head, self._reader
        while state.complete_ns < until_ns and not self._is_over():
            activity, end_ns = await reader.read(head.organisation, list(head.channels), state.complete_ns, until_ns)
            now = dt.datetime.fromtimestamp(end_ns / NS, dt.UTC)
            details = IssueDetails(self._clickhouse, self._entries, head.organisation, now)
            result.add(await IssueRound(reader, details, activity, end_ns, self._url).evaluate(rule, state, end_ns))

    async def _numbers(self, rule: MetricRule, begin_ns: int, end_ns: int) -> PreviewResult:
        seconds = (end_ns - begin_ns) / NS
        step_s = min(float(rule.window_s), max(metric_rule.step_s(rule), seconds / MOST_QUESTIONS))
        number = min(MOST_QUESTIONS, math.ceil(seconds / step_s))
        values: dict[int, float | None] = {}

        async def look(chosen: Sequence[int]) -> PreviewResult:
            result, state = PreviewResult(max(begin_ns, chosen[0] - int(step_s * NS)), end_ns), RuleState()
            missing = [at_ns for at_ns in chosen if at_ns not in values]
            while missing and not self._is_over():
                missing, chunk = missing[:-_AT_ONCE], missing[-_AT_ONCE:]
                values.update(zip(chunk, await self._values(rule, chunk), strict=True))
            result.is_cut = bool(missing)
            for at_ns in chosen[len(missing) :]:
                result.values.append((at_ns, values[at_ns]))
                firing = metric_rule.evaluate(rule, state, values[at_ns], at_ns)
                result.add([firing] if firing else [])
            if missing:
                result.begin_ns = missing[-1]
            return result

        return await self._widest([end_ns - int((number - 1 - step) * step_s * NS) for step in range(number)], look)

    async def _values(self, rule: MetricRule, ends: Sequence[int]) -> list[float | None]:
        reader = MetricValues(self._clickhouse, self._entries)
        asked = await asyncio.gather(*(reader.read([rule], end_ns / NS) for end_ns in ends))
        return [_number(values[rule.head.key]) for values in asked]

    async def _monitors(self, rule: MonitorRule, begin_ns: int, end_ns: int) -> PreviewResult:
        """As far as the newest check-ins of each monitor show it."""
        head = rule.head
        runs = MonitorRuns(self._clickhouse)
        monitors = await runs.read(head.organisation, list(head.channels), end_ns / NS, _FAILURES)
        step_s = max(_LEAST_STEP_S, (end_ns - begin_ns) / NS / MOST_QUESTIONS)
        number = math.ceil((end_ns - begin_ns) / NS / step_s)

        async def look(chosen: Sequence[int]) -> PreviewResult:
            first_ns = max(begin_ns, chosen[0] - int(step_s * NS))
            result, state = PreviewResult(first_ns, end_ns), RuleState()
            asked = replace(rule, head=replace(head, created_ns=first_ns))
            for at_ns in chosen:
                if self._is_over():
                    result.end_ns, result.is_cut = at_ns, True
                    break
                result.add(await monitor_rule.evaluate(asked, state, monitors, at_ns))
                await asyncio.sleep(0)
            return result

        return await self._widest([end_ns - int((number - 1 - step) * step_s * NS) for step in range(number)], look)


def _issue_step_s(rule: IssueRule) -> float:
    windows = [float(condition.interval_s) for condition in rule.conditions if condition.interval_s]
    return max(_LEAST_STEP_S, min([rule.frequency_s / _STEPS_OF_QUIET, _MOST_STEP_S, *windows]))


def _number(value: MetricValue) -> float | None:
    if value.error:
        raise ApiError(400, f"preview: {value.error}")
    return value.value
