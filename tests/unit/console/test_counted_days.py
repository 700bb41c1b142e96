"""Lists of issues read counts of days in place of their errors, and errors where a day is not counted."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from console.api.errors import ApiError
from console.api.request import Period
from console.issues.counted_days import NOTHING_COUNTED, CountedDays, counted_days
from console.issues.find import IssueFinder
from console.issues.groups import Search
from console.issues.stats import charts
from console.storage.clickhouse import Row
from tests.unit.console.fakes import NOW, FakeClickHouse, registry_entries

pytestmark = pytest.mark.asyncio
COUNTED = CountedDays({"2026-11-24": 3, "2026-11-25": 4, "2026-11-26": 9})
DAY = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


def questions(clickhouse: FakeClickHouse) -> list[tuple[str, dict[str, Any]]]:
    """Those about issues."""
    return [asked for asked in clickhouse.asked if "AS latest_counting" not in asked[0]]


async def ask(clickhouse: FakeClickHouse, **search: Any) -> list[tuple[str, dict[str, Any]]]:
    """The questions of the most frequent issues."""
    entries = registry_entries()
    asked = Search("acme", entries.projects("acme"), order="times DESC", **search)
    await IssueFinder(clickhouse, entries, NOW).page(asked, limit=25, offset=0)  # type: ignore[arg-type]
    return questions(clickhouse)


@pytest.mark.parametrize(
    ("begin", "end", "whole"),
    [
        (DAY, DAY + dt.timedelta(days=1), ["2026-11-24", "2026-11-25", "2026-11-26"]),
        (DAY + dt.timedelta(microseconds=1), NOW, ["2026-11-24", "2026-11-26"]),
        (DAY, DAY + dt.timedelta(hours=1), ["2026-11-24", "2026-11-26"]),
        (DAY, DAY + dt.timedelta(days=1, hours=1), ["2026-11-24", "2026-11-25"]),
        (DAY.replace(hour=23).astimezone(dt.timezone(dt.timedelta(hours=5))), NOW, ["2026-11-24", "2026-11-26"]),
    ],
)
async def test_a_day_of_which_a_period_has_a_part_is_read(
    begin: dt.datetime, end: dt.datetime, whole: list[str]
) -> None:
    """Its counts are those of the whole day, UTC."""
    assert list(COUNTED.beside(Period(begin, end)).countings) == whole
    assert COUNTED.beside(None) is COUNTED


async def test_counts_are_read_in_place_of_the_errors_of_their_days() -> None:
    """Both conditions name the same days; each question has its organisation, and one question asks for the days."""
    clickhouse = FakeClickHouse(lambda _sql, _parameters: [])
    clickhouse.countings = dict(COUNTED.countings)
    ((sql, given),) = await ask(clickhouse)
    assert given["counted_days"] == ["2026-11-24", "2026-11-25", "2026-11-26"]
    assert given["countings"] == [3, 4, 9]
    assert sql.count("toDate(timestamp) NOT IN {counted_days:Array(Date)}") == 3
    assert sql.count("counting_id IN {countings:Array(UInt64)}") == 3
    assert [given["organisation"] for _, given in clickhouse.asked] == ["acme", "acme"]


async def test_errors_are_read_where_nothing_is_counted() -> None:
    """No parameter without its place, no table without need."""
    ((sql, given),) = await ask(FakeClickHouse(lambda _sql, _parameters: []))
    assert "issue_day_rows" not in sql
    assert "counted_days" not in given
    assert "countings" not in given


async def test_conditions_on_the_time_of_an_error_read_errors() -> None:
    """A count of a day does not know them; release and level it knows."""
    for query, expected in (
        ("timestamp:<2026-11-25T10:00:00", 3),
        ("has:timestamp", 3),
        ("release:1.0 level:error", 4),
    ):
        clickhouse = FakeClickHouse(lambda _sql, _parameters: [])
        clickhouse.countings = dict(COUNTED.countings)
        ((sql, _),) = await ask(clickhouse, query=query)
        assert sql.count("counting_id IN") == expected, query


async def test_tables_or_rights_of_an_older_version_cost_only_time() -> None:
    """The question for the days is refused: every error is read."""

    def refused(sql: str, _parameters: dict[str, Any]) -> list[Row]:
        raise ApiError(503, sql)

    class Older(FakeClickHouse):
        async def query(self, sql: str, **parameters: Any) -> list[Row]:
            return refused(sql, parameters)

    assert await counted_days(Older(), "acme") == NOTHING_COUNTED  # type: ignore[arg-type]


@pytest.mark.parametrize(("resolved_by_release", "expected"), [(0, False), (2, True)])
async def test_releases_are_looked_at_only_where_one_has_resolved_something(
    resolved_by_release: int, *, expected: bool
) -> None:
    """The question for the days says whether."""
    clickhouse = FakeClickHouse(lambda _sql, _parameters: [])
    clickhouse.countings = {"": resolved_by_release}
    ((sql, _),) = await ask(clickhouse)
    assert ("release_rows" in sql) == expected


@pytest.mark.parametrize(("name", "expected"), [("24h", False), ("14d", True), ("30d", True)])
async def test_charts_by_day_read_counts_and_charts_by_hour_errors(name: str, *, expected: bool) -> None:
    """A day is one number of the first, and several of the second."""
    clickhouse = FakeClickHouse(lambda _sql, _parameters: [])
    clickhouse.countings = dict(COUNTED.countings)
    await charts(clickhouse, "acme", [{"channel_id": 1, "issue_id": 77}], name, NOW)  # type: ignore[arg-type]
    ((sql, given),) = questions(clickhouse)
    assert ("issue_day_rows" in sql, "countings" in given) == (expected, expected)
