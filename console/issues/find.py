"""Issues from ClickHouse: a page of a search, and one by its number or short id."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from console.api.errors import ApiError
from console.issues.counted_days import NOTHING_COUNTED, CountedDays, counted_days
from console.issues.groups import (
    COLUMNS,
    FAST_FINAL,
    NEWEST,
    OF_NUMBERS,
    OF_PROJECTS,
    Search,
    first_and_last,
    matching,
)
from console.issues.ids import MAX_ID, issue_range
from console.query.conditions import Conditions, Language, conditions
from console.query.fields import IS_UNHANDLED
from console.storage.clickhouse import ClickHouse, Row, Value
from console.storage.times import time_text_of

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from schemas.registry import Channel

UNRESOLVED: Final = "is:unresolved"
NEWEST_FIRST: Final = "last_seen DESC"
SORTS: Final = {
    "date": NEWEST_FIRST,
    "new": "first_seen DESC",
    "freq": "times DESC",
    "user": "users DESC",
    "trends": "times DESC",
    "recommended": NEWEST_FIRST,
    "inbox": NEWEST_FIRST,
}
MAX_IN_BULK: Final = 10_000
# Numbers in one parameter: ClickHouse refuses a form field above 128 KiB.
NUMBERS_AT_ONCE: Final = 5_000
# Issues in one question, with the two moments of each: the same.
ISSUES_AT_ONCE: Final = 1_500
FIVE_MINUTES_S: Final = 300
# A list of the newest issues looks at those with an error of these times first, at so many for each that it needs. It
# is meant for lists that end now, give or take what clocks differ; a list of a day, whose end is a moment ago, is one.
CLOCKS_DIFFER: Final = dt.timedelta(minutes=1)
RECENT: Final = (dt.timedelta(hours=1) + CLOCKS_DIFFER, dt.timedelta(days=1) + CLOCKS_DIFFER)
CANDIDATES: Final = 10

_LIMITS: Final = " LIMIT {limit:UInt32} OFFSET {offset:UInt32}"
_WITH_NUMBER: Final = f"""
SELECT DISTINCT issue_id FROM error_rows
WHERE {OF_PROJECTS} AND issue_id BETWEEN {{lowest:UInt64}} AND {{highest:UInt64}} LIMIT 10"""
_LAST_EVENTS: Final = f"""
SELECT event_id, item_type, event_type, title, exception_type, exception_message, severity_number, platform, body,
       attributes_string['culprit'] AS culprit, attributes_string['transaction'] AS transaction,
       attributes_string['code.file.path'] AS filename, attributes_string['code.function.name'] AS function,
       {IS_UNHANDLED} AS is_unhandled
FROM events
WHERE {OF_PROJECTS}
  AND toStartOfFiveMinutes(timestamp) IN {{buckets:Array(DateTime('UTC'))}} AND event_id IN {{ids:Array(UUID)}}"""


class IssueFinder:
    """Reads issues of one organisation, for one request: it looks once which days are counted."""

    def __init__(self, clickhouse: ClickHouse, registry_entries: KnownEntries, now: dt.datetime) -> None:
        self._clickhouse = clickhouse
        self._registry_entries = registry_entries
        self._now = now
        self._counted: dict[str, CountedDays] = {}

    async def page(self, search: Search, *, limit: int, offset: int) -> list[Row]:
        """Issues with a matching error in the period, with the errors and users of the period.

        The usual list, of the newest unresolved ones, looks at a few issues with an error in the last day. Any other
        looks at all: first which issues, by the columns that conditions and order need; then all columns of these few.
        """
        if not search.projects:
            return []
        rows = await self._newest(search, offset + limit)
        if rows is None:
            rows = await self._ordered(search, limit, offset)
        else:
            rows = rows[offset : offset + limit]
        return await self._with_first_and_last(search, rows)

    async def _newest(self, search: Search, wanted: int) -> list[Row] | None:
        """The first `wanted` unresolved issues by last error; None where neither the last hour nor day has them.

        Issues with an error since a time come before all others, and these errors alone tell their order. Searches that
        few issues match would look at too many of them.
        """
        if not self._is_newest_unresolved(search) or wanted * CANDIDATES > NUMBERS_AT_ONCE:
            return None
        for recent in RECENT:
            rows = await self._since(search, self._now - recent, wanted)
            if rows is not None:
                return rows
        return None

    async def _since(self, search: Search, since: dt.datetime, wanted: int) -> list[Row] | None:
        """The same, of issues with an error since then."""
        since = max(since, search.period.begin) if search.period else since
        numbers, _ = await asyncio.gather(
            self._recent_numbers(search, since, wanted * CANDIDATES), self._counted_days(search)
        )
        # Whether the list can have no other issues than these.
        are_all = search.period is not None and since == search.period.begin and len(numbers) < wanted * CANDIDATES
        if len(numbers) < wanted and not are_all:
            return None
        rows = await self._matching(search, numbers[: wanted * 2])
        if len(rows) < wanted:
            rows += await self._matching(search, numbers[wanted * 2 :])
        return rows if len(rows) >= wanted or are_all else None

    def _is_newest_unresolved(self, search: Search) -> bool:
        end = search.period.end if search.period else self._now
        usual = self._conditions(replace(search, query=UNRESOLVED))
        is_usual = self._conditions(search) == usual
        return search.order == NEWEST_FIRST and end >= self._now - CLOCKS_DIFFER and is_usual

    async def _recent_numbers(self, search: Search, since: dt.datetime, limit: int) -> list[int]:
        """Issues with an error since then, the newest first."""
        parameters = self._parameters(search, Conditions(), NOTHING_COUNTED)
        parameters |= {"since": time_text_of(since), "limit": limit}
        return [int(row["issue_id"]) for row in await self._clickhouse.query(NEWEST, **parameters)]

    async def _ordered(self, search: Search, limit: int, offset: int) -> list[Row]:
        """A page of a list in any order."""
        numbers = [int(row["issue_id"]) for row in await self._issue_numbers(search, limit, offset)]
        rows = await self._matching(replace(search, query=""), numbers)
        by_number = {int(row["issue_id"]): row for row in rows}
        # An issue can lose its last error between two questions, by a replay.
        return [by_number[number] for number in numbers if number in by_number]

    async def _issue_numbers(self, search: Search, limit: int, offset: int) -> list[Row]:
        """Number and project of each."""
        if not search.projects:
            return []
        conditions, counted = self._conditions(search), await self._counted_days(search)
        issues = matching(search, conditions, "channel_id, issue_id", counted)
        sql = f"{issues} ORDER BY {search.order}, issue_id{_LIMITS}{FAST_FINAL}"
        parameters = self._parameters(search, conditions, counted)
        return await self._clickhouse.query(sql, **parameters, limit=limit, offset=offset)

    async def count(self, search: Search) -> int:
        """How many issues a search has, all pages together."""
        if not search.projects:
            return 0
        conditions, counted = self._conditions(search), await self._counted_days(search)
        issues = matching(search, conditions, "issue_id", counted)
        sql = f"SELECT count() AS issues FROM ({issues}){FAST_FINAL}"
        (row,) = await self._clickhouse.query(sql, **self._parameters(search, conditions, counted)) or [{"issues": 0}]
        return int(row["issues"])

    async def _matching(self, search: Search, numbers: Sequence[int]) -> list[Row]:
        """Those of these issues that match, the newest first."""
        if not numbers or not search.projects:
            return []
        conditions, counted = self._conditions(search), await self._counted_days(search)
        issues = matching(search, conditions, COLUMNS, counted, OF_NUMBERS)
        sql = f"{issues} ORDER BY {NEWEST_FIRST}, issue_id{FAST_FINAL}"
        parameters = self._parameters(search, conditions, counted)
        return await self._clickhouse.query(sql, **parameters, numbers=list(numbers))

    async def _counted_days(self, search: Search) -> CountedDays:
        """The days of which the counts can be read."""
        organisation = search.organisation
        if organisation not in self._counted:
            self._counted[organisation] = await counted_days(self._clickhouse, organisation)
        return self._counted[organisation].beside(search.period)

    async def _with_first_and_last(self, search: Search, rows: Sequence[Row]) -> list[Row]:
        """The rows, each with the releases of its first and last error and the id of the last."""
        if not rows:
            return []
        counted = await self._counted_days(replace(search, period=None))
        last_of_issues = await self._clickhouse.query(
            first_and_last(counted),
            organisation=search.organisation,
            channels=[project.id for project in search.projects],
            numbers=[int(row["issue_id"]) for row in rows],
            moments=sorted({str(row[name]) for row in rows for name in ("first_seen", "last_seen")}),
            **counted.parameters(),
        )
        by_number = {int(row["issue_id"]): row for row in last_of_issues}
        return [row | by_number[number] for row in rows if (number := int(row["issue_id"])) in by_number]

    async def ids(self, search: Search) -> list[Row]:
        """Number and project of every issue of a search. Raises ApiError 400 above MAX_IN_BULK."""
        rows = await self._issue_numbers(search, MAX_IN_BULK, 0)
        if len(rows) >= MAX_IN_BULK:
            raise ApiError(400, f"query: expected fewer than {MAX_IN_BULK} issues to change at once, found more")
        return rows

    async def by_numbers(self, organisation: str, projects: Sequence[Channel], numbers: Sequence[int]) -> list[Row]:
        """The issues of these numbers, of these projects only. Those that do not exist are missing."""
        search, rows = Search(organisation, projects), list[Row]()
        for first in range(0, len(numbers), ISSUES_AT_ONCE):
            chunk = await self._matching(search, numbers[first : first + ISSUES_AT_ONCE])
            rows += await self._with_first_and_last(search, chunk)
        return rows

    async def one(self, organisation: str, projects: Sequence[Channel], text: str) -> Row:
        """One issue by its number or short id. Raises ApiError 404."""
        rows = await self._named(organisation, projects, text)
        if not rows:
            expected = f"the number or short id of an issue of {organisation}"
            raise ApiError(404, f"issue: expected {expected}, found {text[:80]!r}")
        if len(rows) > 1:
            numbers = ", ".join(str(row["issue_id"]) for row in rows)
            text = f"issue: expected a short id of one issue, found one of several: use a number of {numbers}"
            raise ApiError(400, text)
        return rows[0]

    async def last_events(self, organisation: str, rows: Sequence[Row]) -> dict[str, Row]:
        """The last error of each issue, by event id, without its payload."""
        if not rows:
            return {}
        events = await self._clickhouse.query(
            _LAST_EVENTS,
            organisation=organisation,
            channels=sorted({int(row["channel_id"]) for row in rows}),
            buckets=sorted({bucket_of(row["last_seen"]) for row in rows}),
            ids=sorted({str(row["last_event_id"]) for row in rows}),
        )
        return {str(row["event_id"]): row for row in events}

    async def _named(self, organisation: str, projects: Sequence[Channel], text: str) -> list[Row]:
        if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_ID:
            return await self.by_numbers(organisation, projects, [int(text)])
        asked = issue_range(text)
        named = [project for project in projects if asked and project.project_slug.upper() == asked[0]]
        if asked is None or not named:
            return []
        _, lowest, highest = asked
        numbers = await self._clickhouse.query(
            _WITH_NUMBER,
            organisation=organisation,
            channels=[project.id for project in named],
            lowest=lowest,
            highest=highest,
        )
        return await self.by_numbers(organisation, named, [int(row["issue_id"]) for row in numbers])

    def _conditions(self, search: Search) -> Conditions:
        def number(text: str) -> int | None:
            channel = self._registry_entries.project(search.organisation, text)
            return channel.id if channel else None

        return conditions(search.query, Language(number, lambda: self._now))

    def _parameters(self, search: Search, conditions: Conditions, counted: CountedDays) -> dict[str, Value]:
        parameters: dict[str, Value] = {
            "organisation": search.organisation,
            "channels": [project.id for project in search.projects],
            **conditions.parameters,
            **counted.parameters(),
        }
        if search.period:
            parameters |= search.period.parameters()
        if search.environments:
            parameters["environments"] = list(search.environments)
        return parameters


def bucket_of(moment: str) -> str:
    """The five minutes of a time of ClickHouse, as in the sort key of event_rows."""
    seconds = int(dt.datetime.fromisoformat(moment[:19]).replace(tzinfo=dt.UTC).timestamp())
    begin = dt.datetime.fromtimestamp(seconds - seconds % FIVE_MINUTES_S, dt.UTC)
    return begin.strftime("%Y-%m-%d %H:%M:%S")
