"""What a rule would have told: the same as it tells when it is evaluated while things happen, and bounded."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest

from console.alerts.rules.preview import MOST_QUESTIONS, MOST_S, PreviewResult, RulePreview
from console.alerts.rules.source import RuleSource
from console.api.errors import ApiError
from console.rules.parsed import Rule
from console.storage.times import nanoseconds_of
from tests.unit.console.alerts.world import NS, START_S, Clock, Process, World
from tests.unit.console.fakes import registry_entries

pytestmark = pytest.mark.asyncio
DAY_S = 86_400.0
EVERY = "sentry.rules.conditions.every_event.EveryEventCondition"
FREQUENCY = "sentry.rules.conditions.event_frequency.EventFrequencyCondition"
HOURLY = {"monitor.schedule.type": "crontab", "monitor.schedule.value": "0 * * * *"}


async def rule_of(world: World) -> Rule:
    rule = (await RuleSource(cast("Any", world.clickhouse)).read())["acme", 5].rule
    assert rule is not None
    return rule


async def previewed(world: World, seconds: float = DAY_S) -> PreviewResult:
    """Of the time before now."""
    clock = world.monotonic_s
    preview = RulePreview(cast("Any", world.clickhouse), registry_entries(), "http://console.test", clock)
    end_ns = world.clock.now_ns()
    return await preview.run(await rule_of(world), end_ns - int(seconds * NS), end_ns)


async def live(world: World, errors_at: list[tuple[float, int]], until_s: float) -> list[tuple[str, str]]:
    """What the process tells while these errors come."""
    process = Process(world)
    await process.begin()
    waiting = sorted(errors_at)
    while world.clock.s < until_s:
        while waiting and waiting[0][0] <= world.clock.s:
            world.clickhouse.errors.append((world.clock.s, world.clock.s, waiting.pop(0)[1], "production"))
        while not await process.lease.step():
            world.clock.s += 1.0
        await process.turn()
        world.clock.s += 30.0
    return [(message.url, message.text.partition("; seen")[0]) for message in world.receivers.messages]


@pytest.mark.parametrize(
    "conditions",
    [
        [],
        [{"id": EVERY}],
        [{"id": FREQUENCY, "value": 2, "interval": "5m"}],
        [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
    ],
)
async def test_an_issue_rule_tells_what_it_would_have_told_live(conditions: list[dict[str, Any]]) -> None:
    """Bursts and single errors of several issues over two hours."""
    minutes = (3, 4, 4.2, 4.4, 50, 70, 71)
    times = [(START_S + 60 * minute + 5 * issue, issue) for issue in (1, 2, 3) for minute in minutes]
    world = World()
    world.rule(conditions=conditions, frequency=30, created_s=START_S - 5)
    told = await live(world, times, START_S + 7_200)
    result = await previewed(world, world.clock.s - START_S + 5)
    shown = [(f"http://console.test{firing.path}", firing.message.partition("; seen")[0]) for firing in result.firings]
    assert sorted(shown) == sorted(told)
    assert not result.is_cut
    assert len(shown) >= 3
    assert world.clickhouse.inserted.keys() == {"alert_firing_rows", "alert_delivery_rows", "alert_state_rows"}


async def test_quiet_times_are_no_questions() -> None:
    """Two hours with errors in two weeks."""
    world = World()
    world.rule(conditions=[{"id": EVERY}])
    world.clickhouse.errors = [(world.clock.s - hours * 3_600, 0.0, 1, "p") for hours in (1, 300)]
    world.clickhouse.asked.clear()
    result = await previewed(world, 14 * DAY_S)
    assert [firing.about for firing in result.firings] == ["issue:1:1"] * 2
    assert len(world.clickhouse.asked) < 25


async def test_a_preview_is_bounded() -> None:
    """An error each minute for two weeks: the newest part of it is looked at, and the answer says since when."""
    world = World()
    world.rule(conditions=[{"id": EVERY}], frequency=5)
    world.clickhouse.errors = [(world.clock.s - minute * 60.0 - 1, 0.0, 1, "p") for minute in range(14 * 1_440)]
    world.clickhouse.asked.clear()
    result = await previewed(world, 14 * DAY_S)
    assert sum("AS first_at" in sql for sql in world.clickhouse.asked) <= MOST_QUESTIONS * 1.4
    assert len(result.firings) == MOST_QUESTIONS // 5
    assert world.clock.now_ns() - result.begin_ns <= MOST_QUESTIONS * 60 * NS
    assert not result.is_cut


@pytest.mark.parametrize(
    ("kind", "words"), [("issue", "AS first_at"), ("metric", "AS v0"), ("monitor", "AS check_ins")]
)
async def test_a_slow_preview_ends_and_says_where(kind: str, words: str) -> None:
    """Whoever asked waits for half a minute at most, and hears of the newest time."""
    world = World()
    world.rule(kind, **({"conditions": [{"id": EVERY}]} if kind == "issue" else {}))
    world.clickhouse.numbers = {"count()": 50.0}
    world.clickhouse.errors = [(world.clock.s - hours * 3_600, 0.0, 1, "p") for hours in range(1, 24)]
    world.clickhouse.slow = {words: MOST_S / 3}
    result = await previewed(world)
    assert result.end_ns == world.clock.now_ns()
    assert result.is_cut is (kind != "monitor")
    assert sum(words in sql for sql in world.clickhouse.asked) <= 8
    if kind != "monitor":
        assert len(result.firings) >= 1, "of the last hour"
        assert result.begin_ns > world.clock.now_ns() - 6 * 3_600 * NS


async def test_a_metric_rule_is_asked_for_each_of_its_windows() -> None:
    """Above, still above, and resolved are two firings; the numbers are there for a chart."""
    world = World()
    world.rule("metric", timeWindow=60)
    begins = [world.clock.s - 12 * 3_600, world.clock.s - 8 * 3_600]

    def values(_sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        is_high = begins[0] < nanoseconds_of(parameters["end"]) / NS < begins[1]
        return [{"v0": 50.0 if is_high else 1.0}]

    world.clickhouse._of_others = values  # type: ignore[method-assign]
    result = await previewed(world)
    assert [firing.status for firing in result.firings] == ["firing", "resolved"]
    assert len(result.values) == MOST_QUESTIONS
    assert result.values[0][0] >= result.begin_ns
    assert result.values[-1][0] == result.end_ns == world.clock.now_ns()


async def test_a_short_window_is_looked_at_as_far_back_as_there_are_questions() -> None:
    """No window is left out between two of them."""
    world = World()
    world.rule("metric", timeWindow=1)
    world.clickhouse.numbers = {"count()": 1.0}
    result = await previewed(world)
    assert result.end_ns - result.begin_ns == MOST_QUESTIONS * 60 * NS
    ends = [at_ns for at_ns, _ in result.values]
    assert {later - earlier for earlier, later in itertools.pairwise(ends)} == {60 * NS}


async def test_a_number_that_cannot_be_had_is_said() -> None:
    """Not a rule that never fires."""
    world = World()
    world.rule("metric")
    world.clickhouse.too_wide = ("AS v0",)
    with pytest.raises(ApiError, match="within the limits"):
        await previewed(world)


async def test_a_monitor_that_was_silent_for_hours() -> None:
    """Missed once, and well again; twice as long a time has the same firings."""
    world = World()
    world.rule("monitor")
    hours = [number for number in range(24) if number not in (10, 11, 12)]
    first_s = START_S // 3_600 * 3_600 - 23 * 3_600
    world.clickhouse.check_ins = [
        {"channel_id": 1, "monitor": "hourly", "environment": "p", "config": HOURLY,
         "check_ins": [[-int((first_s + hour * 3_600) * NS), f"e{hour}", "", "ok", 0] for hour in hours]}
    ]  # fmt: skip
    for seconds in (DAY_S, 2 * DAY_S):
        result = await previewed(world, seconds)
        assert [firing.title for firing in result.firings] == ["hourly missed its check-in", "hourly is well again"]


async def test_nobody_is_told_and_nothing_is_stored() -> None:
    """No bucket, no receiver: the evaluation alone."""
    world = World()
    world.rule(conditions=[{"id": EVERY}])
    world.error()
    world.clock.s += 60.0
    result = await previewed(world)
    assert len(result.firings) == 1
    assert (world.receivers.messages, world.entries.entries, world.clickhouse.inserted) == ([], {}, {})
    assert Clock().s == START_S
