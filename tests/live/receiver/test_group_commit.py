"""Concurrent publishes that are stored together, against a real broker: each gets the answer that is its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import PubAck, RetentionPolicy, StreamConfig
from nats.js.errors import APIError

from ops.runtime import frames
from ops.runtime.frames import Block
from ops.runtime.group_commit import MAX_HEADERS_BYTES, GroupCommit
from tests.polling import ANSWER_TIMEOUT_S, DEADLINE_S
from tests.servers import Server

pytestmark = pytest.mark.live

MANY = 500
FULL = 10077


@dataclass
class Bench:
    """A stream of its own and a publisher into it; `groups` are the sizes of what was stored together."""

    client: Client
    jetstream: JetStreamContext
    stream: str
    group: GroupCommit
    groups: list[int] = field(default_factory=list)

    async def publish(self, body: bytes, message_id: str) -> PubAck:
        return await self.group.publish(f"{self.stream}.x", body, {"Nats-Msg-Id": message_id})

    async def count(self) -> int:
        return (await self.jetstream.stream_info(self.stream)).state.messages


@asynccontextmanager
async def opened_bench(server: Server, **config: int) -> AsyncIterator[Bench]:
    made: Bench

    async def on_disconnected() -> None:
        made.group.connection_lost()

    client = await nats.connect(
        server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, pending_size=-1, disconnected_cb=on_disconnected
    )
    jetstream, stream = client.jetstream(timeout=ANSWER_TIMEOUT_S), f"G{uuid.uuid4().hex}"
    await jetstream.add_stream(
        StreamConfig(name=stream, subjects=[f"{stream}.*"], allow_atomic=True, discard="new", **config)  # type: ignore[arg-type]
    )
    groups: list[int] = []
    made = Bench(client, jetstream, stream, GroupCommit(client, stream, 5.0, groups.append), groups)
    try:
        yield made
    finally:
        with suppress(nats.errors.Error):
            await jetstream.delete_stream(stream)
        await client.close()


@pytest.mark.asyncio
async def test_many_at_once_are_stored_in_few_groups_and_each_knows_its_place(nats_server: Server) -> None:
    """Every ack's sequence holds exactly that body; the order of publishing is the order in the stream."""
    async with opened_bench(nats_server) as bench:
        acks = await asyncio.gather(*(bench.publish(b"body %d" % n, str(n)) for n in range(MANY)))
        assert await bench.count() == MANY == sum(bench.groups)
        assert len(bench.groups) < MANY / 10
        assert [ack.seq for ack in acks] == list(range(1, MANY + 1))
        for n in (0, 1, 250, MANY - 1):
            stored = await bench.jetstream.get_msg(bench.stream, acks[n].seq)
            assert stored.data == b"body %d" % n


@pytest.mark.asyncio
async def test_one_alone_waits_for_nobody(nats_server: Server) -> None:
    """Publishes one after another are plain ones: groups of one, without the headers of a batch."""
    async with opened_bench(nats_server) as bench:
        for n in range(3):
            ack = await bench.publish(b"x", str(n))
        stored = await bench.jetstream.get_msg(bench.stream, ack.seq)
        assert bench.groups == [1, 1, 1]
        assert not [name for name in stored.headers or {} if name.startswith("Nats-Batch")]


@pytest.mark.asyncio
async def test_a_known_message_among_new_ones_is_the_only_duplicate(nats_server: Server) -> None:
    """The server refuses a batch for one known id; the others must not pay for it, nor be stored twice."""
    async with opened_bench(nats_server) as bench:
        first = await bench.publish(b"known", "known")
        names = [*map(str, range(50)), "known", *map(str, range(50, 100))]
        acks = await asyncio.gather(*(bench.publish(name.encode(), name) for name in names))
        assert [name for name, ack in zip(names, acks, strict=True) if ack.duplicate] == ["known"]
        assert acks[50].seq == first.seq
        assert await bench.count() == 101


@pytest.mark.asyncio
async def test_equal_messages_at_the_same_time_are_one(nats_server: Server) -> None:
    """A client that sends the same bytes over several connections at once."""
    async with opened_bench(nats_server) as bench:
        acks = await asyncio.gather(*(bench.publish(b"same", "same") for _ in range(20)))
        assert sum(not ack.duplicate for ack in acks) == 1
        assert {ack.seq for ack in acks} == {acks[0].seq}
        assert await bench.count() == 1


@pytest.mark.asyncio
async def test_a_full_stream_takes_what_fits_and_refuses_the_rest(nats_server: Server) -> None:
    """Whoever is told that it is stored, is; whoever is not, hears the server's own error."""
    async with opened_bench(nats_server, max_msgs=60) as bench:
        publishing = (bench.publish(b"x", str(n)) for n in range(100))
        found = await asyncio.gather(*publishing, return_exceptions=True)
        stored = [ack for ack in found if isinstance(ack, PubAck)]
        refused = [error for error in found if isinstance(error, APIError)]
        assert len(stored) + len(refused) == 100
        assert await bench.count() == len(stored) == 60
        assert {error.err_code for error in refused} == {FULL}


@pytest.mark.asyncio
async def test_one_too_large_is_refused_without_harm_to_the_others(nats_server: Server) -> None:
    """The server would close the connection over it."""
    async with opened_bench(nats_server) as bench:
        large = bytes(bench.client.max_payload - MAX_HEADERS_BYTES + 1)
        bodies = [b"x", large, b"y"]
        publishing = (bench.publish(body, str(n)) for n, body in enumerate(bodies))
        one, refused, other = await asyncio.gather(*publishing, return_exceptions=True)
        assert isinstance(refused, nats.errors.MaxPayloadError)
        assert isinstance(one, PubAck)
        assert isinstance(other, PubAck)
        largest = await bench.publish(bytes(bench.client.max_payload - MAX_HEADERS_BYTES), "largest")
        assert largest.seq == 3


SHARED = Block({"Organisation": "default", "User-Agent": "a: b"})


@pytest.mark.parametrize("at_once", [True, False], ids=["written at once", "by nats-py alone"])
@pytest.mark.asyncio
async def test_messages_of_a_batch_have_all_their_headers(
    nats_server: Server, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Their own and the shared ones, first to last; the same where this nats-py cannot be written to directly."""
    async with opened_bench(nats_server) as bench:
        assert frames.can_write(bench.client), "nats-py has changed: see ops/runtime/frames.py"
        written = bench.client.stats["out_msgs"]
        if not at_once:
            monkeypatch.setattr(frames, "can_write", lambda _client: False)
        subject, many = f"{bench.stream}.x", range(20)
        publishing = (bench.group.publish(subject, b"%d" % n, {"Nats-Msg-Id": f"m{n}"}, SHARED) for n in many)
        acks = await asyncio.gather(*publishing)
        assert max(bench.groups) > 2
        assert bench.client.stats["out_msgs"] >= written + len(many)
        for number, ack in enumerate(acks):
            stored = await bench.jetstream.get_msg(bench.stream, ack.seq)
            ours = {name: text for name, text in (stored.headers or {}).items() if not name.startswith("Nats-Batch-")}
            assert stored.data == b"%d" % number
            assert ours == {**SHARED.fields, "Nats-Msg-Id": f"m{number}", "Nats-Expected-Stream": bench.stream}


@pytest.mark.asyncio
async def test_a_message_that_cannot_be_written_fails_alone_or_with_its_group(nats_server: Server) -> None:
    """Never the connection, and never in silence."""
    async with opened_bench(nats_server) as bench:
        publishing = [bench.publish(b"x", str(n)) for n in range(10)]
        publishing.append(bench.group.publish(f"{bench.stream}.x", b"bad", {"a b": "c"}))
        publishing += [bench.publish(b"x", str(n)) for n in range(10, 20)]
        found = await asyncio.gather(*publishing, return_exceptions=True)
        assert isinstance(found[10], nats.errors.BadHeaderError)
        stored = [ack for ack in found if isinstance(ack, PubAck)]
        assert await bench.count() == len(stored)
        assert (await bench.publish(b"x", "after")).seq == len(stored) + 1


@pytest.mark.asyncio
async def test_without_its_publisher_a_queued_message_is_not_sent(nats_server: Server) -> None:
    """A request that was given up while it waited leaves nothing behind, and holds nobody up."""
    async with opened_bench(nats_server) as bench:
        tasks = [asyncio.create_task(bench.publish(b"x", str(n))) for n in range(10)]
        await asyncio.sleep(0)  # each has queued; the first two groups are on their way
        for task in tasks[5:]:
            task.cancel()
        acks = await asyncio.gather(*tasks[:5])
        assert len(acks) == 5
        assert await bench.count() == 5


@pytest.mark.asyncio
async def test_without_atomic_batches_every_message_goes_alone(nats_server: Server) -> None:
    """A stream that an older server made takes none."""
    async with opened_bench(nats_server) as bench:
        config = (await bench.jetstream.stream_info(bench.stream)).config
        other = config.name = f"{bench.stream}-plain"
        config.subjects, config.allow_atomic, config.retention = [f"{other}.x"], False, RetentionPolicy.LIMITS
        await bench.jetstream.add_stream(config)
        group = GroupCommit(bench.client, other, 5.0)
        acks = await asyncio.gather(*(group.publish(f"{other}.x", b"x", {}) for _ in range(30)))
        assert sorted(ack.seq for ack in acks) == list(range(1, 31))
        await bench.jetstream.delete_stream(other)


@pytest.mark.asyncio
async def test_a_killed_broker_has_everything_it_acknowledged(own_nats_server: Server) -> None:
    """kill -9 under load: no wait outlives the connection, and every id that was acknowledged is in the stream once."""
    async with opened_bench(own_nats_server) as bench:
        stored: set[str] = set()
        failed = 0
        ended = asyncio.Event()

        async def sender(name: int) -> None:
            nonlocal failed
            number = 0
            while not ended.is_set():
                message_id = f"{name}-{number}"
                try:
                    await bench.publish(message_id.encode(), message_id)
                except (nats.errors.Error, OSError):
                    failed += 1
                    await asyncio.sleep(0.05)
                else:
                    stored.add(message_id)
                    number += 1

        async def until(count: int) -> None:
            async with asyncio.timeout(DEADLINE_S):
                while len(stored) < count:
                    await asyncio.sleep(0.01)

        senders = [asyncio.create_task(sender(name)) for name in range(32)]
        await until(2000)
        await asyncio.to_thread(own_nats_server.kill)
        before = len(stored)
        await asyncio.to_thread(own_nats_server.start)
        await until(before + 2000)
        ended.set()
        await asyncio.gather(*senders)
        found = await _bodies(bench)
        assert failed > 0
        assert len(found) == len(set(found))
        assert stored <= set(found)


async def _bodies(bench: Bench) -> list[str]:
    found: list[str] = []
    subscription = await bench.jetstream.subscribe(f"{bench.stream}.*", ordered_consumer=True)
    total = await bench.count()
    while len(found) < total:
        found.append((await subscription.next_msg(ANSWER_TIMEOUT_S)).data.decode())
    return found
