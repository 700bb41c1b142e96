"""Errors of issues over time, for the small charts of lists: one number for each hour of a day, or day of a period."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from console.api.request import Period

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

# Length of a chart and of one of its intervals, in seconds.
CHARTS: Final = {"24h": (86_400, 3_600), "14d": (1_209_600, 86_400), "30d": (2_592_000, 86_400)}
_COUNTED: Final = """
SELECT issue_id, intDiv(toUnixTimestamp(timestamp), {interval:UInt32}) * {interval:UInt32} AS at, count() AS times
FROM error_rows FINAL
WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
  AND timestamp >= toDateTime64({begin:String}, 9, 'UTC') AND timestamp < toDateTime64({end:String}, 9, 'UTC')
  AND issue_id IN {issues:Array(UInt64)}
  AND (empty({environments:Array(String)}) OR environment IN {environments:Array(String)})
GROUP BY issue_id, at"""

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
    rows = await clickhouse.query(
        _COUNTED,
        organisation=organisation,
        channels=sorted({int(issue["channel_id"]) for issue in issues}),
        issues=[int(issue["issue_id"]) for issue in issues],
        interval=interval_s,
        environments=list(environments),
        **period.parameters(),
    )
    times = {(int(row["issue_id"]), int(row["at"])): int(row["times"]) for row in rows}
    begins = range(end_s - length_s, end_s, interval_s)
    numbers = [int(issue["issue_id"]) for issue in issues]
    return {number: [[at, times.get((number, at), 0)] for at in begins] for number in numbers}


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
