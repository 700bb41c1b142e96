"""Functions of events over time: one number for each interval of the period."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from console.api.errors import ApiError

if TYPE_CHECKING:
    from console.explore.question import Question
    from console.storage.clickhouse import ClickHouse

MAX_INTERVALS: Final = 1_500
MAX_SERIES: Final = 5
_INTERVAL: Final = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# The first that gives at most 150 points.
_STEPS_S: Final = (10, 60, 300, 900, 1_800, 3_600, 14_400, 43_200, 86_400, 604_800, 2_592_000)

# The beginning of an interval in seconds, and the value of each column.
Points = list[tuple[int, list[float | None]]]


def read_interval(text: str, length_s: float) -> int:
    """Seconds of `interval=`, or what suits a period of this length. Raises ApiError 400."""
    if not text or text == "auto":
        return next((step for step in _STEPS_S if length_s / step <= 150), _STEPS_S[-1])
    match = _INTERVAL.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not seconds or length_s / seconds > MAX_INTERVALS:
        least = f"a time like 5m or 1h that gives at most {MAX_INTERVALS} intervals of the period"
        raise ApiError(400, f"interval: expected {least}, found {text[:40]!r}")
    return seconds


async def read_points(clickhouse: ClickHouse, question: Question, interval_s: int) -> Points:
    """Every interval of the period, also those without events."""
    columns = question.columns
    if not all(column.is_aggregate for column in columns) or len(columns) > MAX_SERIES:
        raise ApiError(400, f"yAxis: expected 1 to {MAX_SERIES} functions like count(), found another field")
    if question.conditions.of_group:
        raise ApiError(400, "query: expected fields of events, found a condition on a function")
    selected = ", ".join(f"{column.sql} AS c{number}" for number, column in enumerate(columns))
    rows = (
        await clickhouse.query(
            f"SELECT intDiv(toUnixTimestamp(timestamp), {{interval:UInt32}}) * {{interval:UInt32}} AS at, {selected} "
            f"FROM events WHERE {question.where} GROUP BY at",
            **{**question.parameters.values, **question.scope.parameters()},
            interval=interval_s,
        )
        if question.scope.projects
        else []
    )
    values = {int(row["at"]): [_number(row[f"c{number}"]) for number in range(len(columns))] for row in rows}
    nothing: list[float | None] = [0 if column.type == "integer" else None for column in columns]
    period = question.scope.period
    begin = int(period.begin.timestamp()) // interval_s * interval_s
    end = int(min(period.end, max(question.scope.now, period.begin + dt.timedelta(seconds=1))).timestamp())
    return [(at, values.get(at, nothing)) for at in range(begin, end + 1, interval_s)]


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def as_stats(points: Points, names: Sequence[str]) -> dict[str, Any]:
    """As /events-stats/ answers: one series, or several by their names."""
    shown = {
        name: {
            "data": [[at, [{"count": values[number] or 0}]] for at, values in points],
            "order": number,
            "start": points[0][0],
            "end": points[-1][0],
            "isMetricsData": False,
        }
        for number, name in enumerate(names)
    }
    return next(iter(shown.values())) if len(shown) == 1 else shown


def as_timeseries(points: Points, question: Question, interval_s: int) -> dict[str, Any]:
    """As /events-timeseries/ answers; times are in milliseconds, and the last interval is not over."""
    now_s = int(question.scope.now.timestamp())
    series = [
        {
            "yAxis": column.name,
            "values": [
                {"timestamp": at * 1000, "value": values[number], "incomplete": at + interval_s > now_s}
                for at, values in points
            ],
            "meta": {"interval": interval_s * 1000, "valueType": column.type, "valueUnit": None},
        }
        for number, column in enumerate(question.columns)
    ]
    meta = {"dataset": question.dataset.name, "start": points[0][0] * 1000, "end": points[-1][0] * 1000}
    return {"timeSeries": series, "meta": meta}
