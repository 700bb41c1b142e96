"""Issues from ClickHouse: a page of a search, and one by its number or short id."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.api.errors import ApiError
from console.issues.ids import MAX_ID, issue_range
from console.query.conditions import Conditions, Language, conditions
from console.query.fields import IS_UNHANDLED, ISSUE_ID_OF
from console.storage.clickhouse import ClickHouse, Row, Value

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.api.request import Period
    from schemas.registry import Channel

SORTS: Final = {
    "date": "last_seen DESC",
    "new": "first_seen DESC",
    "freq": "times DESC",
    "user": "users DESC",
    "trends": "times DESC",
    "recommended": "last_seen DESC",
    "inbox": "last_seen DESC",
}
MAX_IN_BULK: Final = 10_000
FIVE_MINUTES_S: Final = 300

_OF_PROJECTS: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
_IN_PERIOD: Final = (
    "timestamp >= toDateTime64({begin:String}, 9, 'UTC') AND timestamp < toDateTime64({end:String}, 9, 'UTC')"
)
_LIMITS: Final = " LIMIT {limit:UInt32} OFFSET {offset:UInt32}"
_COLUMNS: Final = (
    "channel_id, issue_id, status, is_regressed, resolved_in, release_after, changed_at, first_seen, last_seen, "
    "first_release, last_release, last_event_id"
)
_ISSUES: Final = f"SELECT {_COLUMNS}, times, users FROM issues"
_COUNTED: Final = (
    "SELECT issue_id, count() AS times, uniqExactIf(user_hash, user_hash != 0) AS users FROM error_rows FINAL"
)
# As the view `issues` has it, for lists: one key to group by, and conditions on organisation and project before
# everything else. ClickHouse computes only what conditions and order need.
_GROUPS: Final = f"""
(
    SELECT channel_id, issue_id, times, users, first_seen, last_seen, first_release,
           last_status = 'resolved' AND if(release_after = toDateTime64(0, 9, 'UTC'),
                                           last_received_at > changed_at, is_back) AS is_regressed,
           if(last_status = '' OR is_regressed, 'unresolved', last_status) AS status
    FROM
    (
        SELECT any(channel) AS channel_id, issue_id, count() AS times,
               uniqExactIf(user_hash, user_hash != 0) AS users, min(timestamp) AS first_seen,
               max(timestamp) AS last_seen, max(received_at) AS last_received_at,
               argMin(release, order_key) AS first_release
        FROM
        (
            SELECT channel_id AS channel, issue_id, user_hash, timestamp, received_at, release,
                   bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(timestamp)), 64),
                         toUInt128(cityHash64(event_id))) AS order_key
            FROM error_rows FINAL WHERE {_OF_PROJECTS}
        )
        GROUP BY issue_id
    ) AS groups
    GLOBAL LEFT ANY JOIN
    (
        SELECT issue_id, last_status, release_after, changed_at FROM issue_states WHERE {_OF_PROJECTS}
    ) AS states USING (issue_id)
    GLOBAL LEFT ANY JOIN (SELECT issue_id, is_back FROM issue_returns WHERE {_OF_PROJECTS}) AS back USING (issue_id)
)"""
# Parts of different days never have rows that replace each other.
_FAST_FINAL: Final = " SETTINGS do_not_merge_across_partitions_select_final = 1"
_LAST_EVENTS: Final = f"""
SELECT event_id, item_type, event_type, title, exception_type, exception_message, severity_number, platform, body,
       attributes_string['culprit'] AS culprit, attributes_string['transaction'] AS transaction,
       attributes_string['code.file.path'] AS filename, attributes_string['code.function.name'] AS function,
       {IS_UNHANDLED} AS is_unhandled
FROM events
WHERE {_OF_PROJECTS}
  AND toStartOfFiveMinutes(timestamp) IN {{buckets:Array(DateTime('UTC'))}} AND event_id IN {{ids:Array(UUID)}}"""


@dataclass(frozen=True, slots=True)
class Search:
    """What a list of issues asks for."""

    organisation: str
    projects: Sequence[Channel]
    query: str = ""
    environments: Sequence[str] = ()
    period: Period | None = None
    order: str = "last_seen DESC"

    @property
    def is_limited(self) -> bool:
        """Whether only errors of some time or environment count."""
        return self.period is not None or bool(self.environments)


class IssueFinder:
    """Reads issues of one organisation."""

    def __init__(self, clickhouse: ClickHouse, registry_entries: KnownEntries, now: dt.datetime) -> None:
        self._clickhouse = clickhouse
        self._registry_entries = registry_entries
        self._now = now

    async def page(self, search: Search, *, limit: int, offset: int) -> list[Row]:
        """Issues with a matching error in the period, with the errors and users of the period.

        First which issues, by the columns that conditions and order need; then all columns of these few.
        """
        numbers = [int(row["issue_id"]) for row in await self._issue_numbers(search, limit, offset)]
        rows = await self.by_numbers(search.organisation, search.projects, numbers)
        by_number = {int(row["issue_id"]): row for row in rows}
        if search.is_limited:
            for counted in await self._counted(search, numbers):
                by_number[int(counted["issue_id"])] |= counted
        # An issue can lose its last error between two questions, by a replay.
        return [by_number[number] for number in numbers if number in by_number]

    async def _issue_numbers(self, search: Search, limit: int, offset: int) -> list[Row]:
        """Number and project of each."""
        if not search.projects:
            return []
        conditions = self._conditions(search)
        sql = f"{self._sql(search, conditions)} ORDER BY {search.order}, issue_id{_LIMITS}{_FAST_FINAL}"
        parameters = self._parameters(search, conditions)
        return await self._clickhouse.query(sql, **parameters, limit=limit, offset=offset)

    async def count(self, search: Search) -> int:
        """How many issues a search has, all pages together."""
        if not search.projects:
            return 0
        conditions = self._conditions(search)
        sql = f"SELECT count() AS issues FROM ({self._sql(search, conditions)}){_FAST_FINAL}"
        (row,) = await self._clickhouse.query(sql, **self._parameters(search, conditions)) or [{"issues": 0}]
        return int(row["issues"])

    async def _counted(self, search: Search, numbers: Sequence[int]) -> list[Row]:
        """Errors and users of the period for these issues."""
        if not numbers:
            return []
        sql = f"{_COUNTED} WHERE {_within(search)} AND issue_id IN {{numbers:Array(UInt64)}} GROUP BY issue_id"
        sql += _FAST_FINAL
        return await self._clickhouse.query(sql, **self._parameters(search, Conditions()), numbers=list(numbers))

    async def ids(self, search: Search) -> list[Row]:
        """Number and project of every issue of a search. Raises ApiError 400 above MAX_IN_BULK."""
        rows = await self._issue_numbers(search, MAX_IN_BULK, 0)
        if len(rows) >= MAX_IN_BULK:
            raise ApiError(400, f"query: expected fewer than {MAX_IN_BULK} issues to change at once, found more")
        return rows

    async def by_numbers(self, organisation: str, projects: Sequence[Channel], numbers: Sequence[int]) -> list[Row]:
        """The issues of these numbers, of these projects only. Those that do not exist are missing."""
        if not projects or not numbers:
            return []
        sql = f"{_ISSUES} WHERE {_OF_PROJECTS} AND issue_id IN {{numbers:Array(UInt64)}}"
        channels = [project.id for project in projects]
        return await self._clickhouse.query(sql, organisation=organisation, channels=channels, numbers=list(numbers))

    async def one(self, organisation: str, projects: Sequence[Channel], text: str) -> Row:
        """One issue by its number or short id. Raises ApiError 404."""
        rows = await self._matching(organisation, projects, text)
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

    async def _matching(self, organisation: str, projects: Sequence[Channel], text: str) -> list[Row]:
        if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_ID:
            return await self.by_numbers(organisation, projects, [int(text)])
        asked = issue_range(text)
        named = [project for project in projects if asked and project.project_slug.upper() == asked[0]]
        if asked is None or not named:
            return []
        sql = f"{_ISSUES} WHERE {_OF_PROJECTS} AND issue_id BETWEEN {{lowest:UInt64}} AND {{highest:UInt64}} LIMIT 10"
        channels = [project.id for project in named]
        _, lowest, highest = asked
        return await self._clickhouse.query(
            sql, organisation=organisation, channels=channels, lowest=lowest, highest=highest
        )

    def _conditions(self, search: Search) -> Conditions:
        def number(text: str) -> int | None:
            channel = self._registry_entries.project(search.organisation, text)
            return channel.id if channel else None

        return conditions(search.query, Language(number, lambda: self._now))

    def _sql(self, search: Search, conditions: Conditions) -> str:
        where = ["true"]
        if conditions.of_issue:
            where.append(conditions.of_issue)
        if conditions.of_event:
            where.append(f"issue_id GLOBAL IN ({_matching_errors(search, conditions)})")
        if not search.is_limited:
            return f"SELECT channel_id, issue_id FROM {_GROUPS} AS issue WHERE {' AND '.join(where)}"
        return (
            "SELECT channel_id, issue_id "
            f"FROM (SELECT * EXCEPT (times, users) FROM {_GROUPS} AS issue WHERE {' AND '.join(where)}) AS issue "
            f"GLOBAL INNER JOIN ({_COUNTED} WHERE {_within(search)} GROUP BY issue_id) AS counted USING (issue_id)"
        )

    def _parameters(self, search: Search, conditions: Conditions) -> dict[str, Value]:
        parameters: dict[str, Value] = {
            "organisation": search.organisation,
            "channels": [project.id for project in search.projects],
            **conditions.parameters,
        }
        if search.period:
            parameters |= search.period.parameters()
        if search.environments:
            parameters["environments"] = list(search.environments)
        return parameters


def _within(search: Search) -> str:
    parts = [_OF_PROJECTS]
    if search.period:
        parts.append(_IN_PERIOD)
    if search.environments:
        parts.append("environment IN {environments:Array(String)}")
    return " AND ".join(parts)


def _matching_errors(search: Search, conditions: Conditions) -> str:
    """The issues of errors for which the conditions hold: from the small table where it has all columns."""
    if not conditions.needs_events:
        return f"SELECT issue_id FROM error_rows FINAL WHERE {_within(search)} AND ({conditions.of_event})"
    return f"SELECT {ISSUE_ID_OF} FROM events WHERE {_within(search)} AND is_error AND ({conditions.of_event})"


def bucket_of(moment: str) -> str:
    """The five minutes of a time of ClickHouse, as in the sort key of event_rows."""
    seconds = int(dt.datetime.fromisoformat(moment[:19]).replace(tzinfo=dt.UTC).timestamp())
    begin = dt.datetime.fromtimestamp(seconds - seconds % FIVE_MINUTES_S, dt.UTC)
    return begin.strftime("%Y-%m-%d %H:%M:%S")
