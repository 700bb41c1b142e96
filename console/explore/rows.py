"""Answers of questions: events, the newest first, or groups of events with functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.api.request import Period
from console.issues.find import bucket_of
from console.issues.ids import short_id
from console.query.fields import Kind

if TYPE_CHECKING:
    from console.explore.question import Question
    from console.query.functions import AnswerColumn
    from console.storage.clickhouse import ClickHouse, Row
    from schemas.registry import Channel

# A page of the newest events is mostly found in the last hour: a longer time is read only if it is not full.
_WINDOWS: Final = (dt.timedelta(hours=1), dt.timedelta(days=1), dt.timedelta(days=7))
_LIMITS: Final = " LIMIT {limit:UInt32} OFFSET {offset:UInt32}"


class Explorer:
    """Asks ClickHouse, and shows values as clients read them."""

    def __init__(self, clickhouse: ClickHouse, projects: Sequence[Channel]) -> None:
        self._clickhouse = clickhouse
        self._projects = {project.id: project for project in projects}

    async def page(self, question: Question, *, limit: int, offset: int) -> list[dict[str, Any]]:
        """`limit` entries from `offset` on, as JSON."""
        if not question.scope.projects:
            return []
        if question.is_grouped:
            rows = await self._groups(question, limit, offset)
        else:
            rows = await self._events(question, limit, offset)
        return [self.shown(row, question.columns) for row in rows]

    def shown(self, row: Row, columns: Sequence[AnswerColumn]) -> dict[str, Any]:
        """An entry with the names that were asked for."""
        return {column.name: self._value(row[f"c{number}"], column) for number, column in enumerate(columns)}

    async def _groups(self, question: Question, limit: int, offset: int) -> list[Row]:
        keys = [f"c{number}" for number, column in enumerate(question.columns) if not column.is_aggregate]
        sql = f"SELECT {_selected(question.columns)} FROM events WHERE {question.where}"
        if keys:
            sql += f" GROUP BY {', '.join(keys)}"
        if question.conditions.of_group:
            sql += f" HAVING {question.conditions.of_group}"
        orders = [f"{expression} {direction}" for expression, direction in question.order]
        sql += f" ORDER BY {', '.join([*orders, *keys])}{_LIMITS}"
        return await self._clickhouse.query(sql, **_values(question), limit=limit, offset=offset)

    async def _events(self, question: Question, limit: int, offset: int) -> list[Row]:
        """First which events, by the columns that conditions and order need; then all columns of these few."""
        event_keys = await self.event_keys(question, limit, offset)
        if not event_keys:
            return []
        rows = await self._clickhouse.query(
            f"SELECT event_id, timestamp, {_selected(question.columns)} FROM events "
            "WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)} "
            "AND toStartOfFiveMinutes(timestamp) IN {buckets:Array(DateTime('UTC'))} "
            "AND event_id IN {ids:Array(UUID)}",
            **_values(question)
            | {
                "channels": sorted({int(key["channel_id"]) for key in event_keys}),
                "buckets": sorted({bucket_of(key["timestamp"]) for key in event_keys}),
                "ids": sorted({str(key["event_id"]) for key in event_keys}),
            },
        )
        by_key = {(row["event_id"], row["timestamp"]): row for row in rows}
        # An event can lose its row between two questions, by a replay.
        in_order = (by_key.get((key["event_id"], key["timestamp"])) for key in event_keys)
        return [row for row in in_order if row is not None]

    async def event_keys(self, question: Question, limit: int, offset: int) -> list[Row]:
        """Id, time and project of the events of a page."""
        if not question.scope.projects:
            return []
        orders = [f"{expression} {direction}" for expression, direction in question.order]
        sql = (
            f"SELECT event_id, timestamp, channel_id FROM events WHERE {question.where} "
            f"ORDER BY {', '.join([*orders, 'event_id'])}{_LIMITS}"
        )
        rows: list[Row] = []
        for period in _periods(question):
            values = _values(question) | question.scope.parameters(period)
            rows = await self._clickhouse.query(sql, **values, limit=limit, offset=offset)
            if len(rows) >= limit:
                break
        return rows

    def _value(self, value: Any, column: AnswerColumn) -> Any:
        if value is None:
            return None
        if column.is_aggregate and column.kind not in (Kind.TIME, Kind.PROJECT, Kind.ISSUE, Kind.FLAG):
            return value
        if column.kind is Kind.TIME:
            return iso_time(str(value))
        if column.kind is Kind.PROJECT:
            project = self._projects.get(int(value))
            return project.project_slug if project else None
        if column.kind is Kind.ISSUE:
            project = self._projects.get(int(value[0]))
            return short_id(project, int(value[1])) if project else None
        if column.kind is Kind.FLAG:
            return bool(value)
        return None if column.is_tag and value == "" else value


def _selected(columns: Sequence[AnswerColumn]) -> str:
    return ", ".join(f"{column.sql} AS c{number}" for number, column in enumerate(columns))


def _values(question: Question) -> dict[str, Any]:
    return {**question.parameters.values, **question.scope.parameters()}


def _periods(question: Question) -> Iterator[Period]:
    """The last hour, day and week of the period, then all of it; only all of it if the newest are not asked for."""
    whole = question.scope.period
    if question.order[0] == ("timestamp", "DESC"):
        for window in _WINDOWS:
            begin = min(whole.end, question.scope.now) - window
            if begin <= whole.begin:
                break
            yield Period(begin, whole.end)
    yield whole
