"""What issue rules ask ClickHouse, for all rules of an organisation: active issues, since when, how many errors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.issues.find import NUMBERS_AT_ONCE
from console.storage.clickhouse import MAX_ROWS
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

# Channel and number of an issue.
IssueKey = tuple[int, int]
# Issues of which it is remembered when their first error came.
MAX_KNOWN: Final = 200_000
_OF_CHANNELS: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
# Copies of a row change nothing here, so FINAL is not needed.
_ACTIVE: Final = f"""
SELECT channel_id, issue_id, environment, toUnixTimestamp64Nano(min(received_at)) AS first_received,
       toUnixTimestamp64Nano(max(received_at)) AS last_received,
       toUnixTimestamp64Nano(min(timestamp)) AS first_at, toUnixTimestamp64Nano(max(timestamp)) AS last_at
FROM error_rows
WHERE {_OF_CHANNELS} AND received_at > toDateTime64({{begin:String}}, 9, 'UTC')
  AND received_at <= toDateTime64({{end:String}}, 9, 'UTC')
GROUP BY channel_id, issue_id, environment ORDER BY first_received, issue_id, environment LIMIT {MAX_ROWS}"""
_FIRST: Final = f"""
SELECT channel_id, issue_id, environment, toUnixTimestamp64Nano(min(received_at)) AS first_received
FROM error_rows WHERE {_OF_CHANNELS} AND issue_id IN {{issues:Array(UInt64)}}
GROUP BY channel_id, issue_id, environment LIMIT {MAX_ROWS}"""
_COUNTED: Final = f"""
SELECT channel_id, issue_id, count() AS events, uniqExactIf(user_hash, user_hash != 0) AS users
FROM error_rows FINAL
WHERE {_OF_CHANNELS} AND issue_id IN {{issues:Array(UInt64)}} AND timestamp > toDateTime64({{begin:String}}, 9, 'UTC')
  AND timestamp <= toDateTime64({{end:String}}, 9, 'UTC') AND ({{environment:String}} IN ('', environment))
GROUP BY channel_id, issue_id SETTINGS do_not_merge_across_partitions_select_final = 1"""
_AFTER: Final = f"""
SELECT channel_id, issue_id, toUnixTimestamp64Nano(min(received_at)) AS first_after FROM error_rows
WHERE {_OF_CHANNELS} AND issue_id IN {{issues:Array(UInt64)}} AND received_at > toDateTime64({{begin:String}}, 9, 'UTC')
  AND toUnixTimestamp64Nano(received_at)
    > transform(issue_id, {{issues:Array(UInt64)}}, {{moments:Array(Int64)}}, toInt64(0))
GROUP BY channel_id, issue_id"""
# Issues of one question about first errors: the answer has a row for each of their environments.
_CHUNK: Final = 500
EVERY_ENVIRONMENT: Final = ""


@dataclass(frozen=True, slots=True)
class ActiveIssue:
    """Errors of one issue that came in a time. `first_ever_ns`: when its very first one came."""

    key: IssueKey
    first_ever_ns: int
    last_received_ns: int
    # Of the errors' own times.
    first_at_ns: int
    last_at_ns: int


@dataclass(frozen=True, slots=True)
class _ActiveRow:
    key: IssueKey
    environment: str
    first_received_ns: int
    last_received_ns: int
    first_at_ns: int
    last_at_ns: int


class KnownIssues:
    """When the first error of each issue and environment came: it is asked once, then remembered."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._first: OrderedDict[tuple[str, IssueKey, str], int] = OrderedDict()

    async def learn(self, organisation: str, rows: Sequence[_ActiveRow]) -> None:
        """Asks for those that are not known. Raises ApiError."""
        wanted = sorted({row.key for row in rows if (organisation, row.key, row.environment) not in self._first})
        for begin in range(0, len(wanted), _CHUNK):
            chunk = wanted[begin : begin + _CHUNK]
            answer = await self._clickhouse.query(
                _FIRST,
                organisation=organisation,
                channels=sorted({channel for channel, _ in chunk}),
                issues=[issue for _, issue in chunk],
            )
            for row in answer:
                self._note(organisation, row)
        while len(self._first) > MAX_KNOWN:
            self._first.popitem(last=False)

    def _note(self, organisation: str, row: Row) -> None:
        key, first_ns = (int(row["channel_id"]), int(row["issue_id"])), int(row["first_received"])
        self._first[organisation, key, str(row["environment"])] = first_ns
        every = organisation, key, EVERY_ENVIRONMENT
        self._first[every] = min(first_ns, self._first.get(every, first_ns))

    def first_ns(self, organisation: str, key: IssueKey, environment: str, otherwise_ns: int) -> int:
        """When the first error of an issue came, in an environment or in any."""
        return min(self._first.get((organisation, key, environment), otherwise_ns), otherwise_ns)


class Activity:
    """The active issues of an organisation's channels in a time."""

    def __init__(self, organisation: str, rows: Sequence[_ActiveRow], known: KnownIssues) -> None:
        self.organisation = organisation
        self._rows = rows
        self._known = known

    @property
    def issues(self) -> list[IssueKey]:
        """All of them, each once."""
        return sorted({row.key for row in self._rows})

    def of(self, channels: Collection[int], environment: str, after_ns: int) -> list[ActiveIssue]:
        """Those of a rule with an error after a time; "" is every environment."""
        grouped: dict[IssueKey, list[_ActiveRow]] = {}
        for row in self._rows:
            if row.key[0] in channels and environment in ("", row.environment) and row.last_received_ns > after_ns:
                grouped.setdefault(row.key, []).append(row)
        return [self._issue(key, rows, environment) for key, rows in grouped.items()]

    def _issue(self, key: IssueKey, rows: Sequence[_ActiveRow], environment: str) -> ActiveIssue:
        first_here_ns = min(row.first_received_ns for row in rows)
        return ActiveIssue(
            key,
            self._known.first_ns(self.organisation, key, environment, first_here_ns),
            max(row.last_received_ns for row in rows),
            min(row.first_at_ns for row in rows),
            max(row.last_at_ns for row in rows),
        )


class ActivityReader:
    """Asks once for all rules of an organisation."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._known = KnownIssues(clickhouse)

    async def read(
        self, organisation: str, channels: Sequence[int], begin_ns: int, end_ns: int
    ) -> tuple[Activity, int]:
        """The activity, and the end of the time that it is complete for. Raises ApiError."""
        answer = await self._clickhouse.query(
            _ACTIVE,
            organisation=organisation,
            channels=list(channels),
            begin=time_text(begin_ns),
            end=time_text(end_ns),
        )
        rows = [_active(row) for row in answer]
        if len(rows) >= MAX_ROWS:  # the rest in the next round
            end_ns = max(begin_ns + 1, rows[-1].first_received_ns - 1)
        await self._known.learn(organisation, rows)
        return Activity(organisation, rows, self._known), end_ns

    async def counts(
        self, activity: Activity, window: tuple[int, int], environment: str
    ) -> Mapping[IssueKey, tuple[int, int]]:
        """Errors and users of each active issue in a time, by the errors' own times. Raises ApiError."""
        counts: dict[IssueKey, tuple[int, int]] = {}
        issues = activity.issues
        for first in range(0, len(issues), NUMBERS_AT_ONCE):
            chunk = issues[first : first + NUMBERS_AT_ONCE]
            rows: list[Row] = await self._clickhouse.query(
                _COUNTED,
                organisation=activity.organisation,
                channels=sorted({channel for channel, _ in chunk}),
                issues=[issue for _, issue in chunk],
                begin=time_text(window[0]),
                end=time_text(window[1]),
                environment=environment,
            )
            counts |= {_key(row): (int(row["events"]), int(row["users"])) for row in rows}
        return counts

    async def first_after(self, organisation: str, moments: Mapping[IssueKey, int]) -> dict[IssueKey, int]:
        """When the first error of each issue after its moment came; issues without one are missing. Raises ApiError."""
        first: dict[IssueKey, int] = {}
        for channel in sorted({channel for channel, _ in moments}):
            issues = sorted(issue for of, issue in moments if of == channel)
            for begin in range(0, len(issues), _CHUNK):
                chunk = issues[begin : begin + _CHUNK]
                chunk_ns = [moments[channel, issue] for issue in chunk]
                rows = await self._clickhouse.query(
                    _AFTER,
                    organisation=organisation,
                    channels=[channel],
                    issues=chunk,
                    moments=chunk_ns,
                    begin=time_text(min(chunk_ns)),
                )
                first |= {_key(row): int(row["first_after"]) for row in rows}
        return first


def _key(row: Row) -> IssueKey:
    return int(row["channel_id"]), int(row["issue_id"])


def _active(row: Row) -> _ActiveRow:
    return _ActiveRow(
        _key(row),
        str(row["environment"]),
        int(row["first_received"]),
        int(row["last_received"]),
        int(row["first_at"]),
        int(row["last_at"]),
    )
