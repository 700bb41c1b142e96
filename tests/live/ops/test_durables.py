"""A durable that somebody deleted is made again where it stopped: nothing is lost, little comes twice, no hand."""

from __future__ import annotations

import pytest

from ops.janitor.trimming import JanitorSettings
from ops.provisioning import migrate
from ops.provisioning.durables import Durables
from ops.runtime.failures import Failed
from schemas.subjects import RAW, REPLAY_SOURCES, SOURCES, UNPACK
from tests.live.ops.test_janitor import BUDGETS, Broker, migrated
from tests.servers import Server

pytestmark = [pytest.mark.live, pytest.mark.long]

DURABLE = SOURCES[UNPACK].durable


async def numbers(broker: Broker, durable: str = DURABLE) -> list[int]:
    """Sequences that the durable has still to deliver."""
    found: list[int] = []
    subscription = await broker.js.pull_subscribe_bind(consumer=durable, stream=RAW)
    while (await broker.js.consumer_info(RAW, durable)).num_pending:
        found += [message.metadata.sequence.stream for message in await subscription.fetch(100, timeout=60)]
    return found


@pytest.mark.asyncio
async def test_it_starts_after_what_it_had_acknowledged(own_nats_server: Server) -> None:
    """Also for bodies that came while it was gone; and `migrate` finds nothing to change afterwards."""

    async with migrated(own_nats_server) as broker:
        await broker.fill(20)
        await broker.acknowledge(12)
        durables = Durables(broker.client)
        assert await durables.keep() == []
        await broker.js.delete_consumer(RAW, DURABLE)
        await broker.fill(3)
        assert await durables.keep() == [DURABLE]
        assert await durables.keep() == []
        assert await numbers(broker) == list(range(13, 24))
        settings = JanitorSettings(nats_url=own_nats_server.url)
        assert await migrate.migrate_broker(settings, BUDGETS, dry_run=False) == []


@pytest.mark.asyncio
async def test_another_janitor_knows_where_it_was(own_nats_server: Server) -> None:
    """The place is kept on the broker, not in a process; what was settled after the last look comes once more."""

    async with migrated(own_nats_server) as broker:
        await broker.fill(20)
        await broker.acknowledge(12)
        await Durables(broker.client).keep()
        await broker.acknowledge(4)
        await broker.js.delete_consumer(RAW, DURABLE)
        assert await Durables(broker.client).keep() == [DURABLE]
        assert await numbers(broker) == list(range(13, 21))


@pytest.mark.asyncio
async def test_where_nothing_is_known_it_begins_at_the_first(own_nats_server: Server) -> None:
    """Too much is never a fault: rows are the same."""

    async with migrated(own_nats_server) as broker:
        await broker.fill(5)
        await broker.acknowledge(3)
        await broker.js.delete_consumer(RAW, DURABLE)
        assert await Durables(broker.client).keep() == [DURABLE]
        assert await numbers(broker) == [1, 2, 3, 4, 5]


@pytest.mark.asyncio
async def test_the_place_in_an_older_stream_says_nothing_about_this_one(own_nats_server: Server) -> None:
    """A RAW that was lost and made anew counts from 1 again: the old number would skip what it holds."""

    async with migrated(own_nats_server) as broker:
        await broker.fill(8)
        await broker.acknowledge(8)
        await Durables(broker.client).keep()
        await broker.js.delete_stream(RAW)
        durables = Durables(broker.client)
        assert await durables.keep() == []  # a missing stream is migrate's business
        settings = JanitorSettings(nats_url=own_nats_server.url)
        await migrate.migrate_broker(settings, BUDGETS, dry_run=False)
        await broker.js.delete_consumer(RAW, DURABLE)
        await broker.fill(10)
        assert DURABLE in await durables.keep()
        assert await numbers(broker) == list(range(1, 11))


@pytest.mark.asyncio
async def test_all_of_them_and_nothing_is_trimmed_meanwhile(own_nats_server: Server) -> None:
    """Whatever was deleted, replays' too; the janitor deletes no body while one of RAW's is gone."""

    async with migrated(own_nats_server) as broker:
        await broker.fill(5)
        await broker.acknowledge(5)
        sources = [*SOURCES.values(), *REPLAY_SOURCES.values()]
        for source in sources:
            await broker.js.delete_consumer(source.stream, source.durable)
        with pytest.raises(Failed, match="expected durables"):
            await broker.janitor().tidy()
        assert sorted(await Durables(broker.client).keep()) == sorted(source.durable for source in sources)
        assert await broker.janitor().tidy() == 0
        assert await broker.held() == (1, 5)
        await broker.acknowledge(5)
        assert await broker.janitor().tidy() == 5
