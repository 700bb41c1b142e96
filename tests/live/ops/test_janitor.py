"""The janitor on a real broker: what is not worked on never goes, and a full stream becomes usable again by itself."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import APIError

from ops.janitor.trimming import Janitor, JanitorSettings
from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets
from ops.replay.control import Choice, ReplayState, open_control
from ops.runtime.failures import Failed
from schemas import subjects
from schemas.subjects import RAW, SOURCES, UNPACK
from tests.polling import DEADLINE_S, eventually
from tests.servers import Server
from tests.traffic import Sender

pytestmark = pytest.mark.live

BUDGETS = Budgets(
    raw_max_bytes=2 * MIB,
    items_max_bytes=2 * MIB,
    dead_max_bytes=2 * MIB,
    artifacts_max_bytes=MIB,
    replay_max_bytes=2 * MIB,
)
WEEK_S = 7 * 86_400


class Broker:
    """RAW with bodies in it, workers who acknowledge as told, and janitors."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.js = client.jetstream(timeout=60)

    async def fill(self, bodies: int, size_bytes: int = 100) -> None:
        for _ in range(bodies):
            await self.js.publish(subjects.raw(subjects.SENTRY_ENVELOPE, 7), os.urandom(size_bytes))

    async def acknowledge(self, bodies: int, worker: str = UNPACK) -> None:
        source = SOURCES[worker]
        subscription = await self.js.pull_subscribe_bind(consumer=source.durable, stream=source.stream)
        for _ in range(bodies):
            for message in await subscription.fetch(1, timeout=60):
                await message.ack_sync()
        await subscription.unsubscribe()

    def janitor(self, **settings: Any) -> Janitor:
        return Janitor(self.client, JanitorSettings(**({"replay_horizon_s": 0} | settings)))

    async def held(self) -> tuple[int, int]:
        """(first sequence, messages) of RAW."""
        state = (await self.js.stream_info(RAW)).state
        return state.first_seq, state.messages


@asynccontextmanager
async def migrated(server: Server) -> AsyncIterator[Broker]:
    """A migrated broker."""
    await migrate.migrate_broker(JanitorSettings(nats_url=server.url), BUDGETS, dry_run=False)
    client = await nats.connect(server.url)
    try:
        yield Broker(client)
    finally:
        await client.close()


@pytest.mark.asyncio
async def test_nothing_unacknowledged_ever_goes(own_nats_server: Server) -> None:
    """Whatever horizon and pressure say; and readers that have nothing to read hold nobody up."""
    async with migrated(own_nats_server) as broker:
        await broker.fill(100, 19_000)
        await broker.acknowledge(40)
        assert await broker.janitor(janitor_pressure=0.01).tidy() == 40
        assert await broker.held() == (41, 60)
        assert await broker.janitor(janitor_pressure=0.01).tidy() == 0
        await broker.acknowledge(60)
        assert await broker.janitor().tidy() == 60


@pytest.mark.asyncio
async def test_the_slowest_reader_decides(own_nats_server: Server) -> None:
    """One worker is done, another has not begun: what lies behind the second one's first message may go."""
    async with migrated(own_nats_server) as broker:
        await broker.fill(10)
        await broker.js.publish(subjects.raw(subjects.OTLP_LOGS, 7), b"waits")
        await broker.fill(10)
        await broker.acknowledge(20)
        await broker.janitor().tidy()
        first, messages = await broker.held()
        assert first <= 11
        assert messages >= 11
        await broker.acknowledge(1, "otlp_log")
        await broker.janitor().tidy()
        assert (await broker.held())[1] == 0


@pytest.mark.asyncio
async def test_the_horizon_keeps_what_is_young(own_nats_server: Server) -> None:
    """Acknowledged bodies stay for a replay until they are old enough, and not longer."""
    async with migrated(own_nats_server) as broker:
        await broker.fill(10)
        await broker.acknowledge(10)
        assert await broker.janitor(replay_horizon_s=WEEK_S).tidy() == 0
        deadline = time.monotonic() + DEADLINE_S
        while not await broker.janitor(replay_horizon_s=1).tidy() and time.monotonic() < deadline:
            await broker.fill(1)
            await broker.acknowledge(1)
            await asyncio.sleep(0.1)
        first, messages = await broker.held()
        assert first > 1
        assert messages > 0


@pytest.mark.asyncio
async def test_pressure_goes_before_the_horizon(own_nats_server: Server) -> None:
    """Above the fraction just enough goes, oldest first; with 1 the horizon holds, and the stream stays full."""
    async with migrated(own_nats_server) as broker:
        with pytest.raises(APIError):
            await broker.fill(1_000, 19_000)
        _, full = await broker.held()
        await broker.acknowledge(full)
        assert await broker.janitor(replay_horizon_s=WEEK_S, janitor_pressure=1).tidy() == 0
        removed = await broker.janitor(replay_horizon_s=WEEK_S, janitor_pressure=0.5).tidy()
        first, messages = await broker.held()
        assert first == removed + 1
        assert full * 0.45 < messages <= full * 0.51
        await broker.fill(1, 19_000)


@pytest.mark.asyncio
async def test_a_missing_durable_stops_all_trimming(own_nats_server: Server) -> None:
    """Nobody knows what it has worked on: nothing goes, and the message names it."""
    async with migrated(own_nats_server) as broker:
        await broker.fill(10)
        await broker.acknowledge(10)
        await broker.js.delete_consumer(RAW, SOURCES["otlp_span"].durable)
        with pytest.raises(Failed, match="otlp_span-v1"):
            await broker.janitor().tidy()
        assert await broker.held() == (1, 10)


@pytest.mark.asyncio
async def test_two_janitors_do_no_harm(own_nats_server: Server) -> None:
    """At once, in small steps: everything that may go is gone, everything else is there."""
    async with migrated(own_nats_server) as broker:
        await broker.fill(100)
        await broker.acknowledge(95)
        await asyncio.gather(*(broker.janitor(janitor_step_messages=7).tidy() for _ in range(2)))
        assert await broker.held() == (96, 5)


@pytest.mark.asyncio
async def test_a_replay_under_way_is_waited_for(own_nats_server: Server) -> None:
    """What it has still to read stays, unless it was abandoned."""
    async with migrated(own_nats_server) as broker:
        await broker.fill(10)
        await broker.acknowledge(10)
        now = dt.datetime.now(dt.UTC)
        control = await open_control(broker.js)
        state = ReplayState(
            generation=1,
            choice=Choice(since=now, until=now),
            rate=1,
            first_seq=1,
            next_seq=5,
            end_seq=11,
            total=10,
            updated_at=now,
        )
        await control.save(state)
        assert await broker.janitor().tidy() == 4
        await control.save(state.model_copy(update={"updated_at": now - dt.timedelta(hours=1)}))
        assert await broker.janitor().tidy() == 6


@pytest.mark.asyncio
async def test_generations_only_rise(own_nats_server: Server) -> None:
    """Whoever asks at once gets a number of its own."""
    async with migrated(own_nats_server) as broker:
        control = await open_control(broker.js)
        found = await asyncio.gather(*(control.next_generation() for _ in range(20)))
        assert sorted(found) == list(range(1, 21))


def test_a_full_stream_answers_503_and_recovers_by_itself(make_system: Any) -> None:
    """The receiver refuses while RAW is full; when the janitor has trimmed, the same request is taken."""
    system = make_system(
        AXONPUSH_RAW_MAX_BYTES=str(MIB), AXONPUSH_JANITOR_INTERVAL_S="3", AXONPUSH_COUNTS_WAIT_SENTRY_MS="0"
    ).start()
    sender = Sender(system, system.ready["channel"])
    junk = os.urandom(50_000).hex().encode()

    def send() -> int:
        unique = os.urandom(8).hex().encode()
        return sender.envelope(
            b'{"trace":{"x":"%s"}}\n{"type":"profile","length":%d}\n%s\n' % (unique, len(junk), junk)
        )

    eventually(lambda: send() == 503, "RAW to be full")
    eventually(lambda: send() == 200, "room in RAW again")
    assert b"trimmed" in (system.data_dir / "logs" / "janitor.log").read_bytes()
    assert system.stop() == 0
