"""Issue rules: new, back again, too many; quiet time; environments; filters."""

from __future__ import annotations

from typing import Any

import pytest

from console.alerts import state
from console.alerts.rules import issue_rule
from console.api.errors import ApiError
from console.query.conditions import Language
from console.query.datasets import ERRORS
from console.query.functions import Columns
from console.rules.issue_conditions import CONDITIONS, read_condition
from console.rules.issue_filters import FILTERS, EventFilter, IssueFilter, read_filter
from console.storage.times import time_text
from tests.unit.console.alerts.world import ISSUE_ID, NS, START_S, Process, World
from tests.unit.console.fakes import NOW

NEW, REGRESSED, EVERY, EVENTS, USERS = CONDITIONS


async def started(**rule: Any) -> tuple[World, Process]:
    """A world with one rule, and a process that evaluates."""
    world = World()
    world.rule(**rule)
    process = Process(world)
    await process.begin()
    await process.turn()
    return world, process


async def turns(world: World, process: Process, number: int = 1, every_s: float = 5.0) -> int:
    """So many evaluations later; how many messages there are."""
    for _ in range(number):
        world.clock.s += every_s
        while not await process.lease.step():
            world.clock.s += 1.0
        await process.turn()
    return len(world.receivers.messages)


@pytest.mark.asyncio
async def test_a_new_issue_is_told_once() -> None:
    """Not its next errors, also long after the quiet time."""
    world, process = await started(frequency=5)
    world.error()
    assert await turns(world, process) == 1
    for _ in range(20):
        world.error()
        assert await turns(world, process, every_s=60.0) == 1
    message = world.receivers.messages[0]
    assert (message.title, message.project) == ("web: (no title)", "web")
    assert message.url == f"http://console.test/organizations/acme/issues/{ISSUE_ID}/"


@pytest.mark.asyncio
async def test_an_issue_from_before_the_rule_is_not_new() -> None:
    """Its next error is no reason."""
    world = World()
    world.clickhouse.errors.append((START_S - 500, START_S - 500, ISSUE_ID, "production"))
    world.rule(created_s=START_S - 60)
    process = Process(world)
    await process.begin()
    world.error()
    assert await turns(world, process, 3) == 0


@pytest.mark.asyncio
async def test_a_row_that_comes_late_is_told() -> None:
    """Received minutes ago, stored now, because workers were behind; the error itself is of yesterday."""
    world, process = await started()
    world.progress.behind_s = 300.0
    await turns(world, process, 5, 20.0)
    world.clickhouse.errors.append((world.clock.s - 90.0, world.clock.s - 86_400.0, ISSUE_ID, "production"))
    assert await turns(world, process) == 1
    world.progress.behind_s = 1.0
    assert await turns(world, process, 30, 60.0) == 1


@pytest.mark.asyncio
async def test_new_in_an_environment_is_told_by_the_rule_of_that_environment() -> None:
    """An issue that was known elsewhere; a rule of all environments does not call it new."""
    world = World()
    world.clickhouse.errors.append((START_S - 500, START_S - 500, ISSUE_ID, "staging"))
    world.rule(rule_id=5)
    world.rule(rule_id=6, environment="production")
    world.rule(rule_id=7, environment="test")
    process = Process(world)
    await process.begin()
    await process.turn()
    world.error(environment="production")
    await turns(world, process, 2)
    assert [message.rule.rule_id for message in world.receivers.messages] == [6]


@pytest.mark.asyncio
async def test_every_error_respects_the_quiet_time() -> None:
    """An hour of errors, at most one message in ten minutes."""
    world, process = await started(conditions=[{"id": EVERY}], frequency=10)
    for _ in range(60):
        world.error()
        await turns(world, process, every_s=60.0)
    assert len(world.receivers.messages) == 6
    assert await turns(world, process, 30, 60.0) == 6, "without new errors nothing more"


@pytest.mark.asyncio
async def test_more_than_so_many_errors_in_a_window() -> None:
    """Exactly as many are not more; errors of before the window do not count."""
    world, process = await started(conditions=[{"id": EVENTS, "value": 3, "interval": "1m"}], frequency=5)
    for _ in range(3):
        world.error()
    assert await turns(world, process) == 0
    await turns(world, process, 2, 40.0)
    world.error()
    assert await turns(world, process) == 0
    for _ in range(3):
        world.error()
    assert await turns(world, process) == 1
    assert world.receivers.messages[0].details["reason"] == "more than 3 errors in 1m"


@pytest.mark.asyncio
async def test_a_resolved_issue_that_comes_back_is_told_once_for_each_resolution() -> None:
    """And one that was back before the rule was made is not told."""
    world, process = await started(conditions=[{"id": REGRESSED}], frequency=5)
    world.error()
    assert await turns(world, process) == 0
    for number in range(2):
        world.clickhouse.issues[ISSUE_ID] = {"is_regressed": True, "changed_at": time_text(int(world.clock.s * NS))}
        world.clock.s += 1.0
        world.error()
        assert await turns(world, process) == number + 1
        world.error()
        assert await turns(world, process, 10, 60.0) == number + 1
    other = ISSUE_ID + 1
    world.clickhouse.errors.append((START_S - 300, START_S - 300, other, "production"))
    world.clickhouse.issues[other] = {"is_regressed": True, "changed_at": time_text(int((START_S - 400) * NS))}
    world.error(other)
    assert await turns(world, process, 3) == 2


@pytest.mark.asyncio
async def test_an_archived_issue_is_silent() -> None:
    """Somebody said that they do not want to hear of it."""
    world, process = await started(conditions=[{"id": EVERY}])
    world.clickhouse.issues[ISSUE_ID] = {"status": "archived"}
    world.error()
    assert await turns(world, process, 2) == 0


@pytest.mark.asyncio
async def test_a_filter_that_does_not_hold_keeps_it_silent_until_it_does() -> None:
    """Of the errors, and of the issue."""
    level = {"id": "sentry.rules.filters.level.LevelFilter", "match": "gte", "level": "50"}
    often = {"id": "sentry.rules.filters.issue_occurrences.IssueOccurrencesFilter", "value": 3}
    world, process = await started(conditions=[{"id": EVERY}], filters=[level, often])
    world.error()
    assert await turns(world, process) == 0
    world.clickhouse.matching = {ISSUE_ID}
    world.error()
    assert await turns(world, process) == 0
    world.error()
    assert await turns(world, process) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(("match", "told"), [("all", 0), ("any", 1), ("none", 0)])
async def test_conditions_are_joined_as_the_rule_says(match: str, told: int) -> None:
    """A new issue that is not frequent."""
    conditions = [{"id": NEW}, {"id": EVENTS, "value": 100, "interval": "1h"}]
    world, process = await started(conditions=conditions, actionMatch=match)
    world.error()
    assert await turns(world, process) == told


@pytest.mark.asyncio
async def test_a_storm_of_issues_is_bounded_and_says_so() -> None:
    """A hundred new issues at once: fifty messages, the last says how many more."""
    world, process = await started()
    for number in range(100):
        world.error(1_000 + number)
    await turns(world, process)
    await turns(world, process, 60)
    assert len(world.receivers.messages) == 50
    assert any("and 50 more issues" in message.text for message in world.receivers.messages)


@pytest.mark.asyncio
async def test_more_issues_than_are_remembered_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are behind, so the same errors would be looked at again for minutes."""
    for module in (state, issue_rule):
        monkeypatch.setattr(module, "MAX_QUIET", 60)
    world, process = await started()
    world.progress.behind_s = 3_000.0
    for number in range(100):
        world.error(1_000 + number)
    await turns(world, process)
    assert await turns(world, process, 120) == 50


@pytest.mark.asyncio
async def test_rules_of_one_organisation_share_their_questions() -> None:
    """Fifty rules, one look at the errors, one count."""
    world = World()
    for number in range(50):
        world.rule(rule_id=number + 1, conditions=[{"id": EVENTS, "value": number, "interval": "1m"}])
    process = Process(world)
    await process.begin()
    await process.turn()
    world.error()
    world.clickhouse.asked.clear()
    await turns(world, process)
    assert sum("AS first_at" in sql for sql in world.clickhouse.asked) == 1
    assert sum("AS events, uniqExactIf" in sql for sql in world.clickhouse.asked) == 1


@pytest.mark.asyncio
async def test_a_rule_with_an_unknown_part_says_so_and_others_go_on() -> None:
    """One that an older version stored."""
    world, process = await started()
    world.rule(rule_id=9, conditions=[{"id": "sentry.rules.conditions.moon.FullMoon"}])
    world.error()
    assert await turns(world, process) == 1
    row = world.clickhouse.inserted["alert_state_rows"][-1]
    assert (row["rule_id"], row["status"]) == (9, "error")
    assert "FullMoon" in row["error"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"id": EVENTS}, "value: expected a number"),
        ({"id": EVENTS, "value": -1}, "value: expected a number"),
        ({"id": EVENTS, "value": True}, "value: expected a number"),
        ({"id": EVENTS, "value": 1, "interval": "2m"}, "interval: expected one of 1m"),
        ({"id": EVENTS, "value": 1, "comparisonType": "x"}, "comparisonType: expected one of"),
        ({"id": "x"}, "expected a condition that is evaluated here"),
        ({}, "expected a condition that is evaluated here"),
    ],
)
def test_a_wrong_condition_is_refused(part: dict[str, Any], expected: str) -> None:
    """With what would be understood."""
    with pytest.raises(ApiError, match=expected):
        read_condition(part, "conditions[0]")


_FILTERS = "sentry.rules.filters."


@pytest.mark.parametrize(
    ("part", "sql"),
    [
        ({"id": f"{_FILTERS}level.LevelFilter", "match": "gte", "level": "40"}, "IN {q0:Array(String)}"),
        ({"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "srv", "match": "co", "value": "A"}, "position("),
        ({"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "server", "match": "ns"}, "= ''"),
        ({"id": f"{_FILTERS}event_attribute.EventAttributeFilter", "attribute": "exception.type", "match": "sw",
          "value": "Pay"}, "startsWith(lower(toString(exception_type))"),
        ({"id": f"{_FILTERS}latest_release.LatestReleaseFilter"}, "argMax(release, made_at)"),
        ({"id": "axonpush.filters.query", "query": "release:1 !user.email:*@x.test"}, "NOT ("),
        ({"id": "sentry.rules.conditions.level.LevelCondition", "match": "eq", "level": 50}, "IN {q0:Array(String)}"),
    ],
)  # fmt: skip
def test_a_filter_of_errors_is_sql_with_parameters(part: dict[str, Any], sql: str) -> None:
    """Made of the fields and attributes of a search."""
    made = read_filter(part, "filters[0]")
    assert isinstance(made, EventFilter)
    columns = Columns(ERRORS, Language(lambda _text: None, lambda: NOW, ERRORS.fields, ERRORS.refused), 60.0)
    assert sql in made.sql(columns)


@pytest.mark.parametrize(
    ("match", "words", "levels"),
    [
        ({"match": "eq"}, "level is error", ["error"]),
        ({}, "level is error", ["error"]),
        ({"match": "gte"}, "level is error or more severe", ["fatal", "error"]),
        ({"match": "lte"}, "level is error or less severe", ["error", "warning", "info", "debug"]),
    ],
)
def test_a_filter_of_levels(match: dict[str, str], words: str, levels: list[str]) -> None:
    """Without `match` the level is the one that is named, as Sentry takes it."""
    columns = Columns(ERRORS, Language(lambda _text: None, lambda: NOW, ERRORS.fields, ERRORS.refused), 60.0)
    level_filter = read_filter({"id": f"{_FILTERS}level.LevelFilter", "level": "40", **match}, "")
    assert isinstance(level_filter, EventFilter)
    level_filter.sql(columns)
    assert level_filter.words == words
    assert list(columns.parameters.values.values()) == [levels]


@pytest.mark.parametrize("text", ["x') OR 1=1 --", "{q0:String}", "a\\'b", "`"])
def test_no_text_of_a_rule_is_in_the_sql(text: str) -> None:
    """Keys and values are parameters."""
    columns = Columns(ERRORS, Language(lambda _text: None, lambda: NOW, ERRORS.fields, ERRORS.refused), 60.0)
    made = read_filter(
        {"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "k", "match": "co", "value": text}, ""
    )
    assert isinstance(made, EventFilter)
    written = made.sql(columns)
    assert "OR 1=1" not in written
    assert text.lower() in columns.parameters.values.values()


def test_filters_of_issues() -> None:
    """How often and since when."""
    row = {"times": 9, "first_seen": time_text(int(START_S * NS))}
    often = read_filter({"id": f"{_FILTERS}issue_occurrences.IssueOccurrencesFilter", "value": "10"}, "")
    old = read_filter({"id": f"{_FILTERS}age_comparison.AgeComparisonFilter", "comparison_type": "older", "value": 1,
                       "time": "hour"}, "")  # fmt: skip
    assert isinstance(often, IssueFilter)
    assert isinstance(old, IssueFilter)
    assert not often.holds(row, START_S)
    assert (old.holds(row, START_S + 3_599), old.holds(row, START_S + 3_601)) == (False, True)


@pytest.mark.parametrize(
    "part",
    [
        {"id": "x"},
        {"id": f"{_FILTERS}level.LevelFilter", "level": "45"},
        {"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "a(b)", "match": "is"},
        {"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "", "match": "is"},
        {"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "a", "match": "like", "value": "b"},
        {"id": f"{_FILTERS}tagged_event.TaggedEventFilter", "key": "a", "match": "eq"},
        {"id": f"{_FILTERS}event_attribute.EventAttributeFilter", "attribute": "moon", "match": "is"},
        {"id": f"{_FILTERS}age_comparison.AgeComparisonFilter", "value": 1, "time": "aeon"},
        {"id": f"{_FILTERS}issue_category.IssueCategoryFilter", "value": 2},
        {"id": "axonpush.filters.query", "query": " "},
    ],
)
def test_a_wrong_filter_is_refused(part: dict[str, Any]) -> None:
    """Each names its field."""
    with pytest.raises(ApiError, match=r"filters\[0\]\.\w+: expected"):
        read_filter(part, "filters[0]")


def test_all_filters_are_listed_where_one_is_unknown() -> None:
    """The 400 says what would be understood."""
    with pytest.raises(ApiError) as refused:
        read_filter({"id": "x"}, "filters[0]")
    assert all(name in refused.value.detail for name in FILTERS)
