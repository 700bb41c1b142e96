"""Errors of issues over time, for the small charts of lists: one number for each hour of a day, or day of a period."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from console.api.request import Period
from console.issues.counted_days import NOTHING_COUNTED, OF_COUNTINGS, UNCOUNTED, counted_days
from console.issues.groups import FAST_FINAL, OF_PROJECTS
from schemas.issues.day_counts import COUNTS_TABLE

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

# Length of a chart and of one of its intervals, in seconds.
CHARTS: Final = {"24h": (86_400, 3_600), "14d": (1_209_600, 86_400), "30d": (2_592_000, 86_400)}
DAY_S: Final = 86_400
_OF_ISSUES: Final = f"{OF_PROJECTS} AND issue_id IN {{issues:Array(UInt64)}}"
_OF_ENVIRONMENTS: Final = "(empty({environments:Array(String)}) OR environment IN {environments:Array(String)})"
_FROM: Final = ">= toDateTime64({begin:String}, 9, 'UTC')"
_BEFORE: Final = "< toDateTime64({end:String}, 9, 'UTC')"
_READ: Final = f"""
SELECT issue_id, intDiv(toUnixTimestamp(timestamp), {{interval:UInt32}}) * {{interval:UInt32}} AS at, count() AS times
FROM error_rows FINAL WHERE {_OF_ISSUES} AND timestamp {_FROM} AND timestamp {_BEFORE} AND {_OF_ENVIRONMENTS}"""
_BY_TIME: Final = " GROUP BY issue_id, at"
# Of charts by day: a day is either read or counted already.
_OR_COUNTED: Final = f""" AND {UNCOUNTED}{_BY_TIME}
UNION ALL
SELECT issue_id, toUnixTimestamp(toDateTime(day, 'UTC')) AS at, sum(times) AS of_day FROM {COUNTS_TABLE}
WHERE {_OF_ISSUES} AND first_seen {_FROM} AND first_seen {_BEFORE} AND {_OF_ENVIRONMENTS}
  AND {OF_COUNTINGS}{_BY_TIME}"""

Chart = list[list[int]]


async def charts(  # noqa: PLR0913 (one for each part of the question)
    clickhouse: ClickHouse,
    organisation: str,
    issues: Sequence[Row],
    name: str,
    now: dt.datetime,
    *,
    environments: Sequence[str] = (),
) -> dict[int, Chart]:
    """`[[seconds, errors], …]` of each issue, the current interval last; without environments, of all of them."""
    length_s, interval_s = CHARTS[name]
    end_s = int(now.timestamp()) // interval_s * interval_s + interval_s
    period = Period(_moment(end_s - length_s), _moment(end_s))
    if not issues:
        return {}
    counted = await counted_days(clickhouse, organisation) if interval_s == DAY_S else NOTHING_COUNTED
    counts = f"{_READ}{_OR_COUNTED if counted.countings else _BY_TIME}"
    rows = await clickhouse.query(
        f"SELECT issue_id, at, times FROM ({counts}){FAST_FINAL}",
        organisation=organisation,
        channels=sorted({int(issue["channel_id"]) for issue in issues}),
        issues=[int(issue["issue_id"]) for issue in issues],
        interval=interval_s,
        environments=list(environments),
        **period.parameters(),
        **counted.parameters(),
    )
    times = {(int(row["issue_id"]), int(row["at"])): int(row["times"]) for row in rows}
    begins = range(end_s - length_s, end_s, interval_s)
    numbers = [int(issue["issue_id"]) for issue in issues]
    return {number: [[at, times.get((number, at), 0)] for at in begins] for number in numbers}


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
