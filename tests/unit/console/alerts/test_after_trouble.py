"""Lost answers, clocks that were wrong, addresses that changed: nothing is lost, and no id is used twice."""

from __future__ import annotations

import pytest

from console.alerts.bucket import BucketUnavailable
from tests.unit.console.alerts.world import NS, START_S, Process, World

pytestmark = pytest.mark.asyncio


async def test_messages_that_wait_go_to_the_new_address() -> None:
    """The action has another uuid since its address was changed; the message has the same id."""
    world = World()
    world.rule()
    process = Process(world)
    await process.begin()
    world.error()
    world.receivers.fails = ["HTTP 500"]
    await process.turn()
    world.rule(actions=[{"type": "webhook", "uuid": "new", "url": "https://other.test/x", "replaces": ["a5"]}])
    world.clock.s += 5.0
    await process.lease.step()
    await process.turn()
    world.clock.s += 5.0
    await process.turn()
    assert len({message.delivery_id for message in world.receivers.messages}) == 1
    assert len(world.receivers.messages) == 2


async def test_a_number_that_falls_back_after_a_lost_answer_is_told_as_resolved() -> None:
    """ "Critical" is stored and sent, so "resolved" follows, and the next "critical" is another firing."""
    world = World()
    world.rule("metric")
    process = Process(world)
    await process.begin()
    await process.turn()
    for value, loses in ((50.0, True), (0.0, False), (50.0, False), (0.0, False)):
        world.clock.s += 20.0
        while not await process.lease.step():
            world.clock.s += 1.0
        world.clickhouse.numbers = {"count()": value}
        world.entries.loses_answers = loses
        try:
            await process.turn()
        except BucketUnavailable:
            assert loses
        world.entries.loses_answers = False
    for _ in range(5):
        world.clock.s += 5.0
        await process.lease.step()
        await process.turn()
    statuses = [message.status for message in world.receivers.messages]
    assert statuses == ["firing", "resolved", "firing", "resolved"]
    assert len({message.firing_id for message in world.receivers.messages}) == 4


@pytest.mark.parametrize("kind", ["issue", "metric", "monitor"])
async def test_a_clock_that_was_ahead_silences_nothing(kind: str) -> None:
    """Two hours ahead for a minute: what comes after it is evaluated, and errors of that time are told."""
    world = World()
    world.rule(kind)
    world.clickhouse.numbers = {"count()": 1.0}
    process = Process(world)
    await process.begin()
    await process.turn()
    for seconds in (7_200.0, 61.0):
        world.clock.s += seconds
        while not await process.lease.step():
            world.clock.s += 1.0
        await process.turn()
    world.clock.s -= 7_100.0
    second = Process(world, "two")
    second.lease._held_until = float("inf")
    await second.states.load_all()
    if kind == "issue":
        world.error()
    for _ in range(3):
        world.clock.s += 10.0
        await second.turn()
    (stored,) = [stored for _, stored in second.states]
    assert stored.state.evaluated_ns <= world.clock.s * NS
    assert stored.state.evaluated_ns >= (world.clock.s - 15.0) * NS
    assert len(world.receivers.messages) == (kind == "issue")


async def test_the_time_of_clickhouse_counts_where_it_is_earlier() -> None:
    """A process whose clock is ahead stores no time that has not come."""
    world = World()
    world.rule(created_s=START_S - 7_200)
    world.clickhouse.ahead_s = -3_600.0
    process = Process(world)
    await process.begin()
    await process.turn()
    (stored,) = [stored for _, stored in process.states]
    assert stored.state.evaluated_ns <= (world.clock.s - 3_599.0) * NS
