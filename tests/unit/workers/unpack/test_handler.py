"""unpack: what is in a body becomes messages, what we do not take is named, what is malformed is refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import TimeoutError as NatsTimeout

from schemas import headers
from schemas.envelope import body as envelope
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.rows import OUTCOMES_TABLE
from tests.unit.worker_fakes import Bench, FakeClock, heard, settled
from workers.consume.message import Message
from workers.consume.pipeline import HandlerOptions, Pipeline
from workers.normalise.verdict import Invalid
from workers.unpack import envelope as envelope_split
from workers.unpack import store as store_split
from workers.unpack.handler import Unpack
from workers.unpack.pieces import Split
from workers.unpack.publish import ItemMessage, OneByOne

LIMIT = 1_000_000
EVENT_ID = "9ec79c33ec9942ab8353589fcb2e04dc"
TWO_ITEMS = (
    b'{"event_id":"%b"}\n{"type":"event"}\n{"message":"hi"}\n{"type":"log","length":12}\n{"items":[]}\n'
    % EVENT_ID.encode()
)


ORIGIN = headers.Origin("default", 7, "key", "production", False, 1)


def split_envelope(body: bytes) -> Split:
    return envelope_split.read(body, ORIGIN, LIMIT)


def split_store(body: bytes) -> Split:
    return store_split.read(body, ORIGIN, LIMIT)


class Items:
    """A broker that keeps items; `errors` are raised first."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes, dict[str, str]]] = []
        self.errors: list[Exception] = []

    async def publish(self, subject: str, body: bytes, item_headers: dict[str, str]) -> None:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        self.stored.append((subject, body, item_headers))


def unpacker(bench: Bench, items: Items) -> Pipeline:
    publisher = OneByOne(items.publish, bench.clock, messages=8, size_bytes=LIMIT)
    work = Unpack(publisher, bench.outlets.replies, LIMIT)
    return Pipeline("unpack", work, bench.batcher, bench.outlets, HandlerOptions(concurrency=4))


def raw(bench: Bench, body: bytes, route: str = "sentry.envelope", **changes: Any) -> Message:
    return bench.message(body=body, subject=f"raw.{route}.7", seq=41, **changes)


async def accept(body: bytes, route: str = "sentry.envelope", **changes: object) -> tuple[Bench, Items, list[str]]:
    """One body through unpack; what was published, told and settled."""
    async with Bench() as bench:
        items, message = Items(), raw(bench, body, route, **changes)
        await unpacker(bench, items).accept([message])
        await bench.batcher.settle()
        return bench, items, heard(message)


@pytest.mark.asyncio
async def test_each_item_is_a_message_of_its_own() -> None:
    """A one-item envelope on the subject of its worker, with the raw message's identity."""
    bench, items, told = await accept(TWO_ITEMS)
    assert [subject for subject, *_ in items.stored] == ["item.event.7", "item.log.7"]
    for index, (_, body, item_headers) in enumerate(items.stored):
        header, [item] = envelope.read(body)
        assert header.event_id == EVENT_ID
        origin = headers.read(item_headers, 999)
        assert (origin.origin_seq, origin.item_index, origin.origin_id) == (41, index, "id-m")
        assert item_headers["Nats-Msg-Id"] == f"41:{index}:0"
        assert bytes(item.payload) == (b'{"message":"hi"}', b'{"items":[]}')[index]
    assert [(reply.expect, reply.rejected) for reply in bench.replies] == [(2, 0)]
    assert told == ["ack"]


@pytest.mark.asyncio
async def test_the_brokers_own_headers_stay_with_the_body() -> None:
    """A body stored in an atomic batch keeps that batch's headers; on an item they would begin a batch without end."""
    batched = headers.write(ORIGIN, "id-m") | {
        "Nats-Batch-Id": "b",
        "Nats-Batch-Sequence": "2",
        "Nats-Batch-Commit": "1",
    }
    _, items, _ = await accept(TWO_ITEMS, headers=batched)
    assert [name for name in items.stored[0][2] if name.startswith("Nats-")] == ["Nats-Msg-Id"]


@pytest.mark.asyncio
async def test_items_are_inflated() -> None:
    """The coding is undone once, here, and the item's headers no longer claim it."""
    _, items, _ = await accept(gzip.compress(TWO_ITEMS), content_encoding="gzip")
    assert len(items.stored) == 2
    assert all("Content-Encoding" not in item_headers for _, _, item_headers in items.stored)


@pytest.mark.asyncio
async def test_items_without_a_worker_are_dropped_by_name() -> None:
    """The sender hears the type, the outcome counts it, and the other items go on."""
    body = TWO_ITEMS + b'{"type":"statsd"}\na:1|c\n{"type":"statsd"}\nb:1|c\n{"type":"\xc3\xa9 weird"}\nx\n'
    bench, items, told = await accept(body)
    assert len(items.stored) == 2
    [reply] = bench.replies
    assert (reply.expect, reply.rejected) == (2, 3)
    assert reply.reasons == ["unsupported_item_type:statsd", "unsupported_item_type:??weird"]
    rows = [dict(zip(OUTCOME_COLUMNS, row, strict=True)) for row in bench.writer.stored[OUTCOMES_TABLE]]
    assert [(row["outcome"], row["item_type"], row["quantity"]) for row in rows] == [
        ("dropped", "statsd", 2),
        ("dropped", "??weird", 1),
    ]
    assert told == ["ack"]


@pytest.mark.asyncio
async def test_a_key_in_the_header_does_not_travel_on() -> None:
    """The tunnel's dsn has served its purpose; tables must not hold it."""
    _, items, _ = await accept(
        b'{"dsn":"https://pt_secret@host/7","sent_at":"2025-11-21T10:00:00Z"}\n{"type":"event"}\n{}\n'
    )
    [(_, body, _)] = items.stored
    assert b"pt_secret" not in body
    assert envelope.read_header(body).sent_at == "2025-11-21T10:00:00Z"


@pytest.mark.parametrize(
    ("body", "encoding", "word"),
    [
        (b"no envelope", "", "envelope byte 0"),
        (b'{}\n{"type":"event","length":99}\n{}', "", "length"),
        (b"not gzip", "gzip", "compressed body"),
        (gzip.compress(b"x" * (LIMIT + 1)), "gzip", "inflated body"),
        (b"{}", "lzma", "Content-Encoding"),
    ],
    ids=["grammar", "short", "corrupt", "bomb", "coding"],
)
@pytest.mark.asyncio
async def test_a_malformed_body_is_refused_whole(body: bytes, encoding: str, word: str) -> None:
    """No item of it is published; the receiver is told why at once."""
    bench, items, told = await accept(body, content_encoding=encoding)
    assert items.stored == []
    [reply] = bench.replies
    assert word in str(reply.invalid)
    assert [dead.reason for _, dead in bench.dead_letters.stored_dead] == ["invalid"]
    assert told == ["ack"]


@pytest.mark.asyncio
async def test_a_route_of_a_later_version_is_a_dead_letter() -> None:
    """Kept, counted and named: nothing that was acknowledged disappears."""
    bench, _, told = await accept(b"?", "sentry.later")
    [(_, dead)] = bench.dead_letters.stored_dead
    assert dead.reason == "unknown_route"
    assert told == ["ack"]


@pytest.mark.parametrize("kind", ["plain", "base64", "base64 zlib", "byte order mark"])
def test_store_bodies_in_all_their_forms(kind: str) -> None:
    """What old SDKs sent before Content-Encoding existed still is one event."""
    event = orjson.dumps({"event_id": EVENT_ID.upper(), "message": "hi"})
    body = {
        "plain": event,
        "base64": base64.encodebytes(event),
        "base64 zlib": base64.b64encode(zlib.compress(event)),
        "byte order mark": b"\xef\xbb\xbf" + event,
    }[kind]
    [(index, worker, item)] = split_store(body).items
    header, [one] = envelope.read(item)
    assert (index, worker, header.event_id, one.type) == (0, "event", EVENT_ID, "event")


def test_a_stored_transaction_goes_to_its_worker() -> None:
    """The type is inside the event there."""
    [(_, worker, _)] = split_store(b'{"type":"transaction","spans":[]}').items
    assert worker == "transaction"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"!!!!", b"e30", b'{"event_id":"x"}', base64.b64encode(zlib.compress(b"x" * 2 * LIMIT))]
)
def test_other_store_bodies_are_refused(body: bytes) -> None:
    """With a sentence, whatever they are."""
    with pytest.raises(Invalid):
        split_store(body)


@given(st.binary(max_size=400))
def test_any_bytes_split_or_are_invalid(body: bytes) -> None:
    """Nothing from outside makes another exception."""
    for split in (split_envelope, split_store):
        with contextlib.suppress(Invalid):
            split(body)


@pytest.mark.asyncio
async def test_the_ack_waits_for_every_item() -> None:
    """A broker that is full or away is waited out with the body in hand: no delivery is used up."""
    async with Bench() as bench:
        items = Items()
        items.errors = [NatsTimeout(), NatsTimeout(), OSError("gone")]
        message = raw(bench, TWO_ITEMS)
        accepting = asyncio.create_task(unpacker(bench, items).accept([message]))
        await settled()
        assert heard(message) == []
        for _ in range(4):
            await bench.clock.turn(1)
        await accepting
        assert len(items.stored) == 2
        assert heard(message) == ["ack"]


@pytest.mark.asyncio
async def test_bytes_on_their_way_are_bounded() -> None:
    """A few large bodies must not fill the memory; one that is larger than the budget still goes, alone."""
    flying: list[int] = []
    most = 0
    gate = asyncio.Event()

    async def publish(_subject: str, body: bytes, _headers: dict[str, str]) -> None:
        nonlocal most
        flying.append(len(body))
        most = max(most, sum(flying))
        await gate.wait()
        flying.remove(len(body))

    publisher = OneByOne(publish, FakeClock(), messages=100, size_bytes=100)
    publishing = asyncio.create_task(
        publisher.publish([ItemMessage("s", b"x" * size, {}) for size in (60, 60, 40, 500)])
    )
    await settled()
    assert sum(flying) <= 100
    gate.set()
    await publishing
    assert most == 500
