"""A rule that fails or takes long costs its own organisation time, and no other."""

from __future__ import annotations

import pytest

from console.alerts.limits.turns import ROUND_S, TURN_S, Turns
from console.api.errors import ApiError
from tests.unit.console.alerts.world import NS, START_S, Clock, Process, World

EVERY = "sentry.rules.conditions.every_event.EveryEventCondition"
LEVEL = {"id": "sentry.rules.filters.level.LevelFilter", "match": "gte", "level": "50"}
ACTIVE, NUMBERS, MATCHING = "AS first_at", "AS v0", "AS matching"


async def turn_after(world: World, process: Process, seconds: float) -> None:
    """One more turn, so much later."""
    world.clock.s += seconds
    while not await process.lease.step():
        world.clock.s += 1.0
    await process.turn()


async def started(world: World) -> Process:
    process = Process(world)
    await process.begin()
    await process.turn()
    return process


def asked(world: World, words: str) -> int:
    """How many questions have these words; they are forgotten."""
    number = sum(words in sql for sql in world.clickhouse.asked)
    world.clickhouse.asked.clear()
    return number


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "words"), [("metric", NUMBERS), ("issue", ACTIVE), ("monitor", "AS check_ins")])
@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_rule_that_fails_is_asked_once_and_then_less_and_less_often(
    kind: str, words: str, is_broken: bool
) -> None:
    """An hour is to be caught up: not sixty tries in each round. When it works again, it is evaluated up to now."""
    world = World()
    world.rule(kind)
    world.clickhouse.numbers = {"count()": 1.0}
    process = await started(world)
    if is_broken:
        world.clickhouse.broken = (words,)
    else:
        world.clickhouse.too_wide = (words,)
    asked(world, words)
    await turn_after(world, process, 3_600.0)
    assert asked(world, words) == 1
    assert list(process.evaluator.errors) == [("acme", 5)]
    for _ in range(120):
        await turn_after(world, process, 5.0)
    assert 3 <= asked(world, words) <= 8, "ten minutes, each pause twice the one before"
    world.clickhouse.too_wide = world.clickhouse.broken = ()
    await turn_after(world, process, 900.0)
    assert process.evaluator.errors == {}
    assert asked(world, words) == 1
    state = (await process.states.of(("acme", 5))).state
    assert state.evaluated_ns >= (world.clock.s - 10.0) * NS


@pytest.mark.asyncio
async def test_a_rule_that_failed_is_tried_at_once_when_it_was_changed() -> None:
    """Whoever mends it need not wait."""
    world = World()
    world.rule("metric")
    world.clickhouse.numbers = {"count()": 1.0}
    process = await started(world)
    world.clickhouse.too_wide = ("countIf", NUMBERS)
    await turn_after(world, process, 60.0)
    world.clickhouse.too_wide = ()
    world.rule("metric", query="level:error", timeWindow=5)
    await turn_after(world, process, 20.0)
    assert process.evaluator.errors == {}


@pytest.mark.asyncio
async def test_a_failing_rule_is_no_fault_of_others() -> None:
    """Of the same organisation and of another one; they are evaluated in each round."""
    world = World()
    for number in range(1, 4):
        world.rule(rule_id=number, conditions=[{"id": EVERY}], filters=[LEVEL] if number == 1 else [], frequency=5)
    world.rule(rule_id=9, organisation="zulu")
    process = await started(world)
    world.clickhouse.broken = (MATCHING,)
    world.error()
    await turn_after(world, process, 5.0)
    assert list(process.evaluator.errors) == [("acme", 1)]
    assert sorted(message.rule.rule_id for message in world.receivers.messages) == [2, 3]
    for key, stored in process.states:
        assert (stored.state.evaluated_ns == int(world.clock.s * NS)) == (key != ("acme", 1))


@pytest.mark.asyncio
async def test_an_outage_is_no_failure_of_a_rule() -> None:
    """Also of one shard: the round ends, and the time is evaluated afterwards."""
    world = World()
    world.rule("metric")
    world.clickhouse.numbers = {"count()": 1.0}
    process = await started(world)
    world.clickhouse.broken = (NUMBERS, "AS answers")
    for _ in range(20):
        with pytest.raises(ApiError):
            await turn_after(world, process, 60.0)
    assert process.evaluator.errors == {}
    world.clickhouse.broken = ()
    asked(world, NUMBERS)
    await turn_after(world, process, 60.0)
    assert asked(world, NUMBERS) >= 10, "in steps"


@pytest.mark.asyncio
async def test_slow_rules_of_one_organisation_do_not_stop_those_of_another() -> None:
    """Thirty rules of four seconds each: a round has a few of them; all of them have their turn."""
    world = World()
    for number in range(1, 31):
        world.rule(rule_id=number, conditions=[{"id": EVERY}], filters=[LEVEL])
    world.rule(rule_id=99, organisation="zulu")
    process = await started(world)
    world.clickhouse.slow = {MATCHING: 4.0}
    world.error()
    for _ in range(60):
        before_s = world.clickhouse.worked_s
        world.clickhouse.asked_of.clear()
        await turn_after(world, process, 5.0)
        assert world.clickhouse.worked_s - before_s <= TURN_S + 4.0
        assert "zulu" in world.clickhouse.asked_of
    states = {key: stored.state.evaluated_ns for key, stored in process.states}
    assert min(states.values()) > (START_S + 5.0) * NS, "each of the slow ones"
    assert process.evaluator.errors == {}


@pytest.mark.asyncio
async def test_rules_for_which_there_is_no_time_say_so() -> None:
    """Whoever has too many sees why they are late."""
    world = World()
    for number in range(1, 31):
        world.rule(rule_id=number, conditions=[{"id": EVERY}], filters=[LEVEL])
    process = await started(world)
    world.clickhouse.slow = {MATCHING: 100.0}
    world.error()
    for _ in range(30):
        await turn_after(world, process, 60.0)
    assert "take too long" in "".join(process.evaluator.errors.values())


def test_who_used_more_waits_and_nobody_waits_for_ever() -> None:
    """Ten that take long and ten that do not: the quick ones in each round, the slow ones in turn."""
    clock = Clock()
    turns = Turns(clock.now_s)
    names = [f"{kind}{number}" for kind in ("a-slow", "b-quick") for number in range(10)]
    seen: dict[str, int] = dict.fromkeys(names, 0)
    for _ in range(100):
        began_s = clock.s
        for name in turns.of(names):
            with turns.turn(name):
                seen[name] += 1
                clock.s += 15.0 if "slow" in name else 0.01
        assert clock.s - began_s <= ROUND_S + 15.0
    assert all(seen[name] >= 90 for name in names if "quick" in name)
    assert all(seen[name] >= 10 for name in names if "slow" in name)


def test_a_turn_is_over_after_its_time() -> None:
    """And outside of one there is no limit."""
    clock = Clock()
    turns = Turns(clock.now_s)
    (name,) = turns.of(["acme"])
    with turns.turn(name):
        assert not turns.is_over()
        clock.s += TURN_S
        assert turns.is_over()
    assert not turns.is_over()
