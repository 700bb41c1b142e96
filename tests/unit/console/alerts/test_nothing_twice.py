"""A process that is killed anywhere: what it found is told, and is one firing."""

from __future__ import annotations

import itertools

import pytest

from console.alerts.bucket import BucketUnavailable, EntryChanged
from console.alerts.lease import LeaseLost
from console.alerts.state import PENDING
from console.api.errors import ApiError
from tests.unit.console.alerts.world import ISSUE_ID, Killed, Process, World

pytestmark = pytest.mark.asyncio


async def run_after_kill(world: World) -> None:
    """A second process takes over, and works until nothing is left."""
    world.entries.kill_at = world.clickhouse.kill_at = world.receivers.kill_at = 0
    second = Process(world, "two")
    await second.begin()
    for _ in range(4):
        world.clock.s += 40.0
        await second.turn()


def told(world: World) -> tuple[set[str], set[str], int]:
    """Ids of firings and of deliveries that a receiver got, and how many messages that were."""
    messages = world.receivers.messages
    return {one.firing_id for one in messages}, {one.delivery_id for one in messages}, len(messages)


@pytest.mark.parametrize("kills_after", [False, True])
@pytest.mark.parametrize("step", range(1, 14))
async def test_a_kill_at_any_write_loses_and_doubles_nothing(step: int, kills_after: bool) -> None:
    """Before the write and after it: the new issue is one firing, one delivery, and one row."""
    world = World()
    world.rule()
    first = Process(world, "one")
    await first.begin()
    await first.turn()
    world.error()
    world.clock.s += 5.0
    world.entries.operations, world.entries.kill_at, world.entries.kills_after = 0, step, kills_after
    try:
        await first.turn()
        await first.turn()
    except Killed:
        pass
    await run_after_kill(world)
    firings, deliveries, messages = told(world)
    assert (len(firings), len(deliveries)) == (1, 1)
    assert 1 <= messages <= 2, "sent again only where the result of the first was not stored"
    assert {row["firing_id"] for row in world.clickhouse.inserted["alert_firing_rows"]} == firings
    last = max(world.clickhouse.inserted["alert_delivery_rows"], key=lambda row: row["row_version"])
    assert last["status"] == "delivered"


@pytest.mark.parametrize("step", range(1, 12))
async def test_a_kill_at_any_question_or_row_loses_and_doubles_nothing(step: int) -> None:
    """While it asks ClickHouse or writes history."""
    world = World()
    world.rule()
    first = Process(world, "one")
    await first.begin()
    await first.turn()
    world.error()
    world.clock.s += 5.0
    world.clickhouse.operations, world.clickhouse.kill_at = 0, step
    try:
        await first.turn()
        await first.turn()
    except Killed:
        pass
    await run_after_kill(world)
    firings, deliveries, _ = told(world)
    assert (len(firings), len(deliveries)) == (1, 1)
    assert {row["firing_id"] for row in world.clickhouse.inserted["alert_firing_rows"]} == firings


async def test_a_kill_while_sending_sends_the_same_delivery_again() -> None:
    """The receiver has it, nobody knows: it comes again with the same id."""
    world = World()
    world.rule()
    first = Process(world)
    await first.begin()
    world.error()
    world.receivers.kill_at = 1
    with pytest.raises(Killed):
        await first.turn()
    await run_after_kill(world)
    firings, deliveries, messages = told(world)
    assert (len(firings), len(deliveries), messages) == (1, 1, 2)


async def test_who_lost_the_lease_decides_and_sends_nothing() -> None:
    """A process that was paused: the lease is over, another one evaluates, and its writes are refused."""
    world = World()
    world.rule()
    paused = Process(world, "paused")
    await paused.begin()
    await paused.turn()
    world.clock.s += 60.0
    other = Process(world, "other")
    await other.begin()
    world.error()
    await other.turn()
    assert not paused.lease.is_held
    with pytest.raises(LeaseLost):
        await paused.evaluator.round()
    assert len(world.receivers.messages) == 1


async def test_a_process_that_does_not_know_it_lost_the_lease_is_stopped_by_the_entry() -> None:
    """Its own clock says that it still has it: the revision of the entry says no, before anything is sent."""
    world = World()
    world.rule()
    paused = Process(world, "paused")
    await paused.begin()
    await paused.turn()
    other = Process(world, "other")
    other.lease._held_until = float("inf")  # as if the broker had given it away
    await other.states.load_all()
    world.error()
    world.clock.s += 1.0
    await other.turn()
    with pytest.raises(EntryChanged):
        await paused.evaluator.round()
    assert len(world.receivers.messages) == 1


async def test_a_write_without_an_answer_is_looked_up_before_the_next() -> None:
    """It was stored, its answer was lost: the firing is not decided again."""
    world = World()
    world.rule()
    process = Process(world)
    await process.begin()
    await process.turn()
    world.error()
    world.clock.s += 1.0
    world.entries.loses_answers = True
    with pytest.raises(BucketUnavailable):
        await process.evaluator.round()
    world.entries.loses_answers = False
    for _ in range(3):
        world.clock.s += 2.0
        await process.turn()
    firings, deliveries, messages = told(world)
    assert (len(firings), len(deliveries), messages) == (1, 1, 1)
    assert len(world.clickhouse.inserted["alert_firing_rows"]) == 1


async def test_an_outage_of_clickhouse_is_caught_up() -> None:
    """Errors of the outage are told once it answers, a short peak of it too."""
    world = World()
    world.rule(conditions=[{"id": "sentry.rules.conditions.event_frequency.EventFrequencyCondition",
                            "value": 3, "interval": "1m"}])  # fmt: skip
    process = Process(world)
    await process.begin()
    world.error()
    await process.turn()
    world.clickhouse.is_away = True
    world.clock.s += 30.0
    for _ in range(5):
        world.error()
    with pytest.raises(ApiError):
        await process.turn()
    world.clock.s += 1_800.0
    world.clickhouse.is_away = False
    while not await process.lease.step():
        world.clock.s += 2.0
    await process.turn()
    assert [message.firing_id for message in world.receivers.messages], "the peak of half an hour ago"
    await process.turn()
    assert len(world.receivers.messages) == 1


async def test_an_outage_of_the_receiver_loses_nothing() -> None:
    """It is tried again, each time later, with the same id; messages of one receiver keep their order."""
    world = World()
    world.rule()
    process = Process(world)
    await process.begin()
    world.error()
    world.receivers.fails = ["HTTP 500"] * 6
    await process.turn()
    world.error(ISSUE_ID + 1)
    tries = []
    for _ in range(200):
        world.clock.s += 5.0
        before = len(world.receivers.messages)
        await process.turn()
        tries += [world.clock.s] if len(world.receivers.messages) > before else []
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses[:4] == sorted(pauses[:4])
    ids = [message.delivery_id for message in world.receivers.messages]
    assert len(set(ids)) == 2
    assert ids == sorted(ids, key=ids.index), "the second issue waits behind the first"
    assert ids.count(ids[-1]) == 1


async def test_an_address_that_breaks_a_client_stops_nobody() -> None:
    """Whatever it raises is a failed delivery, tried again later; evaluation and other messages go on."""
    world = World()
    world.rule()
    process = Process(world)
    await process.begin()
    world.error()
    world.receivers.breaks = UnicodeError("label empty or too long")
    await process.turn()
    assert len(world.receivers.messages) == 1
    world.receivers.breaks = None
    world.clock.s += 600.0
    await process.turn()
    assert len({message.delivery_id for message in world.receivers.messages}) == 1
    assert len(world.receivers.messages) == 2


async def test_a_message_that_is_too_old_is_given_up_and_the_next_is_sent() -> None:
    """After the time of the settings; the row says why."""
    world = World()
    world.rule()
    process = Process(world, alerts_give_up_s=60)
    await process.begin()
    world.error()
    world.receivers.fails = ["HTTP 500"] * 5
    for _ in range(60):
        await process.turn()
        world.clock.s += 5.0
    rows = world.clickhouse.inserted["alert_delivery_rows"]
    assert (rows[-1]["status"], rows[-1]["answer"]) == ("failed", "HTTP 500")
    assert not any(delivery.status == PENDING for _, stored in process.states for delivery in stored.state.deliveries)


async def test_a_deleted_rule_tells_nobody_any_more() -> None:
    """Its pending messages go with it."""
    world = World()
    world.rule()
    process = Process(world)
    await process.begin()
    world.error()
    world.receivers.fails = ["HTTP 500"]
    await process.turn()
    world.clickhouse.rules = []
    world.rule(rule_id=6, created_s=world.clock.s + 1)
    for _ in range(12):
        world.clock.s += 60.0
        await process.lease.step()
        while not process.lease.is_held:
            await process.lease.step()
            world.clock.s += 2.0
        await process.turn()
    assert [message.rule.rule_id for message in world.receivers.messages] == [5]
    assert await world.entries.names("state.") == ["state.acme.6"]
