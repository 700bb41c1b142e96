"""Concurrent publishes over a broker in memory: who is in which group, and what each hears."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import pytest
from nats.js.errors import APIError

from ops.runtime.frames import Block
from ops.runtime.group_commit import BATCHES_IN_FLIGHT, MAX_BYTES, MAX_HEADERS_BYTES, MAX_MESSAGES, GroupCommit
from tests.unit.broker_fake import BrokerFake, StreamFake


def broker(**settings: Any) -> BrokerFake:
    return BrokerFake(StreamFake("RAW", ("raw.>",), **settings))


def group_commit(made: BrokerFake, sizes: list[int] | None = None) -> GroupCommit:
    observe = sizes.append if sizes is not None else None
    return GroupCommit(made, "RAW", 5.0, observe)  # type: ignore[arg-type]


def stored(made: BrokerFake) -> list[bytes]:
    return [one.data for _, one in sorted(made.streams["RAW"].messages.items())]


async def publish_all(group: GroupCommit, bodies: list[bytes], ids: list[str] | None = None) -> list[Any]:
    names = ids or [body.decode() for body in bodies]
    publishing = [
        group.publish("raw.x.7", body, {"Nats-Msg-Id": name}) for body, name in zip(bodies, names, strict=True)
    ]
    return await asyncio.gather(*publishing, return_exceptions=True)


@pytest.mark.asyncio
async def test_one_alone_is_no_batch() -> None:
    """Its headers are its own and those it shares."""
    made, sizes = broker(), list[int]()
    ack = await group_commit(made, sizes).publish("raw.x.7", b"a", {"A": "1"}, Block({"B": "2"}))
    assert (ack.seq, sizes, stored(made)) == (1, [1], [b"a"])
    assert made.journal == [("raw.x.7", {"A": "1", "B": "2"})]


@pytest.mark.asyncio
async def test_what_comes_meanwhile_is_one_batch_and_everybody_knows_its_place() -> None:
    """Two go alone, the rest wait for a free place; each ack names where the message is."""
    made, sizes = broker(), list[int]()
    bodies = [b"%d" % number for number in range(50)]
    acks = await publish_all(group_commit(made, sizes), bodies)
    assert sizes == [1] * BATCHES_IN_FLIGHT + [50 - BATCHES_IN_FLIGHT]
    found = made.streams["RAW"].messages
    assert [found[ack.seq].data for ack in acks] == bodies
    assert all(not ack.duplicate and ack.stream == "RAW" for ack in acks)


@pytest.mark.asyncio
async def test_a_group_has_a_bound_of_messages_and_of_bytes() -> None:
    """What is beyond is the next group."""
    made, sizes = broker(), list[int]()
    await publish_all(group_commit(made, sizes), [b"%d" % number for number in range(2 + MAX_MESSAGES + 1)])
    assert sizes == [1, 1, MAX_MESSAGES, 1]
    made, sizes = BrokerFake(StreamFake("RAW", ("raw.>",)), max_payload=MAX_BYTES), []
    third = MAX_BYTES // 3
    bodies = [b"a", b"b", *(bytes([n]) * third for n in range(4))]
    await publish_all(group_commit(made, sizes), bodies, [str(n) for n in range(6)])
    assert sizes == [1, 1, 3, 1]


@pytest.mark.asyncio
async def test_a_known_message_among_new_ones_is_the_only_duplicate() -> None:
    """The server refuses the whole batch; each goes alone then."""
    made = broker()
    group = group_commit(made)
    await publish_all(group, [b"known"])
    acks = await publish_all(group, [b"1", b"2", b"3", b"known", b"4"])
    assert [bool(ack.duplicate) for ack in acks] == [False, False, False, True, False]
    assert sorted(stored(made)) == [b"1", b"2", b"3", b"4", b"known"]
    assert acks[3].seq == 1


@pytest.mark.asyncio
async def test_without_atomic_batches_every_message_goes_alone() -> None:
    """A server of before."""
    made = broker(has_batches=False)
    acks = await publish_all(group_commit(made), [b"%d" % number for number in range(9)])
    assert sorted(ack.seq for ack in acks) == list(range(1, 10))


@pytest.mark.asyncio
async def test_a_full_stream_takes_what_fits_and_refuses_the_rest() -> None:
    """Nobody hears of a success that was none."""
    made = broker(max_messages=5)
    acks = await publish_all(group_commit(made), [b"%d" % number for number in range(9)])
    assert sum(isinstance(ack, APIError) for ack in acks) == 4
    assert len(stored(made)) == 5


@pytest.mark.parametrize("room_bytes", [MAX_HEADERS_BYTES, MAX_HEADERS_BYTES + 5])
@pytest.mark.asyncio
async def test_one_too_large_is_refused_before_it_is_sent(room_bytes: int) -> None:
    """The server would end the connection, and with it what others wait for."""
    made = BrokerFake(StreamFake("RAW", ("raw.>",)), max_payload=room_bytes)
    fits = room_bytes - MAX_HEADERS_BYTES
    await group_commit(made).publish("raw.x.7", b"x" * fits, {})
    with pytest.raises(nats.errors.MaxPayloadError):
        await group_commit(made).publish("raw.x.7", b"x" * (fits + 1), {})
    assert len(made.journal) == 1


class SlowBroker(BrokerFake):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(StreamFake("RAW", ("raw.>",)))
        self.gate = asyncio.Event()

    async def publish(self, *arguments: Any, **options: Any) -> Any:
        await self.gate.wait()
        return await super().publish(*arguments, **options)


@pytest.mark.asyncio
async def test_a_lost_connection_ends_every_wait() -> None:
    """Of those on their way and those in the queue."""
    made = SlowBroker()
    group = group_commit(made)
    waiting = [asyncio.create_task(group.publish("raw.x.7", b"%d" % n, {})) for n in range(9)]
    await asyncio.sleep(0)
    group.connection_lost()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [nats.errors.ConnectionClosedError] * 9
    made.gate.set()


@pytest.mark.asyncio
async def test_a_message_whose_publisher_has_gone_is_not_sent() -> None:
    """It waited in the queue; nobody would hear of it."""
    made = SlowBroker()
    group = group_commit(made)
    waiting = [asyncio.create_task(group.publish("raw.x.7", b"%d" % n, {})) for n in range(5)]
    await asyncio.sleep(0)
    waiting[3].cancel()
    await asyncio.sleep(0)
    made.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert sorted(stored(made)) == [b"0", b"1", b"2", b"4"]


@pytest.mark.asyncio
async def test_a_timeout_ends_the_wait_of_the_queue_too() -> None:
    """Whoever is behind waits for the same broker."""
    group = GroupCommit(SlowBroker(), "RAW", 0.01)  # type: ignore[arg-type]
    found = await asyncio.gather(*(group.publish("raw.x.7", b"", {}) for _ in range(9)), return_exceptions=True)
    assert [type(one) for one in found] == [nats.errors.TimeoutError] * 9


@pytest.mark.asyncio
async def test_a_subject_of_no_stream_is_an_error_of_its_own() -> None:
    """Not of the others."""
    made = broker()
    with pytest.raises(nats.errors.Error):
        await group_commit(made).publish("odd.subject", b"", {})
    assert (await group_commit(made).publish("raw.x.7", b"", {})).seq == 1
