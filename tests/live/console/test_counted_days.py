"""Lists of issues with counted days equal lists of all errors, and the view `issues`: doubles, replays, deletions."""

from __future__ import annotations

import asyncio
import datetime as dt
import urllib.parse
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from clickhouse_connect.driver.client import Client

from console.access.registry import KnownEntries
from console.api.errors import ApiError
from console.api.request import Period
from console.issues.counted_days import counted_days
from console.issues.find import SORTS, IssueFinder
from console.issues.groups import OF_PROJECTS, Search
from console.issues.stats import charts
from console.settings import ConsoleSettings
from console.storage.clickhouse import ClickHouse, Row
from ops.cli.servers import open_clickhouse
from ops.janitor import issue_counts
from ops.janitor.issue_counts import IssueCounter
from ops.local.clickhouse_http.access import users
from ops.provisioning import tables
from ops.runtime.settings import Settings
from schemas.registry import Channel
from tests.servers import Server
from tests.system import System

pytestmark = pytest.mark.live

NOW = dt.datetime.now(dt.UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
ERRORS, ISSUES = 1_200, 30
DAYS = 4
# Errors of the last days up to now, each in an issue, with a release, an environment, a level and a user. `again` is 0
# at first. A replay, of the rows that `condition` says, moves errors to other issues, releases and users.
_FILL = """
INSERT INTO error_rows (organisation, channel_id, event_id, version, item_type, timestamp, received_at, issue_id,
                        environment, release, severity_number, user_hash, source_seq, source_item, shard_hash)
SELECT 'default', {channel}, toUUID(UUIDNumToString(murmurHash3_128(number, {channel}))), 1 + {again} * 1000, 'event',
       toDateTime64('{now}', 9, 'UTC') - toIntervalSecond(intDiv(number * {days} * 86400, {errors})) AS at,
       if(number % 3 = 0, toDateTime64('{now}', 9, 'UTC'), at),
       1 + cityHash64(number, {channel}, number % 7 < {again}) % {issues},
       ['production', 'dev', ''][1 + number % 3], concat('r', toString((number + {again}) % 5)),
       [9, 13, 17, 21][1 + number % 4], if(number % 6 = 0, 0, cityHash64((number + {again}) % 50)), number, 0, 0
FROM numbers({errors}) WHERE {condition} SETTINGS max_partitions_per_insert_block = 0"""
# Resolved before and after the last error, archived, resolved in a release that still fails, and in one that does not.
_CHANGES = """
INSERT INTO issue_changes (organisation, channel_id, issue_id, changed_at, change_id, status, resolved_in,
                           release_after, changed_by)
SELECT 'default', {channel}, number, toDateTime64('{now}', 9, 'UTC') - toIntervalHour(number % 7 * 20),
       generateUUIDv4(),
       ['resolved', 'archived', 'resolved', 'unresolved'][1 + number % 4], if(number % 4 = 2, 'r3', ''),
       if(number % 4 = 2, toDateTime64('{now}', 9, 'UTC') - toIntervalHour(number), toDateTime64(0, 9, 'UTC')), 'test'
FROM numbers(1, 20)"""
_TIMES = ("first_seen", "last_seen", "changed_at", "release_after")
_OF_VIEW = f"""
SELECT * EXCEPT organisation REPLACE ({", ".join(f"toString({name}) AS {name}" for name in _TIMES)})
FROM (SELECT * FROM issues WHERE {OF_PROJECTS}) ORDER BY issue_id"""
T = TypeVar("T")


class WithoutCounts(ClickHouse):
    """Reads all errors, as a console whose user may not see the parts of a table."""

    async def query(self, sql: str, **parameters: Any) -> list[Row]:
        if "AS latest_counting" in sql:
            raise ApiError(503, "refused")
        return await super().query(sql, **parameters)


@pytest.fixture(scope="module")
def client(operated: System) -> Iterator[Client]:
    """The operator, as the janitor asks."""
    opened = open_clickhouse(Settings(clickhouse_url=operated.operator_url()))
    opened.database = "axonpush"
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def settings(operated: System) -> ConsoleSettings:
    """A console of this system, with the rights of one."""
    place = urllib.parse.urlsplit(operated.operator_url())
    return ConsoleSettings(
        clickhouse_url=place._replace(netloc=f"{place.hostname}:{place.port}").geturl(),
        clickhouse_user=users.CONSOLE,
        clickhouse_password=operated.ready["clickhouse_users"][users.CONSOLE],
    )


@pytest.fixture
def channel(client: Client) -> Iterator[int]:
    """One with errors, doubled and in several parts, and with changes of its issues."""
    number = uuid.uuid4().int >> 66
    fill(client, number, 0, "1")
    fill(client, number, 0, "number % 4 = 1")
    client.command(_CHANGES.format(channel=number, now=text(NOW)))
    yield number
    client.command("DELETE FROM error_rows WHERE channel_id = {channel:UInt64}", parameters={"channel": number})


def text(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def fill(client: Client, channel: int, again: int, condition: str) -> None:
    given = {"now": text(NOW), "days": DAYS - 1, "errors": ERRORS, "issues": ISSUES}
    client.command(_FILL.format(channel=channel, again=again, condition=condition, **given))


def count(client: Client) -> None:
    """What the engine and the janitor do when a day is quiet. Parts that can be merged would change it at any time."""
    client.command("OPTIMIZE TABLE error_rows FINAL")
    while IssueCounter().work(client, quiet_s=0, fewest=1):
        pass


def searches(channel: int, queries: tuple[str, ...]) -> Iterator[Search]:
    """Each query of all times or a period, in changing orders, of all environments or one."""
    projects = [Channel(id=channel, organisation="default")]
    midnight = TODAY - dt.timedelta(days=1)
    periods = (
        None,
        Period(NOW - dt.timedelta(hours=30), NOW),
        Period(midnight - dt.timedelta(days=1), midnight),
        Period(midnight - dt.timedelta(hours=5), midnight + dt.timedelta(hours=7)),
    )
    orders = sorted(set(SORTS.values()))
    for number, query in enumerate(queries):
        period, order = periods[number * 3 % 4], orders[(number + number // 4) % 4]
        yield Search("default", projects, query, ["production"] if number % 3 == 0 else [], period, order)


async def lists(clickhouse: ClickHouse, asked: list[Search]) -> list[Any]:
    """Pages, numbers of issues and charts, as the Web API asks for them."""
    found: list[Any] = []
    try:
        for search in asked:
            finder = IssueFinder(clickhouse, KnownEntries(), NOW)
            page = await finder.page(search, limit=12, offset=3)
            environments = list(search.environments)
            drawn = await charts(clickhouse, "default", page[:3], "14d", NOW, environments=environments)
            found.append((search, page, await finder.count(search), drawn))
    finally:
        await clickhouse.close()
    return found


def assert_equal(settings: ConsoleSettings, channel: int, queries: tuple[str, ...]) -> None:
    asked = list(searches(channel, queries))
    with_counts = run(lambda: lists(ClickHouse(settings), asked))
    assert with_counts == run(lambda: lists(WithoutCounts(settings), asked))
    assert any(page for _, page, _, _ in with_counts)


def assert_equals_view(settings: ConsoleSettings, client: Client, channel: int) -> None:
    """Every issue, every column."""

    async def ask() -> list[Row]:
        clickhouse = ClickHouse(settings)
        projects = [Channel(id=channel, organisation="default")]
        finder = IssueFinder(clickhouse, KnownEntries(), NOW)
        try:
            return await finder.by_numbers("default", projects, range(1, ISSUES + 1))
        finally:
            await clickhouse.close()

    asked = {"organisation": "default", "channels": [channel]}
    expected = list(client.query(_OF_VIEW, parameters=asked).named_results())
    shown = sorted(run(ask), key=lambda row: int(row["issue_id"]))
    assert len(expected) > 10
    assert [{name: str(row[name]) for name in expected[0]} for row in shown] == [
        {name: str(value) for name, value in row.items()} for row in expected
    ]


def days_of(settings: ConsoleSettings) -> list[str]:
    """Those that a console reads the counts of."""

    async def ask() -> list[str]:
        clickhouse = ClickHouse(settings)
        try:
            return sorted((await counted_days(clickhouse, "default")).countings)
        finally:
            await clickhouse.close()

    return run(ask)


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def working() -> T:
        return await work()

    return asyncio.run(working())


def day(before: int) -> str:
    """So many days ago."""
    return (TODAY - dt.timedelta(days=before)).date().isoformat()


def test_a_list_with_counted_days_equals_one_of_all_errors(
    client: Client, settings: ConsoleSettings, channel: int
) -> None:
    """And reads less; errors that come later are in it at once, and are counted with their day when it is quiet."""
    IssueCounter().work(client, quiet_s=0, fewest=1)  # days of several parts, with doubles
    assert_equal(settings, channel, ("is:unresolved",))
    count(client)
    assert {day(1), day(2)} <= set(days_of(settings))
    assert day(0) not in days_of(settings)
    assert_equals_view(settings, client, channel)
    fill(client, channel, 3, "number % 9 = 2")
    assert not {day(1), day(2)} & set(days_of(settings))
    assert_equals_view(settings, client, channel)
    count(client)
    assert {day(1), day(2)} <= set(days_of(settings))
    assert_equals_view(settings, client, channel)


@pytest.mark.long
def test_whatever_happens_to_a_day(client: Client, settings: ConsoleSettings, channel: int) -> None:
    """Replays, merges, deletions, a counting that was interrupted: every list equals the one of all errors."""
    queries = (
        *("", "is:unresolved", "is:resolved", "is:archived", "is:regressed", "level:error", "release:r1"),
        *("release:r1 level:fatal", "!release:r2 is:unresolved", "timesSeen:>30", "userCount:>5", "firstSeen:-2d"),
        *("lastSeen:+1d", "firstRelease:r1", "environment:dev", "release:latest", f"timestamp:<{day(1)}T10:00:00"),
    )
    some = ("is:unresolved", "release:r1 is:unresolved")
    count(client)
    assert_equal(settings, channel, queries)
    fill(client, channel, 2, f"at < toDateTime64('{day(1)} 00:00:00', 9, 'UTC')")
    assert day(1) in days_of(settings)
    assert day(2) not in days_of(settings)
    assert_equal(settings, channel, some)
    count(client)
    assert day(2) in days_of(settings)
    assert_equal(settings, channel, some)
    where = f"channel_id = {channel} AND toDate(timestamp) = '{day(2)}' AND release = 'r1'"
    client.command(f"DELETE FROM error_rows WHERE {where}")
    assert day(2) not in days_of(settings)
    assert day(1) in days_of(settings)  # a deletion names all parts, and changes one day
    assert_equal(settings, channel, some)
    parts = client.query(f"SELECT parts_hash FROM ({issue_counts.DAYS_NOW}) WHERE day = '{day(2)}'").result_rows
    interrupted = {"day": day(2), "hash": parts[0][0], "counting": 7}
    client.command(issue_counts._COUNT, parameters=interrupted)
    assert_equal(settings, channel, some)
    client.command(issue_counts._COUNT, parameters=interrupted)
    client.command(issue_counts._FINISH, parameters=interrupted)
    assert_equal(settings, channel, some)  # counted twice under one number
    count(client)
    assert day(2) in days_of(settings)
    assert_equal(settings, channel, some)
    assert_equals_view(settings, client, channel)


def test_old_counts_go_and_lists_stay(client: Client, settings: ConsoleSettings, channel: int) -> None:
    """Those that do not hold, an hour later; the others are read as before."""
    count(client)
    fill(client, channel, 3, "number % 9 = 2")
    count(client)
    stored = "SELECT uniqExact(counting_id) FROM issue_day_rows WHERE channel_id = {channel:UInt64}"
    before = client.query(stored, parameters={"channel": channel}).result_rows[0][0]
    later = IssueCounter(lambda: int((NOW + dt.timedelta(hours=2)).timestamp()) * 10**9)
    for _ in range(2):
        later._clean(client)
    assert client.query(stored, parameters={"channel": channel}).result_rows[0][0] == DAYS - 1 < before
    assert {day(1), day(2)} <= set(days_of(settings))
    assert_equals_view(settings, client, channel)


@pytest.mark.long
def test_a_database_of_the_version_before(clickhouse_server: Server) -> None:
    """Before `migrate`, a new console reads all errors; after it, the days that were there already are counted."""
    database = f"test_{uuid.uuid4().hex}"
    settings = ConsoleSettings(clickhouse_url=clickhouse_server.url, clickhouse_database=database)
    client, channel = open_clickhouse(settings), 7
    file = next(one.version for one in tables.known() if one.name.endswith("_issue_days.sql"))
    tables.apply(client, database, [one for one in tables.known() if one.version < file])
    fill(client, channel, 0, "1")
    fill(client, channel, 2, "number % 4 = 1")
    client.command(_CHANGES.format(channel=channel, now=text(NOW)))
    asked = list(searches(channel, ("is:unresolved", "level:error")))
    before = run(lambda: lists(ClickHouse(settings), asked))
    assert days_of(settings) == []
    tables.apply(client, database, tables.pending(tables.known(), tables.applied(client, database), database))
    assert days_of(settings) == []
    count(client)
    assert len(days_of(settings)) == DAYS - 1
    assert run(lambda: lists(ClickHouse(settings), asked)) == before
    client.command(f"DROP DATABASE {database}")
    client.close()


def test_a_console_sees_of_the_engines_tables_only_where_errors_are(settings: ConsoleSettings) -> None:
    """Parts of one table, without their folders."""

    async def ask(sql: str) -> list[Row]:
        clickhouse = ClickHouse(settings)
        try:
            return await clickhouse.query(sql)
        finally:
            await clickhouse.close()

    assert run(lambda: ask("SELECT DISTINCT table FROM system.parts")) == [{"table": "error_rows"}]
    for sql in ("SELECT path FROM system.parts", "SELECT * FROM system.parts", "SELECT name FROM system.disks"):
        with pytest.raises(ApiError):
            run(lambda sql=sql: ask(sql))  # type: ignore[misc]
