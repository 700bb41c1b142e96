"""The numbers of metric rules: rules with the same rows and the same time are one question."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.alerts.limits.failures import REFUSED, is_away
from console.api.errors import ApiError
from console.api.request import Period
from console.explore.question import MAX_FIELDS, QuestionReader, Scope
from console.query.equations import PREFIX
from console.query.functions import MAX_FILTER
from console.rules.read_rule import RULE_DATASETS

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.alerts.rules.source import RuleKey
    from console.query.conditions import ProjectNumber
    from console.query.datasets import Dataset
    from console.rules.parsed import MetricRule
    from console.storage.clickhouse import ClickHouse
    from schemas.registry import Channel

# Functions whose number depends on the length of the time, or that have a condition already.
_NOT_CONDITIONAL: Final = ("eps(", "epm(", "tps(", "tpm(", "spm(", "last_seen(", "first_seen(")


@dataclass(frozen=True, slots=True)
class MetricValue:
    """The number of a rule; None where there is none, as an average of nothing. `error`: why it is not known."""

    value: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows a question reads."""

    organisation: str
    channels: tuple[int, ...]
    dataset: str
    environment: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """One number. `name` is a function with its condition; "" if both need a question of their own."""

    rule: MetricRule
    rows: _Rows
    is_before: bool

    @property
    def name(self) -> str:
        return conditional(self.rule.aggregate, self.rule.query)


class MetricValues:
    """Asks for the numbers of several rules at one time."""

    def __init__(self, clickhouse: ClickHouse, entries: KnownEntries) -> None:
        self._clickhouse = clickhouse
        self._entries = entries
        # Rules whose last question was refused together with others.
        self._alone: set[RuleKey] = set()

    async def read(
        self, rules: Sequence[MetricRule], end_s: float, is_over: Callable[[], bool] = lambda: False
    ) -> dict[RuleKey, MetricValue]:
        """The number of each rule, by its key. Those for which there was no time before `is_over` are missing.

        Without ClickHouse raises ApiError 503.
        """
        asked = [entry for rule in rules for entry in _asked(rule, end_s)]
        numbers: dict[tuple[RuleKey, bool], MetricValue] = {}
        waiting = deque(_groups(asked, self._alone))
        while waiting and not is_over():
            group = waiting.popleft()
            values = await self._group(group)
            if values is None:  # one wrong rule is no fault of the others: now and the next time each is asked alone
                self._alone |= {entry.rule.head.key for entry in group}
                waiting.extend([entry] for entry in group)
                continue
            for entry, value in zip(group, values, strict=True):
                numbers[entry.rule.head.key, entry.is_before] = value
        answered = {rule.head.key: _combined(rule, numbers) for rule in rules if _is_answered(rule, numbers)}
        self._alone -= {key for key, value in answered.items() if not value.error}
        return answered

    async def _group(self, group: Sequence[_Asked]) -> list[MetricValue] | None:
        """One question for all; None where it is refused and they are several."""
        try:
            return await self._together(group)
        except ApiError as error:
            if len(group) > 1:
                return None
            if error.status != 503:
                return [MetricValue(None, error.detail)]
            if await is_away(self._clickhouse):
                raise
            return [MetricValue(None, REFUSED)]

    async def _together(self, group: Sequence[_Asked]) -> list[MetricValue]:
        rows = group[0].rows
        reader = QuestionReader(RULE_DATASETS[rows.dataset], self._scope(rows), self._number_of(rows.organisation))
        if group[0].name:
            names, query = list(dict.fromkeys(entry.name for entry in group)), ""
        else:
            names, query = [group[0].rule.aggregate], group[0].rule.query
        question = reader.read(names, query, [])
        if question.conditions.of_group:
            raise ApiError(400, "query: expected fields of events, found a condition on a function")
        if not question.scope.projects:
            return [MetricValue(None, "its projects do not exist any more") for _ in group]
        selected = ", ".join(f"{column.sql} AS v{number}" for number, column in enumerate(question.columns))
        answer = await self._clickhouse.query(
            f"SELECT {selected} FROM events WHERE {question.where}",
            **question.parameters.values,
            **question.scope.parameters(),
        )
        values = [_number(answer[0][f"v{number}"]) if answer else None for number in range(len(names))]
        return [MetricValue(values[names.index(entry.name) if entry.name else 0]) for entry in group]

    def _scope(self, rows: _Rows) -> Scope:
        begin, end = (dt.datetime.fromtimestamp(moment, dt.UTC) for moment in (rows.begin_s, rows.end_s))
        projects: list[Channel] = [
            entry for entry in self._entries.projects(rows.organisation) if entry.id in rows.channels
        ]
        environments = [rows.environment] if rows.environment else []
        return Scope(rows.organisation, projects, Period(begin, end), end, environments)

    def _number_of(self, organisation: str) -> ProjectNumber:
        def number(text: str) -> int | None:
            project = self._entries.project(organisation, text)
            return project.id if project else None

        return number


def conditional(aggregate: str, query: str) -> str:
    """The function with the query as its condition, so that one question has several; "" if it cannot have one."""
    function, bracket, arguments = aggregate.partition("(")
    if not query.strip():
        return aggregate
    is_plain = bracket and "`" not in query and "`" not in aggregate and len(query) + len(aggregate) < MAX_FILTER
    if not is_plain or aggregate.startswith((PREFIX, *_NOT_CONDITIONAL)) or function.endswith("_if"):
        return ""
    rest = arguments.removesuffix(")").strip()
    return f"{function}_if(`{query}`{f',{rest}' if rest else ''})"


def _asked(rule: MetricRule, end_s: float) -> Iterable[_Asked]:
    head = rule.head
    for shift_s in dict.fromkeys((0, rule.compared_s)):
        end = end_s - shift_s
        rows = _Rows(head.organisation, head.channels, rule.dataset, head.environment, end - rule.window_s, end)
        yield _Asked(rule, rows, shift_s > 0)


def _groups(asked: Sequence[_Asked], alone: Collection[RuleKey]) -> Iterable[list[_Asked]]:
    grouped: dict[tuple[object, ...], list[_Asked]] = {}
    for entry in asked:
        key: tuple[object, ...] = (entry.rows,) if entry.name else (entry.rows, entry.rule.aggregate, entry.rule.query)
        if entry.rule.head.key in alone:
            key = entry.rows, entry.rule.head.key
        grouped.setdefault(key, []).append(entry)
    for group in grouped.values():
        for begin in range(0, len(group), MAX_FIELDS):
            yield group[begin : begin + MAX_FIELDS]


def _is_answered(rule: MetricRule, numbers: Mapping[tuple[RuleKey, bool], MetricValue]) -> bool:
    return (rule.head.key, False) in numbers and (not rule.compared_s or (rule.head.key, True) in numbers)


def _combined(rule: MetricRule, numbers: Mapping[tuple[RuleKey, bool], MetricValue]) -> MetricValue:
    now = numbers[rule.head.key, False]
    if not rule.compared_s or now.error:
        return now
    before = numbers[rule.head.key, True]
    if before.error or not before.value or now.value is None:
        return MetricValue(None, before.error)
    return MetricValue(now.value / before.value * 100)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def dataset_of(rule: MetricRule) -> Dataset:
    """The dataset of a rule, by the name that tools have for it."""
    return RULE_DATASETS[rule.dataset]
