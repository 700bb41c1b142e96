"""Handover: items reach workers of the same process without the broker, and a body is settled when all of it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.subjects import ITEMS
from tests.unit.worker_fakes import Bench, FakeReceipt, heard
from workers.consume.handover import GROUP_MESSAGES, Handover
from workers.consume.message import Message
from workers.consume.pipeline import Pipeline
from workers.unpack.handler import Unpack
from workers.unpack.publish import ItemMessage

BODY = (
    b'{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc"}\n'
    b'{"type":"event"}\n{"message":"hi"}\n{"type":"log","length":12}\n{"items":[]}\n'
)


class Taker:
    """A worker that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_full = False

    async def accept(self, messages: Sequence[Message]) -> None:
        self.messages += messages


def item_message(worker: str, body: bytes = b"{}") -> ItemMessage:
    return ItemMessage(f"item.{worker}.7", body, {"Origin-Seq": "41"})


async def given_to(
    workers: Sequence[str], takers: dict[str, Taker], deliveries: int = 1
) -> tuple[Message, FakeReceipt, list[ItemMessage]]:
    """A body's message after its items were offered, its real receipt, and what is left for the broker."""
    message = Bench().message(subject="raw.sentry.envelope.7", seq=41, deliveries=deliveries)
    receipt = message.receipt
    assert isinstance(receipt, FakeReceipt)
    left = await Handover(takers).give(message, [item_message(worker) for worker in workers])
    return message, receipt, left


@pytest.mark.asyncio
async def test_an_item_reaches_the_worker_of_this_process_as_the_broker_would_deliver_it_for_the_first_time() -> None:
    """Same subject, headers and body; the stream is ITEMS, the sequence and the time are the body's."""
    taker = Taker()
    message, _, left = await given_to(["event"], {"event": taker})
    [item] = taker.messages
    assert left == []
    assert (item.subject, item.body, item.headers, item.stream) == ("item.event.7", b"{}", {"Origin-Seq": "41"}, ITEMS)
    assert (item.seq, item.deliveries, item.stored_at_ns) == (41, 1, message.stored_at_ns)


@pytest.mark.asyncio
async def test_what_no_worker_of_this_process_takes_goes_to_the_broker() -> None:
    """The others are handed over all the same."""
    taker = Taker()
    _, _, left = await given_to(["event", "log", "event"], {"event": taker})
    assert [one.subject for one in left] == ["item.log.7"]
    assert len(taker.messages) == 2


@pytest.mark.asyncio
async def test_a_body_that_nobody_here_takes_from_keeps_its_own_receipt() -> None:
    """Nothing waits for anything then."""
    message, receipt, left = await given_to(["log"], {"event": Taker()})
    assert message.receipt is receipt
    assert len(left) == 1


@pytest.mark.parametrize("deliveries", [2, 3, 6])
@pytest.mark.asyncio
async def test_items_of_a_body_that_came_before_go_through_the_broker(deliveries: int) -> None:
    """One of them may be what killed the process: there each is delivered, counted and given up alone."""
    taker = Taker()
    _, _, left = await given_to(["event", "event"], {"event": taker}, deliveries=deliveries)
    assert len(left) == 2
    assert taker.messages == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.asyncio
async def test_the_body_is_acknowledged_with_the_last_of_its_parts(order: tuple[int, ...]) -> None:
    """Whether that is an item or what unpack itself stores."""
    taker = Taker()
    message, receipt, _ = await given_to(["event", "event"], {"event": taker})
    parts = [message.receipt, *(item.receipt for item in taker.messages)]

    seen = []
    for index in order:
        await parts[index].ack()
        seen.append(len(receipt.heard))
    assert seen == [0, 0, 1]
    assert receipt.heard == ["ack"]


@pytest.mark.asyncio
async def test_the_first_part_that_is_given_back_gives_back_the_body_and_no_other_says_anything() -> None:
    """What was stored of it will be the same rows again."""
    taker = Taker()
    message, receipt, _ = await given_to(["event", "event"], {"event": taker})

    await taker.messages[0].receipt.nak(delay=5)
    await taker.messages[1].receipt.nak(delay=30)
    await taker.messages[1].receipt.in_progress()
    await message.receipt.ack()
    assert receipt.heard == ["nak 5"]


@pytest.mark.asyncio
async def test_a_held_item_keeps_its_body_from_being_delivered_again() -> None:
    """Unpack's own part may be long settled while the item still waits for ClickHouse."""
    taker = Taker()
    message, receipt, _ = await given_to(["event"], {"event": taker})

    await message.receipt.ack()
    await taker.messages[0].receipt.in_progress()
    await taker.messages[0].receipt.ack()
    await taker.messages[0].receipt.in_progress()
    assert receipt.heard == ["in_progress", "ack"]


@given(st.permutations(range(5)), st.sets(st.integers(0, 4)))
@pytest.mark.asyncio
async def test_a_body_is_acknowledged_or_returned_once(order: list[int], given_back: set[int]) -> None:
    """Acknowledged if all of its parts were, given back if one was; never both, never twice."""
    taker = Taker()
    message, receipt, _ = await given_to(["event"] * 4, {"event": taker})
    parts = [message.receipt, *(item.receipt for item in taker.messages)]

    for index in order:
        await (parts[index].nak(delay=1) if index in given_back else parts[index].ack())
    assert receipt.heard == (["nak 1"] if given_back else ["ack"])


@pytest.mark.asyncio
async def test_unpack_publishes_only_what_was_not_handed_over() -> None:
    """The body's message is settled by unpack's Batcher, its item by the taker: only then the broker hears."""

    async def scene() -> tuple[list[str], list[str], list[str], Taker]:
        async with Bench() as bench:
            published: list[str] = []
            taker = Taker()

            class Broker:
                async def publish(self, item_messages: Sequence[ItemMessage]) -> None:
                    published.extend(one.subject for one in item_messages)

            message = bench.message(body=BODY, subject="raw.sentry.envelope.7", seq=41)
            receipt = message.receipt
            work = Unpack(Broker(), bench.outlets.replies, 1_000_000, Handover({"event": taker}))
            await Pipeline("unpack", work, bench.batcher, bench.outlets).accept([message])
            await bench.batcher.settle()
            assert isinstance(receipt, FakeReceipt)
            before = list(receipt.heard)
            await taker.messages[0].receipt.ack()
            return published, before, receipt.heard, taker

    published, before, after, taker = await scene()
    assert published == ["item.log.7"]
    assert [item.subject for item in taker.messages] == ["item.event.7"]
    assert (before, after) == ([], ["ack"])


@pytest.mark.asyncio
async def test_a_message_that_was_not_handed_over_is_heard_as_ever() -> None:
    """The seam changes nothing for workers in processes of their own."""

    async def scene() -> list[str]:
        async with Bench() as bench:
            message = bench.message(body=BODY, subject="raw.sentry.envelope.7", seq=41)

            class Broker:
                async def publish(self, item_messages: Sequence[ItemMessage]) -> None:
                    assert len(item_messages) == 2

            work = Unpack(Broker(), bench.outlets.replies, 1_000_000)
            await Pipeline("unpack", work, bench.batcher, bench.outlets).accept([message])
            await bench.batcher.settle()
            return heard(message)

    assert await scene() == ["ack"]


@pytest.mark.asyncio
async def test_items_for_a_full_worker_go_through_the_broker_and_the_others_do_not() -> None:
    """A worker that waits for source maps must not make unpack wait, and with it every other worker."""
    full, taker = Taker(), Taker()
    full.is_full = True
    message, _, left = await given_to(["event", "log"], {"event": full, "log": taker})
    assert [item_message.subject for item_message in left] == ["item.event.7"]
    assert (len(full.messages), len(taker.messages)) == (0, 1)
    assert message.receipt is not taker.messages[0].receipt


@pytest.mark.asyncio
async def test_many_items_of_a_body_are_given_in_groups() -> None:
    """500 items of 12 kB are 50 ms of work: the loop does everything else in between."""

    class Taker:
        def __init__(self) -> None:
            self.groups: list[int] = []
            self.is_full = False

        async def accept(self, messages: Sequence[Message]) -> None:
            self.groups.append(len(messages))

    taker = Taker()
    item_messages = [ItemMessage("item.event.7", b"{}", {}) for _ in range(500)]
    giving = asyncio.create_task(Handover({"event": taker}).give(Bench().message(), item_messages))
    turns = 0
    while not giving.done():
        turns += 1
        await asyncio.sleep(0)
    assert sum(taker.groups) == 500
    assert max(taker.groups) <= GROUP_MESSAGES
    assert turns >= 500 // GROUP_MESSAGES
