"""Messages of one organisation whose receivers never answer do not hold those of another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from console.alerts.limits.places import MessagePlaces
from console.alerts.state import AlertDelivery, Firing
from tests.unit.console.alerts.world import Process, World

pytestmark = pytest.mark.asyncio


async def looped(times: int = 50) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", ["webhook", "email"])
async def test_receivers_that_hang_stop_no_other_organisation(kind: str) -> None:
    """A hundred rules of acme tell receivers that never answer; zulu is told at once."""
    world, keys = World(), [*(("acme", number) for number in range(1, 101)), ("zulu", 200)]
    for organisation, number in keys:
        action = {"type": kind, "uuid": f"a{number}", "url": "https://hangs.test/", "to": ["a@b.test"]}
        world.rule(rule_id=number, organisation=organisation, actions=[action])
    process = Process(world)
    await process.begin()
    await process.turn()
    for organisation, number in keys:
        stored = await process.states.of((organisation, number))
        stored.state.firings = [Firing("f", 1, "firing", "critical", "issue:1:2", 1, "t", "m", "/")]
        stored.state.deliveries = [AlertDelivery(f"d{number}", "f", f"a{number}", kind, "t", 1, 1)]
    world.receivers.hangs = kind
    tasks = process.sender.start_due(MessagePlaces(8))
    await looped()
    told = [message.rule.organisation for message in world.receivers.messages]
    assert "zulu" in told
    assert told.count("acme") == (6 if kind == "webhook" else 3)
    await cancelled(tasks)


@pytest.mark.parametrize(("most", "of_one"), [(1, 1), (2, 1), (4, 3), (16, 12)])
async def test_an_organisation_has_three_quarters_of_the_places(most: int, of_one: int) -> None:
    """And at least one."""
    places, inside = MessagePlaces(most), list[str]()

    async def work(organisation: str) -> None:
        async with places.of(organisation):
            inside.append(organisation)
            await asyncio.get_running_loop().create_future()

    tasks = [asyncio.create_task(work(name)) for name in ["acme"] * 50 + ["zulu"] * 50]
    await looped()
    assert inside.count("acme") == of_one
    assert len(inside) == most
    await cancelled(tasks)


async def test_who_waits_is_one_of_few() -> None:
    """Fifty of acme wait for their own; the common line has at most three of each, so zulu is next but a few."""
    places, order = MessagePlaces(4), list[str]()

    async def work(organisation: str) -> None:
        async with places.of(organisation):
            order.append(organisation)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(name)) for name in [*["acme"] * 50, *["bravo"] * 50, "zulu"]]
    await asyncio.gather(*tasks)
    assert order.index("zulu") < 12
