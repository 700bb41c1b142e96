"""Discover: what is asked of ClickHouse, what is answered, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from console.api.errors import ApiError
from console.explore.series import read_interval
from console.issues.ids import short_id
from console.storage.clickhouse import Row
from schemas.registry import Channel
from tests.unit.console.fakes import FakeClickHouse, client, services

pytestmark = pytest.mark.asyncio
EVENTS = "/api/0/organizations/acme/events/"
PLACE: Row = {
    "event_id": "00000000-0000-0000-0000-0000000000aa",
    "timestamp": "2026-11-27 11:59:00.123456789",
    "channel_id": 1,
}


def one_event(sql: str, _parameters: dict[str, Any]) -> list[Row]:
    """One event of project `web`, in both questions about it."""
    values = ["KeyError", PLACE["timestamp"], 1, [1, 77], "", ""]
    return [PLACE | {f"c{number}": value for number, value in enumerate(values)}] if "FROM events" in sql else []


async def test_events_with_fields() -> None:
    """Project as slug, issue as short id, time as ISO 8601, a tag that is not there as null; types beside them."""
    asked = FakeClickHouse(one_event)
    fields = ["title", "timestamp", "project", "issue", "user.email", "till"]
    async with client(services(asked)) as asking:
        answer = await asking.get(EVENTS, params={"field": fields, "statsPeriod": "1h"})
    (row,) = answer.json()["data"]
    assert row == {
        "title": "KeyError",
        "timestamp": "2026-11-27T11:59:00.123456Z",
        "project": "web",
        "issue": short_id(Channel(id=1, organisation="acme", slug="web"), 77),
        "user.email": "",
        "till": None,
    }
    assert answer.json()["meta"]["fields"]["timestamp"] == "date"
    places, columns = asked.asked
    assert "ORDER BY timestamp DESC, event_id LIMIT" in places[0]
    assert columns[1]["ids"] == [PLACE["event_id"]]
    assert columns[1]["buckets"] == ["2026-11-27 11:55:00"]


async def test_the_newest_events_are_looked_for_in_the_last_hour_first() -> None:
    """A longer time is read only where a page is not full; another order reads all of it at once."""
    asked = FakeClickHouse()
    async with client(services(asked)) as asking:
        await asking.get(EVENTS, params={"field": "title", "statsPeriod": "30d"})
        begins = [parameters["begin"][:13] for _, parameters in asked.asked]
        assert begins == ["2026-11-27 11", "2026-11-26 12", "2026-11-20 12", "2026-10-28 12"]
        asked.asked.clear()
        await asking.get(EVENTS, params={"field": "title", "statsPeriod": "30d", "sort": "title"})
    assert [parameters["begin"][:13] for _, parameters in asked.asked] == ["2026-10-28 12"]


async def test_groups() -> None:
    """Fields beside a function are what is grouped by; conditions on functions hold of the group."""
    asked = FakeClickHouse()
    query = "level:error count():>5"
    async with client(services(asked)) as asking:
        params = {"field": ["title", "count()"], "query": query, "sort": "-count", "environment": "production"}
        assert (await asking.get(EVENTS, params=params)).status_code == 200
    ((sql, parameters),) = asked.asked
    assert "GROUP BY c0 HAVING (count() > {q" in sql
    assert "ORDER BY count() DESC, c0 LIMIT" in sql
    assert "environment IN {environments:Array(String)}" in sql
    assert parameters["environments"] == ["production"]


async def test_states_of_issues_are_conditions_on_errors_only() -> None:
    """By the view of issues of the same projects."""
    asked = FakeClickHouse()
    async with client(services(asked)) as asking:
        params = {"field": "count()", "query": "is:resolved"}
        assert (await asking.get(EVENTS, params=params)).status_code == 200
        of_spans = await asking.get(EVENTS, params=params | {"dataset": "spans"})
    assert "GLOBAL IN (SELECT channel_id, issue_id FROM issues WHERE organisation = {o" in asked.asked[0][0]
    assert (of_spans.status_code, len(asked.asked)) == (400, 1)
    assert "a field that this server has" in of_spans.json()["detail"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "field: expected 1 to 40 fields, found 0"),
        ({"field": ["x"] * 2 + [f"f{number}" for number in range(41)]}, "field: expected 1 to 40"),
        ({"field": "title", "dataset": "replays"}, "dataset: expected one of errors, discover, spans"),
        ({"field": "title", "query": "count():>1"}, "a condition on a function beside a field with one"),
        ({"field": ["title", "count()"], "sort": "timestamp"}, "sort: expected one of the fields, title, count()"),
        ({"field": "title", "sort": ["a", "b", "c", "d", "e", "f"]}, "sort: expected at most 5"),
        ({"field": "title", "sort": "drop()"}, "field: expected a field, a tag, or one of count()"),
        ({"field": "title", "cursor": "0:-1:0"}, "cursor: expected one of the Link header"),
        ({"field": "title", "cursor": "0:999999:0"}, "cursor: expected one of the Link header"),
        ({"field": "title", "per_page": "0"}, "per_page: expected a number from 1 to 1000"),
        ({"field": "title", "query": "level:loud"}, "one of fatal, error"),
        ({"field": "title", "query": "project:secret"}, "the slug or number of a project of this organisation"),
        ({"field": "title", "query": "issue:SECRET-00000000"}, "the short id of an issue of this organisation"),
        ({"field": "title", "statsPeriod": "1h", "start": "2026-01-01"}, "statsPeriod: expected it, or start and end"),
        ({"field": "title", "dataset": "spans", "query": "span.duration:long"}, "a duration like 300ms"),
        ({"field": "title", "dataset": "spans", "query": "is_transaction:maybe"}, "one of true, 1, false, 0"),
        ({"field": "title", "query": "count():>5 OR level:error"}, "or functions"),
    ],
)
async def test_a_wrong_question_is_refused_unasked(params: dict[str, Any], expected: str) -> None:
    """With what would be right."""
    asked = FakeClickHouse()
    async with client(services(asked)) as asking:
        answer = await asking.get(EVENTS, params=params)
    assert (answer.status_code, asked.asked) == (400, [])
    assert expected in answer.json()["detail"]


async def test_a_project_of_others_is_none() -> None:
    """404, and nothing is asked, on every route that takes `project=`."""
    asked = FakeClickHouse()
    async with client(services(asked)) as asking:
        for path in ("events", "events-stats", "events-timeseries", "trace-items/attributes", "tags", "trace-logs"):
            params = {"project": "9", "field": "title", "traceId": "a" * 32}
            answer = await asking.get(f"/api/0/organizations/acme/{path}/", params=params)
            assert answer.status_code == 404, path
    assert asked.asked == []


async def test_a_period_before_all_time_is_all_time() -> None:
    """And no time that ClickHouse cannot read."""
    asked = FakeClickHouse()
    async with client(services(asked)) as asking:
        for path in (EVENTS, "/api/0/organizations/acme/issues/"):
            params = {"field": "count()", "statsPeriod": "99999w"}
            assert (await asking.get(path, params=params)).status_code == 200
    begins = {given["begin"] for sql, given in asked.asked if "AS latest_counting" not in sql}
    assert begins == {"1971-01-01 00:00:00.000000"}


async def test_validate_says_what_is_wrong_with_each_part() -> None:
    """Tools ask before they ask; nothing is read for it."""
    asked = FakeClickHouse()
    url = f"{EVENTS}validate/"
    async with client(services(asked)) as asking:
        params = {"dataset": "spans", "field": ["span.op", "p95()", "nope()"], "orderby": "-p95()", "query": "a:["}
        wrong = (await asking.get(url, params=params)).json()
        right = (await asking.get(url, params={"field": ["title", "count()"], "orderby": "-count()"})).json()
        unknown = (await asking.get(url, params={"dataset": "x", "field": "title"})).json()
    assert [one["valid"] for one in wrong["field"]] == [True, True, False]
    assert [one["attrType"] for one in wrong["field"]] == ["string", "number", None]
    assert (wrong["valid"], wrong["query"]["valid"], wrong["orderby"][0]["valid"]) == (False, False, True)
    assert "closing ]" in wrong["query"]["error"]
    assert (right["valid"], right["query"], right["projects"]) == (
        True,
        {"valid": True, "error": None, "fields": []},
        [{"valid": True, "error": None}],
    )
    assert (unknown["valid"], unknown["dataset"][0]["valid"]) == (False, False)
    assert asked.asked == []


async def test_a_series_has_every_interval() -> None:
    """With 0 where nothing was counted, and null where nothing was measured."""
    asked = FakeClickHouse(lambda *_: [{"at": 1_795_777_200, "c0": 5, "c1": 1.5}])
    params = {"dataset": "spans", "yAxis": ["count()", "p95()"], "statsPeriod": "3h", "interval": "1h"}
    async with client(services(asked)) as asking:
        stats = (await asking.get("/api/0/organizations/acme/events-stats/", params=params)).json()
        answer = await asking.get("/api/0/organizations/acme/events-timeseries/", params=params)
        single = (await asking.get("/api/0/organizations/acme/events-stats/", params={"interval": "1h"})).json()
    assert [point[1][0]["count"] for point in stats["count()"]["data"]] == [0, 0, 5, 0]
    counted, measured = answer.json()["timeSeries"]
    assert [point["value"] for point in measured["values"]] == [None, None, 1.5, None]
    assert counted["values"][0]["timestamp"] == 1_795_770_000_000
    assert [point["incomplete"] for point in counted["values"]] == [False, False, False, True]
    assert "at most 1500 intervals" in single["detail"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"interval": "1s", "statsPeriod": "30d"}, "at most 1500 intervals"),
        ({"interval": "0h"}, "interval: expected a time like 5m"),
        ({"interval": "soon"}, "interval: expected a time like 5m"),
        ({"yAxis": "title"}, "yAxis: expected 1 to 5 functions"),
        ({"yAxis": ["count()"] + [f"p95(a{number})" for number in range(5)]}, "yAxis: expected 1 to 5 functions"),
        ({"topEvents": "5", "yAxis": "count()"}, "topEvents: expected series of all events"),
    ],
)
async def test_a_series_that_is_too_long_is_refused_unasked(params: dict[str, Any], expected: str) -> None:
    """With what would be right."""
    asked = FakeClickHouse()
    async with client(services(asked)) as asking:
        answer = await asking.get("/api/0/organizations/acme/events-stats/", params=params)
    assert (answer.status_code, asked.asked) == (400, [])
    assert expected in answer.json()["detail"]


@pytest.mark.parametrize(
    ("number", "query", "shown", "has_more"),
    [
        (1, "per_page=2", 1, "false"),
        (2, "per_page=2", 2, "false"),
        (3, "per_page=2", 2, "true"),
        (3, "per_page=2&cursor=0:2:0", 1, "false"),
        (2, "per_page=2&attributeType=number", 0, "false"),
    ],
)
async def test_pages_of_attributes(number: int, query: str, shown: int, has_more: str) -> None:
    """A page that is just full is the last one if nothing follows."""
    rows = [{"name": f"till.number{one}", "type": "string", "times": 1} for one in range(number)]
    async with client(services(FakeClickHouse(lambda *_: rows))) as asking:
        url = "/api/0/organizations/acme/trace-items/attributes/"
        answer = await asking.get(f"{url}?itemType=spans&substringMatch=till.&{query}")
    assert len(answer.json()) == shown
    assert f'rel="next"; results="{has_more}"' in answer.headers["link"]


async def test_attributes_are_known_by_name_and_type() -> None:
    """Our own fields by their name; an attribute that is no text by name and type, as queries write it."""
    rows = [
        {"name": "till", "type": "string"},
        {"name": "till", "type": "number"},
        {"name": "span.op", "type": "number"},
    ]
    url = "/api/0/organizations/acme/trace-items/attributes/"
    async with client(services(FakeClickHouse(lambda *_: rows))) as asking:
        shapes = (await asking.get(url, params={"itemType": "spans"})).json()
        wrong = await asking.get(url, params={"itemType": "replays"})
    named = {shape["key"]: (shape["name"], shape["attributeSource"]["source_type"]) for shape in shapes}
    assert named["till"] == ("till", "user")
    assert named["tags[till,number]"] == ("till", "user")
    assert named["span.op"] == ("span.op", "sentry")
    assert "tags[span.op,number]" not in named, "a field of ours hides an attribute of its name"
    types = {shape["name"]: shape["attributeType"] for shape in shapes if shape["name"] != "till"}
    assert (types["span.op"], types["span.duration"]) == ("string", "number")
    assert (wrong.status_code, wrong.json()["detail"].split(",")[0]) == (400, "itemType: expected one of spans")


@pytest.mark.parametrize(
    ("field", "type_"),
    [
        ("timestamp", "string"),
        ("span.op", "string"),
        ("span.duration", "number"),
        ("p95()", "number"),
        ("count()", "number"),
        ("count_unique(span.op)", "number"),
        ("failure_rate()", "number"),
        ("is_transaction", "boolean"),
    ],
)
async def test_validate_names_the_type_of_a_field(field: str, type_: str) -> None:
    """As one of three: a time is a text, everything that is counted or measured is a number."""
    async with client(services(FakeClickHouse())) as asking:
        params = {"dataset": "spans", "field": field}
        answer = (await asking.get(f"{EVENTS}validate/", params=params)).json()
    assert answer["field"] == [{"name": field, "valid": True, "attrType": type_, "error": None}]


@pytest.mark.parametrize(
    ("length_s", "interval_s"),
    [
        *((1, 10), (1_500, 10), (1_501, 60), (9_000, 60), (9_001, 300), (3_600, 60), (86_400, 900)),
        *((14 * 86_400, 14_400), (150 * 2_592_000, 2_592_000), (400 * 2_592_000, 2_592_000)),
    ],
)
async def test_an_interval_that_nobody_names_gives_at_most_150_points(length_s: float, interval_s: int) -> None:
    """The shortest that does; of a time longer than all of them, the longest."""
    assert read_interval("", length_s) == read_interval("auto", length_s) == interval_s


async def test_an_interval_that_is_named_gives_at_most_1500_points() -> None:
    assert read_interval("10s", 15_000) == 10
    with pytest.raises(ApiError, match="at most 1500 intervals"):
        read_interval("10s", 15_001)
