"""A payload that waits for its insert is held once: in its row. A dead letter still has every byte of the message."""

from __future__ import annotations

import sys

import orjson
import pytest
from nats.aio.msg import Msg

from tests.unit.worker_fakes import Bench, heard, origin
from workers.consume.message import Entry, from_nats
from workers.consume.normalise_handler import SHARED_BYTES, NormaliseHandler
from workers.consume.pipeline import Pipeline
from workers.normalise.registry import normalisers

EVENT = normalisers(30, 6_000_000)["event"]
PAYLOAD = EVENT.columns.index("payload")


def body(payload: bytes, end: bytes = b"\n") -> bytes:
    """As unpack writes an item."""
    return b'{"event_id":"%s"}\n{"type":"event","length":%d}\n%s%s' % (b"5eed" * 8, len(payload), payload, end)


def event(**more: object) -> bytes:
    return orjson.dumps({"message": "out of paper", "extra": {"order": "x" * SHARED_BYTES}, **more})


async def handled(bench: Bench, sent: bytes) -> Entry:
    return await NormaliseHandler(EVENT)(bench.message(body=sent), origin())


@pytest.mark.parametrize("end", [b"\n", b""], ids=["newline", "none"])
@pytest.mark.parametrize("word", ["paper", "d'été", "紙"])
@pytest.mark.asyncio
async def test_the_body_is_let_go_of_and_comes_back(word: str, end: bytes) -> None:
    """Nothing but the row holds the payload, whatever its characters are, and the bytes are the same afterwards."""
    bench = Bench()
    sent = body(event(logger=word), end)
    entry = await handled(bench, sent)
    assert entry.message.body == b""
    assert entry.size_bytes < sys.getsizeof(entry.rows[0][PAYLOAD])
    entry.take_back_body()
    assert entry.message.body == sent
    entry.take_back_body()
    assert entry.message.body == sent


@pytest.mark.asyncio
async def test_a_row_that_is_a_small_part_of_its_body_counts_as_before() -> None:
    """An attachment's payload is its header: a file that ends with the same text could hide its size."""
    normaliser = normalisers(30, 6_000_000)["attachment"]
    bench, header = Bench(), {"type": "attachment", "filename": "a.txt"}

    def sent(content: bytes) -> bytes:
        return b"{}\n%s\n%s" % (orjson.dumps({**header, "length": len(content)}), content)

    content = b"x" * 500_000
    entry = await NormaliseHandler(normaliser)(bench.message(body=sent(content)), origin())
    payload = entry.rows[0][normaliser.columns.index("payload")]
    hidden = sent(b"x" * (len(content) - len(str(payload))) + str(payload).encode())
    entry = await NormaliseHandler(normaliser)(bench.message(body=hidden), origin())
    assert hidden.endswith(str(entry.rows[0][normaliser.columns.index("payload")]).encode())
    assert entry.size_bytes >= len(content)
    assert entry.message.body == hidden


@pytest.mark.parametrize(
    "sent",
    [
        body(b'{"message":"small"}'),
        body(event(request={"headers": {"Authorization": "Bearer abc"}})),
        body(event().replace(b'"out of paper"', b"NaN")),
        body(event()) + b"\n\n",
    ],
    ids=["small", "filtered", "rewritten", "more behind it"],
)
@pytest.mark.asyncio
async def test_a_body_that_is_not_its_rows_payload_stays(sent: bytes) -> None:
    """A payload that was changed, or is small, says nothing about the body."""
    entry = await handled(Bench(), sent)
    assert len(entry.rows) == 1
    assert entry.message.body == sent


@pytest.mark.asyncio
async def test_the_dead_letter_of_a_refused_row_has_the_body() -> None:
    """ClickHouse refuses the row long after the body was let go of."""
    async with Bench() as bench:
        bench.writer.is_bad = lambda row: len(row) > PAYLOAD and "bad" in str(row[PAYLOAD])
        sent = [body(event(message=word)) for word in ("good", "bad", "fine")]
        messages = [bench.message(str(number), one) for number, one in enumerate(sent)]
        await Pipeline("event", NormaliseHandler(EVENT), bench.batcher, bench.outlets).accept(messages)
        assert [message.body for message in messages] == [b""] * 3
        await bench.batcher.settle()
        [(message, dead)] = bench.dead_letters.stored_dead
        assert (message.body, dead.reason) == (sent[1], "row_refused_72")
        assert all(heard(message) == ["ack"] for message in messages)


def test_a_delivered_message_does_not_hold_its_body_twice() -> None:
    """The client's message lives until it is acknowledged: it must not keep the body in memory."""
    reply = "$JS.ACK.ITEMS.event.1.5.5.1763700000000000000.0"
    delivered = Msg(_client=None, subject="item.event.7", reply=reply, data=b"body", headers=None)  # type: ignore[arg-type]
    message = from_nats(delivered)
    assert message.body == b"body"
    assert delivered.data == b""
