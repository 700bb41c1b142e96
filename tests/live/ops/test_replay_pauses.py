"""A replay pauses while live messages wait for workers, and continues by itself."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable

import nats
import pytest
from nats.js import JetStreamContext

from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import MIB, Budgets
from ops.replay.control import Choice, Control
from ops.replay.run import MAX_LIVE_PENDING, Replay
from ops.runtime.settings import Settings
from schemas import headers, subjects
from schemas.headers import Origin
from tests.servers import Server

pytestmark = pytest.mark.live

BUDGETS = Budgets(raw_max_bytes=64 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)
TOO_MANY = MAX_LIVE_PENDING + 50
DEADLINE_S = 120.0


async def store_bodies(jetstream: JetStreamContext, count: int) -> None:
    """Bodies that no worker takes, since there is none."""
    origin = Origin("acme", 7, "k", "production", False, time.time_ns())
    subject = subjects.raw(subjects.OTLP_LOGS, 7)
    await asyncio.gather(
        *(jetstream.publish(subject, b"{}", headers=headers.write(origin, f"m-{number}")) for number in range(count))
    )


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():
            await asyncio.sleep(0.05)


async def scene(nats_url: str) -> None:
    await migrate_broker(Settings(nats_url=nats_url), BUDGETS, dry_run=False)
    client = await nats.connect(nats_url)
    jetstream, stop, told = client.jetstream(timeout=60), asyncio.Event(), asyncio.Event()
    await store_bodies(jetstream, TOO_MANY)

    def tell(_done: int, _total: int, what: str) -> None:
        if what == f"waiting for {TOO_MANY} live messages":
            told.set()

    async def replayed() -> int:
        return (await jetstream.stream_info(subjects.REPLAY)).state.messages

    replay = Replay(client, Control(await jetstream.key_value(subjects.CONTROL_BUCKET)), tell, stop)
    now = dt.datetime.now(dt.UTC)
    plan = await replay.plan(Choice(since=now - dt.timedelta(hours=1), until=now + dt.timedelta(hours=1)), 0)
    assert plan.total == TOO_MANY
    running = asyncio.create_task(replay.run(plan))
    await asyncio.wait_for(told.wait(), DEADLINE_S)
    assert await replayed() == 0

    source = subjects.SOURCES["otlp_log"]
    worker = await jetstream.pull_subscribe_bind(source.durable, source.stream)
    await worker.fetch(100, timeout=60)

    async def goes_on() -> bool:
        return await replayed() > 0

    await until(goes_on)
    stop.set()
    await asyncio.wait_for(running, DEADLINE_S)
    await client.close()


@pytest.mark.asyncio
async def test_a_replay_waits_while_live_messages_wait(own_nats_server: Server) -> None:
    """Nothing is published above the limit; below it the replay goes on without hands."""
    await scene(own_nats_server.url)
