"""Answers of the Web API with a database that says what the test says."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from console.issues.find import IssueFinder
from console.issues.ids import short_id
from console.storage.clickhouse import Row, text_of
from schemas.registry import Channel
from tests.unit.console.fakes import NOW, FakeClickHouse, client, services

pytestmark = pytest.mark.asyncio
NEVER = "1970-01-01 00:00:00.000000000"
ISSUE: Row = {
    "channel_id": 1,
    "issue_id": 77,
    "status": "unresolved",
    "is_regressed": False,
    "resolved_in": "",
    "release_after": NEVER,
    "changed_at": NEVER,
    "first_seen": "2026-11-27 10:00:00.123456789",
    "last_seen": "2026-11-27 11:00:00.000000000",
    "first_release": "1.0",
    "last_release": "1.1",
    "last_event_id": "00000000-0000-0000-0000-0000000000aa",
    "times": 12,
    "users": 3,
}
# What the question for the first and last errors of issues answers.
ENDS = ("issue_id", "first_release", "last_release", "last_event_id")
LAST: Row = {
    "event_id": ISSUE["last_event_id"],
    "title": "KeyError: 'x'",
    "exception_type": "KeyError",
    "exception_message": "'x'",
    "severity_number": 21,
    "platform": "python",
    "culprit": "pay.py in pay",
}


def asks_for_issues(sql: str) -> bool:
    """For the order of a list, for all columns of some issues, or for what their first and last errors say."""
    of_errors = ("AS newest", "AS last_event_id", "SELECT DISTINCT issue_id")
    return ") AS issue" in sql or any(text in sql for text in of_errors)


def one_issue(sql: str, parameters: dict[str, Any]) -> list[Row]:
    """Issue 77 of project `web`, wherever it is asked for."""
    if asks_for_issues(sql):
        numbers = parameters.get("numbers", [77])
        return [ISSUE] if 77 in numbers and 1 in parameters["channels"] else []
    return [LAST] if "FROM events" in sql else []


async def test_an_issue_as_tools_read_it() -> None:
    """Numbers as text, both ids, times in ISO 8601, the project, a link."""
    async with client(services(FakeClickHouse(one_issue))) as asking:
        answer = await asking.get("/api/0/projects/acme/web/issues/")
    (issue,) = answer.json()
    assert (issue["id"], issue["count"], issue["userCount"]) == ("77", "12", 3)
    assert issue["shortId"] == short_id(Channel(id=1, organisation="acme", slug="web"), 77)
    assert (issue["title"], issue["culprit"], issue["level"]) == ("KeyError: 'x'", "pay.py in pay", "fatal")
    assert issue["firstSeen"] == "2026-11-27T10:00:00.123456Z"
    assert issue["project"] == {"id": "1", "slug": "web", "name": "Web shop", "platform": "python"}
    assert issue["permalink"] == "http://console.test/organizations/acme/issues/77/"
    assert issue["metadata"]["type"] == "KeyError"


async def test_links_to_other_pages_carry_a_cursor() -> None:
    """sentry-cli follows `cursor="…"` of the next page while it says that there are results."""
    rows = [ISSUE | {"issue_id": number} for number in range(3)]

    def many(sql: str, parameters: dict[str, Any]) -> list[Row]:
        wanted = [row for row in rows if row["issue_id"] in parameters.get("numbers", range(3))]
        return wanted[: parameters.get("limit", 99)] if asks_for_issues(sql) else []

    async with client(services(FakeClickHouse(many))) as asking:
        answer = await asking.get("/api/0/organizations/acme/issues/?limit=2&query=level:error")
    before, after = answer.headers["link"].split(", ")
    assert len(answer.json()) == 2
    assert 'rel="previous"; results="false"; cursor="0:0:1"' in before
    assert 'rel="next"; results="true"; cursor="0:2:0"' in after
    assert after.startswith("<http://console.test/api/0/organizations/acme/issues/?")


async def test_a_period_counts_its_own_errors_only() -> None:
    """Which issues, then all of them with how often in that time; all questions with the same bounds."""

    def answers(sql: str, parameters: dict[str, Any]) -> list[Row]:
        rows = one_issue(sql, parameters)
        if "AS last_event_id" in sql:
            return [{name: row[name] for name in ENDS} for row in rows]
        if "numbers" in parameters and "times_within > 0" in sql:
            assert (parameters["environments"], parameters["numbers"]) == (["production"], [77])
            assert "SELECT * EXCEPT (times, users, " in sql
            return [row | {"times": 2, "users": 1} for row in rows]
        return rows

    clickhouse = FakeClickHouse(answers)
    async with client(services(clickhouse)) as asking:
        query = "statsPeriod=24h&environment=production&sort=freq&query=release:1.0"
        (issue,) = (await asking.get(f"/api/0/organizations/acme/issues/?{query}")).json()
    assert (issue["count"], issue["userCount"], issue["firstSeen"]) == ("2", 1, "2026-11-27T10:00:00.123456Z")
    assert [given["environments"] for sql, given in clickhouse.asked if "AS at" in sql] == [["production"]]
    first, given = next(asked for asked in clickhouse.asked if "ORDER BY times DESC, issue_id" in asked[0])
    assert first.count("timestamp >= toDateTime64({begin:String}, 9, 'UTC')") == 2
    assert given["begin"] == "2026-11-26 12:00:00.000000"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("cursor=zz", "cursor: expected one of the Link header"),
        ("cursor=0:999999999:0", "cursor"),
        ("limit=x", "limit: expected a number from 1"),
        ("limit=0", "limit"),
        ("sort=size", "sort: expected one of date"),
        ("statsPeriod=long", "statsPeriod: expected a time like 24h"),
        ("statsPeriod=1h&start=2026-01-01", "found both"),
        ("start=2026-01-01", "both start and end"),
        ("start=2026-01-02&end=2026-01-01", "a time before end"),
        ("start=x&end=y", "start: expected a time"),
        ("query=is:foo", "query: at character 1"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, expected: str) -> None:
    """400 with what was expected and found, and no query."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        answer = await asking.get(f"/api/0/organizations/acme/issues/?{query}")
    assert answer.status_code == 400
    assert expected in answer.json()["detail"]
    assert clickhouse.asked == []


async def test_a_foreign_project_is_none() -> None:
    """By slug or number; the answer names those that exist."""
    async with client(services(FakeClickHouse())) as asking:
        for name in ("secret", "9", "nope"):
            answer = await asking.get(f"/api/0/organizations/acme/issues/?project={name}")
            assert answer.status_code == 404
            assert "web, channel-2" in answer.json()["detail"]


async def test_resolving_is_a_row_that_says_who_and_when() -> None:
    """Of the token its id and name, never its text."""
    clickhouse = FakeClickHouse(one_issue)
    async with client(services(clickhouse)) as asking:
        answer = await asking.put("/api/0/projects/acme/web/issues/?id=77", json={"status": "resolved"})
    assert answer.json() == {"status": "resolved", "statusDetails": {}}
    ((table, (row,)),) = clickhouse.inserted
    assert table == "issue_changes"
    assert (row["organisation"], row["channel_id"], row["issue_id"]) == ("acme", 1, 77)
    assert (row["status"], row["release_after"]) == ("resolved", NEVER)
    assert row["changed_at"] == "2026-11-27 12:00:00.000000000"
    assert row["changed_by_name"] == "all-of-it"
    assert len(row["changed_by"]) == 16


@pytest.mark.parametrize(
    ("body", "status", "details"),
    [
        ({"status": "ignored"}, "archived", {}),
        ({"status": "unresolved"}, "unresolved", {}),
        ({"status": "resolved", "statusDetails": {"inRelease": "2.0"}}, "resolved", {"inRelease": "2.0"}),
        ({"status": "resolvedInNextRelease"}, "resolved", {"inNextRelease": True}),
        ({"status": "resolved", "statusDetails": {"inRelease": "latest"}}, "resolved", {"inRelease": "1.9"}),
    ],
)
async def test_other_changes(body: dict[str, Any], status: str, details: dict[str, Any]) -> None:
    """Archive, reopen, and three ways to resolve by a release, which keep when the release was made."""

    def answers(sql: str, parameters: dict[str, Any]) -> list[Row]:
        if "release_dates" in sql and parameters["release"] in ("", "1.9"):
            return [{"release": "1.9", "made_at": "2026-11-01 00:00:00.000000000"}]
        return one_issue(sql, parameters)

    clickhouse = FakeClickHouse(answers)
    async with client(services(clickhouse)) as asking:
        answer = await asking.put("/api/0/organizations/acme/issues/?id=77", json=body)
    assert answer.json()["statusDetails"] == details
    ((_, (row,)),) = clickhouse.inserted
    assert row["status"] == status
    expected = NEVER if not details else "2026-11-01" if row["resolved_in"] != "2.0" else "2026-11-27 12:00"
    assert row["release_after"].startswith(expected)


@pytest.mark.parametrize(
    "body",
    [
        {"status": "closed"},
        {"status": 1},
        {"colour": "red"},
        {"statusDetails": {"inRelease": "1"}},
        {"status": "resolved", "statusDetails": {"inCommit": {}}},
        {"status": "ignored", "statusDetails": {"inRelease": "1"}},
        {"status": "resolved", "statusDetails": []},
        {"status": "resolved", "statusDetails": {"inRelease": ["x"]}},
        ["status"],
    ],
)
async def test_a_wrong_change_changes_nothing(body: Any) -> None:
    """400 that says what would be right."""
    clickhouse = FakeClickHouse(one_issue)
    async with client(services(clickhouse)) as asking:
        answer = await asking.put("/api/0/organizations/acme/issues/?id=77", json=body)
    assert answer.status_code == 400
    assert "expected" in answer.json()["detail"]
    assert clickhouse.inserted == []


async def test_an_id_of_others_changes_nothing() -> None:
    """Not even the issues beside it that are ours."""
    clickhouse = FakeClickHouse(one_issue)
    async with client(services(clickhouse)) as asking:
        answer = await asking.put("/api/0/organizations/acme/issues/?id=77&id=5", json={"status": "resolved"})
        wrong = await asking.put("/api/0/organizations/acme/issues/?id=WEB-1", json={"status": "resolved"})
    assert (answer.status_code, wrong.status_code) == (404, 400)
    assert "found 5" in answer.json()["detail"]
    assert clickhouse.inserted == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 2_000, 400),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400),
        (b"\xff", 400),
        (b" " * 3_000_000, 413),
    ],
)
async def test_a_body_that_is_none_is_refused(body: bytes, status: int) -> None:
    """Cut JSON, deep JSON, other bytes, too many of them."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        answer = await asking.post("/api/0/organizations/acme/releases/", content=body)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith("body: expected")
    assert clickhouse.inserted == []


@pytest.mark.parametrize("version", ["", "a/b", "..", ".", "latest", "a\nb", "x" * 251, None, 7])
async def test_a_release_needs_a_name_that_a_path_can_have(version: Any) -> None:
    """Or no other request could name it."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        answer = await asking.post("/api/0/organizations/acme/releases/", json={"version": version})
    assert answer.status_code == 400
    assert "version" in answer.json()["detail"]
    assert clickhouse.inserted == []


async def test_a_path_without_its_slash_is_the_same_and_an_unknown_one_is_named() -> None:
    """No redirect: it would lose the body of a PUT."""
    async with client(services(FakeClickHouse())) as asking:
        assert (await asking.get("/api/0/organizations")).json()[0]["slug"] == "acme"
        unknown = await asking.get("/api/0/nothing/here/")
        wrong = await asking.delete("/api/0/organizations/")
    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert "docs/console.md" in unknown.json()["detail"]
    assert wrong.headers["allow"] == "GET"


async def test_a_bug_is_one_line_and_says_nothing_about_itself() -> None:
    """500 without a text of ours or of a client."""

    def broken(_sql: str, _parameters: dict[str, Any]) -> list[Row]:
        raise KeyError("password")

    async with client(services(FakeClickHouse(broken))) as asking:
        answer = await asking.get("/api/0/organizations/acme/issues/")
    assert answer.status_code == 500
    assert "password" not in answer.text


async def test_health_ready_and_metrics_need_no_token() -> None:
    """/ready is 503 once the process stops."""
    made = services(FakeClickHouse())
    async with client(made, "") as asking:
        assert (await asking.get("/health")).status_code == 200
        assert (await asking.get("/ready")).status_code == 200
        assert "axonpush_console_requests" in (await asking.get("/metrics")).text
        made.stopping = True
        assert (await asking.get("/ready")).status_code == 503
        assert (await asking.get("/")).json()["api"].startswith("/api/0/")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\tb\n\\", "a\\tb\\n\\\\"),
        (7, "7"),
        ([1, 2], "[1,2]"),
        (["a'b", "c\\"], "['a\\\\'b','c\\\\\\\\']"),
        ([], "[]"),
        ("\0", "\\0"),
    ],
)
async def test_parameters_are_escaped_as_clickhouse_reads_them(value: Any, expected: str) -> None:
    """Once for a field of tab-separated text, and before that once more inside a list."""
    assert text_of(value) == expected


async def test_the_chart_of_an_issue_has_the_environment_that_was_asked_for() -> None:
    """As the number beside it."""
    clickhouse = FakeClickHouse(one_issue)
    async with client(services(clickhouse)) as asking:
        await asking.get("/api/0/organizations/acme/issues/77/?environment=a&environment=b")
        await asking.get("/api/0/organizations/acme/issues/77/")
    asked = [given["environments"] for sql, given in clickhouse.asked if "AS at" in sql]
    assert asked == [["a", "b"]] * 3 + [[]] * 3


async def test_the_values_of_a_tag_are_a_list_of_pages() -> None:
    """`tags/NAME/values/`, as Sentry's documentation has it."""
    values = [
        {"value": f"v{number}", "times": 9 - number, "first_at": NEVER, "last_at": NEVER, "total": 24, "different": 3}
        for number in range(3)
    ]

    def answers(sql: str, parameters: dict[str, Any]) -> list[Row]:
        return values if "SELECT value" in sql else one_issue(sql, parameters)

    async with client(services(FakeClickHouse(answers))) as asking:
        answer = await asking.get("/api/0/issues/77/tags/till/values/?limit=2")
        long = await asking.get(f"/api/0/issues/77/tags/{'x' * 300}/values/")
    assert [value["value"] for value in answer.json()] == ["v0", "v1"]
    assert 'rel="next"; results="true"' in answer.headers["link"]
    assert long.status_code == 404


@pytest.mark.parametrize("path", ["notes", "comments"])
async def test_no_issue_has_a_note(path: str) -> None:
    """Both names, as tools ask."""
    async with client(services(FakeClickHouse(one_issue))) as asking:
        assert (await asking.get(f"/api/0/organizations/acme/issues/77/{path}/")).json() == []
        assert (await asking.get(f"/api/0/organizations/acme/issues/78/{path}/")).status_code == 404


async def test_what_people_mark_for_themselves_changes_nothing() -> None:
    """The body of Sentry's documentation has it beside the status."""
    body = {"status": "unresolved", "isBookmarked": True, "hasSeen": True, "isPublic": False}
    async with client(services(FakeClickHouse(one_issue))) as asking:
        answer = await asking.put("/api/0/projects/acme/web/issues/?id=77", json=body)
    assert (answer.status_code, answer.json()["status"]) == (200, "unresolved")


@pytest.mark.parametrize(
    ("query", "looks_at_a_day_first"),
    [
        ("statsPeriod=14d", True),
        ("query=is:unresolved", True),
        ("statsPeriod=1h&environment=production", True),
        ("query=is:resolved", False),
        ("query=level:error", False),
        ("sort=freq", False),
        ("start=2026-11-01T00:00:00&end=2026-11-02T00:00:00", False),
    ],
)
async def test_the_usual_list_looks_at_the_last_day_first(query: str, looks_at_a_day_first: bool) -> None:
    """And at nothing else where that fills the page; any other list is put into order over all issues."""
    rows = [ISSUE | {"issue_id": number} for number in range(40)]

    def many(sql: str, parameters: dict[str, Any]) -> list[Row]:
        wanted = [row for row in rows if row["issue_id"] in parameters.get("numbers", range(40))]
        return wanted if asks_for_issues(sql) else []

    clickhouse = FakeClickHouse(many)
    async with client(services(clickhouse)) as asking:
        answer = await asking.get(f"/api/0/organizations/acme/issues/?limit=10&{query}")
    assert answer.status_code == 200
    newest = [given for sql, given in clickhouse.asked if "AS newest" in sql]
    in_order = [sql for sql, _ in clickhouse.asked if "LIMIT {limit:UInt32} OFFSET" in sql]
    assert (len(newest), len(in_order)) == ((1, 0) if looks_at_a_day_first else (0, 1))
    if newest:
        assert newest[0]["since"] >= "2026-11-26 11:59:00.000000"


async def test_a_day_that_does_not_fill_the_page_is_not_the_list() -> None:
    """Three issues in a day, of a list of any time: the rest is looked for among all; of an hour, these are all."""
    rows = [ISSUE | {"issue_id": number} for number in range(3)]

    def few(sql: str, parameters: dict[str, Any]) -> list[Row]:
        wanted = [row for row in rows if row["issue_id"] in parameters.get("numbers", range(3))]
        return wanted if asks_for_issues(sql) else []

    for query, expected in (("query=is:unresolved", 1), ("statsPeriod=1h", 0), ("statsPeriod=24h", 0)):
        clickhouse = FakeClickHouse(few)
        moving = services(clickhouse)
        seconds = itertools.count()
        moving.now = lambda seconds=seconds: NOW + dt.timedelta(seconds=next(seconds))  # type: ignore[misc]
        async with client(moving) as asking:
            answer = await asking.get(f"/api/0/organizations/acme/issues/?{query}")
        assert len(answer.json()) == 3
        assert len([sql for sql, _ in clickhouse.asked if "LIMIT {limit:UInt32} OFFSET" in sql]) == expected


async def test_no_parameter_has_more_numbers_than_clickhouse_reads() -> None:
    """A far page of the usual list is put into order over all issues; 4,000 issues are asked for in pieces."""
    clickhouse = FakeClickHouse(one_issue)
    async with client(services(clickhouse)) as asking:
        await asking.get("/api/0/organizations/acme/issues/?limit=100&cursor=0:5000:0")
    assert not [sql for sql, _ in clickhouse.asked if "AS newest" in sql]
    clickhouse = FakeClickHouse(one_issue)
    made = services(clickhouse)
    finder = IssueFinder(clickhouse, made.registry_entries, made.now())
    projects = made.registry_entries.projects("acme")
    assert [row["issue_id"] for row in await finder.by_numbers("acme", projects, range(4_000))] == [77]
    assert max(len(str(given.get("numbers"))) for _, given in clickhouse.asked) < 100_000
