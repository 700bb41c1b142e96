"""One question about a dataset: read from a request, checked, and written as SQL with parameters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.api.errors import ApiError
from console.query.conditions import Conditions, Language, conditions
from console.query.functions import AnswerColumn, Columns
from console.query.parameters import Parameters

if TYPE_CHECKING:
    from console.api.request import Period
    from console.query.conditions import ProjectNumber
    from console.query.datasets import Dataset
    from console.storage.clickhouse import Value
    from schemas.registry import Channel

MAX_FIELDS: Final = 40
MAX_SORTS: Final = 5
_OF_PROJECTS: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
_IN_PERIOD: Final = (
    "timestamp >= toDateTime64({begin:String}, 9, 'UTC') AND timestamp < toDateTime64({end:String}, 9, 'UTC')"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose events of which time: what no query can widen."""

    organisation: str
    projects: Sequence[Channel]
    period: Period
    now: dt.datetime
    environments: Sequence[str] = ()

    @property
    def seconds(self) -> float:
        """Length of the part of the period that is over."""
        return (min(self.period.end, self.now) - self.period.begin).total_seconds()

    @property
    def where(self) -> str:
        """The condition of every statement."""
        of_environments = " AND environment IN {environments:Array(String)}" if self.environments else ""
        return f"{_OF_PROJECTS} AND {_IN_PERIOD}{of_environments}"

    def parameters(self, period: Period | None = None) -> dict[str, Value]:
        """Of `where`; `period` is a part of the whole one."""
        values: dict[str, Value] = {
            "organisation": self.organisation,
            "channels": [project.id for project in self.projects],
            **(period or self.period).parameters(),
        }
        return values | ({"environments": list(self.environments)} if self.environments else {})


@dataclass(slots=True)
class Question:
    """A dataset, the columns of the answer, a condition and an order, all as SQL."""

    dataset: Dataset
    scope: Scope
    columns: list[AnswerColumn]
    conditions: Conditions
    order: list[tuple[str, str]]
    parameters: Parameters

    @property
    def is_grouped(self) -> bool:
        """Whether it is about groups of events, not about events."""
        return any(column.is_aggregate for column in self.columns)

    @property
    def where(self) -> str:
        """The condition on events."""
        parts = [self.scope.where, f"({self.dataset.where})"]
        if self.conditions.of_event:
            parts.append(f"({self.conditions.of_event})")
        if self.conditions.of_issue:
            issues = f"SELECT channel_id, issue_id FROM issues WHERE {_OF_PROJECTS} AND ({self.conditions.of_issue})"
            number = self.dataset.fields["issue"].column
            parts.append(f"(channel_id, {number}) GLOBAL IN ({issues})")
        return " AND ".join(parts)


class QuestionReader:
    """Reads the parts of a question, each with errors of its own."""

    def __init__(self, dataset: Dataset, scope: Scope, project_number: ProjectNumber) -> None:
        self.dataset = dataset
        self._scope = scope
        language = Language(project_number, lambda: scope.now, dataset.fields, dataset.refused)
        self._columns = Columns(dataset, language, scope.seconds)
        language.function_sql = self._columns.function_sql
        self._language = language

    def column(self, name: str) -> AnswerColumn:
        """Raises ApiError 400."""
        return self._columns.read(name)

    def columns(self, names: Sequence[str]) -> list[AnswerColumn]:
        """The columns of `field=`, each once. Raises ApiError 400."""
        wanted = list(dict.fromkeys(names))
        if not wanted or len(wanted) > MAX_FIELDS:
            raise ApiError(400, f"field: expected 1 to {MAX_FIELDS} fields, found {len(wanted)}")
        return [self.column(name) for name in wanted]

    def conditions(self, query: str) -> Conditions:
        """Raises ApiError 400."""
        return conditions(query, self._language)

    def order(self, names: Sequence[str], columns: Sequence[AnswerColumn]) -> list[tuple[str, str]]:
        """SQL and direction of each `sort=`; groups are sorted by their own columns only. Raises ApiError 400."""
        if len(names) > MAX_SORTS:
            raise ApiError(400, f"sort: expected at most {MAX_SORTS}, found {len(names)}")
        return [self._sorted(name, columns) for name in names]

    def read(self, names: Sequence[str], query: str, sorts: Sequence[str]) -> Question:
        """The whole question. Raises ApiError 400."""
        columns = self.columns(names)
        conditions = self.conditions(query)
        is_grouped = any(column.is_aggregate for column in columns)
        if conditions.of_group and not is_grouped:
            raise ApiError(400, "query: expected a condition on a function beside a field with one, as field=count()")
        default = [_newest_or_most(columns)] if not sorts else []
        order = default or self.order(sorts, columns)
        return Question(self.dataset, self._scope, columns, conditions, order, self._language.parameters)

    def _sorted(self, name: str, columns: Sequence[AnswerColumn]) -> tuple[str, str]:
        bare = name.removeprefix("-")
        direction = "DESC" if name.startswith("-") else "ASC"
        for column in columns:
            if bare in (column.name, column.sort_name):
                return column.sql, direction
        if any(column.is_aggregate for column in columns):
            shown = ", ".join(column.name for column in columns)
            raise ApiError(400, f"sort: expected one of the fields, {shown}, with or without -, found {name[:80]!r}")
        return self.column(bare).sql, direction


def _newest_or_most(columns: Sequence[AnswerColumn]) -> tuple[str, str]:
    grouped = next((column.sql for column in columns if column.is_aggregate), "")
    return (grouped or "timestamp"), "DESC"
