"""accept(): every message ends well, whatever it holds, and the sender hears of it before the insert."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ops.runtime import tasks
from schemas import headers
from schemas.headers import Origin
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.rows import OUTCOMES_TABLE
from schemas.subjects import SOURCES, UNPACK
from tests.unit.worker_fakes import COLUMNS, TABLE, Bench, heard, origin, settled
from workers.consume.message import Entry, Message
from workers.consume.normalise_handler import NormaliseHandler
from workers.consume.pipeline import SUSPECT_DELIVERIES, HandlerOptions, Pipeline
from workers.normalise.registry import Normaliser, normalisers
from workers.normalise.verdict import Invalid, Rejection, Verdict


def echo(_: Origin, message: Message) -> Verdict:
    """A normaliser for tests: a JSON number is a row, text a rejection, null malformed, anything else a bug."""
    value = orjson.loads(message.body)
    if value is None:
        raise Invalid("expected a number, found null; send a number")
    if isinstance(value, str):
        return Verdict(rejections=[Rejection(0, value, "not a number"), Rejection(1, value, "not either")])
    return Verdict(rows=[(value + 0,)], accepted=1)


def pipeline(bench: Bench, normalise: Callable[[Origin, Message], Verdict] = echo, **options: Any) -> Pipeline:
    normaliser = Normaliser("event", TABLE, COLUMNS, normalise)
    work = NormaliseHandler(normaliser)
    return Pipeline("event", work, bench.batcher, bench.outlets, HandlerOptions(**options))


def outcomes(bench: Bench) -> list[dict[str, object]]:
    rows = bench.writer.stored.get(OUTCOMES_TABLE, [])
    return [dict(zip(OUTCOME_COLUMNS, row, strict=True)) for row in rows]


@pytest.mark.asyncio
async def test_counts_are_told_before_the_insert() -> None:
    """The broker holds the data already, so nobody waits for ClickHouse."""
    async with Bench() as bench:
        bench.writer.gate.clear()
        await pipeline(bench).accept([bench.message(body=b"1")])
        assert [(reply.accepted, reply.stored) for reply in bench.replies] == [(1, False)]
        assert bench.writer.stored == {}


@pytest.mark.asyncio
async def test_a_sync_sender_gets_one_reply_after_the_insert() -> None:
    """One reply, or the receiver would count the item twice."""
    async with Bench() as bench:
        await pipeline(bench).accept([bench.message(body=b"1", wants_sync=True)])
        assert bench.replies == []
        await bench.batcher.settle()
        assert [(reply.accepted, reply.stored) for reply in bench.replies] == [(1, True)]


@pytest.mark.asyncio
async def test_a_redelivered_message_is_not_answered_again() -> None:
    """Its sender was answered the first time."""
    async with Bench() as bench:
        await pipeline(bench).accept([bench.message(body=b"1", deliveries=2)])
        await bench.batcher.settle()
        assert bench.replies == []
        assert bench.writer.stored == {TABLE: [(1,)]}


@pytest.mark.asyncio
async def test_rejections_are_grouped_outcomes() -> None:
    """One row and one sentence for each reason, with how many records it hit."""
    async with Bench() as bench:
        await pipeline(bench).accept([bench.message(body=b'"no_number"')])
        await bench.batcher.settle()
        [row] = outcomes(bench)
        assert (row["outcome"], row["reason"], row["quantity"]) == ("rejected", "no_number", 2)
        [reply] = bench.replies
        assert (reply.rejected, reply.reasons) == (2, ["no_number: not a number (and 1 more)"])
        assert bench.dead_letters.stored_dead == []


@pytest.mark.asyncio
async def test_a_malformed_body_is_answered_kept_and_counted() -> None:
    """The sender gets its 400, the bytes a dead letter, the statistics an outcome; then the message is done."""
    async with Bench() as bench:
        message = bench.message(body=b"null")
        await pipeline(bench).accept([message])
        await bench.batcher.settle()
        assert bench.replies[0].invalid == "expected a number, found null; send a number"
        assert [row["outcome"] for row in outcomes(bench)] == ["invalid"]
        assert [dead.reason for _, dead in bench.dead_letters.stored_dead] == ["invalid"]
        assert heard(message) == ["ack"]


@pytest.mark.asyncio
async def test_a_bug_in_a_normaliser_costs_one_message() -> None:
    """Its neighbours are stored, it is a dead letter, and the sender does not wait in vain."""
    async with Bench() as bench:
        messages = [bench.message(str(n), body) for n, body in enumerate((b"1", b"{}", b"2"))]
        await pipeline(bench).accept(messages)
        await bench.batcher.settle()
        assert bench.writer.stored[TABLE] == [(1,), (2,)]
        [(message, dead)] = bench.dead_letters.stored_dead
        assert message is messages[1]
        assert dead.reason == "normaliser_error"
        assert [reply.rejected for reply in bench.replies] == [0, 1, 0]
        assert all(heard(message) == ["ack"] for message in messages)


@pytest.mark.asyncio
async def test_unreadable_headers_are_a_dead_letter() -> None:
    """There is nobody to answer; the channel in the subject counts it."""
    async with Bench() as bench:
        message = bench.message(headers={"Schema-Version": "99"})
        await pipeline(bench).accept([message])
        await bench.batcher.settle()
        assert [(row["channel_id"], row["outcome"]) for row in outcomes(bench)] == [(7, "dead")]
        assert [dead.reason for _, dead in bench.dead_letters.stored_dead] == ["unreadable_headers"]
        assert heard(message) == ["ack"]


@pytest.mark.asyncio
async def test_a_suspect_is_handled_with_nothing_else_in_hand() -> None:
    """Delivered three times: all others are stored and acknowledged before it is even parsed."""
    async with Bench() as bench:
        parsed: list[str] = []

        def watch(_: Origin, message: Message) -> Verdict:
            parsed.append(f"parse {message.body.decode()}")
            bench.journal.append(parsed[-1])
            return echo(_, message)

        messages = [bench.message("suspect", b"1", deliveries=3), bench.message("calm", b"2")]
        await pipeline(bench, watch).accept(messages)
        assert bench.journal.index("ack calm") < bench.journal.index("parse 1")
        assert bench.journal[-1] == "ack suspect"


@pytest.mark.asyncio
async def test_poison_is_dead_lettered_unparsed() -> None:
    """Delivered six times: whatever it does to a parser, it does it no more."""
    async with Bench() as bench:

        def explode(_: Origin, __: Message) -> Verdict:
            raise AssertionError("parsed")

        message = bench.message(body=b"1", deliveries=6)
        await pipeline(bench, explode).accept([message])
        assert [dead.reason for _, dead in bench.dead_letters.stored_dead] == ["poison"]
        assert [row["reason"] for row in outcomes(bench)] == ["poison"]
        assert heard(message) == ["ack"]


@pytest.mark.asyncio
async def test_accept_blocks_while_the_batcher_is_full() -> None:
    """So the pull loop stops fetching; what it fetched is owned meanwhile."""
    async with Bench(rows=1, in_flight=1, age_s=999) as bench:
        bench.writer.gate.clear()
        messages = [bench.message(str(n), b"1") for n in range(3)]
        accepting = asyncio.create_task(pipeline(bench).accept(messages))
        await settled()
        assert not accepting.done()
        assert await bench.batcher.drain(timeout_s=0) == 3
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)


@pytest.mark.asyncio
async def test_concurrency_work_side_by_side() -> None:
    """A worker that waits for the broker does so for many messages at once."""
    async with Bench() as bench:
        began: list[Message] = []
        gate = asyncio.Event()

        async def slow(message: Message, _: Origin) -> Any:
            began.append(message)
            await gate.wait()
            raise Invalid("done")

        messages = [bench.message(str(n), b"1") for n in range(5)]
        subject = Pipeline("unpack", slow, bench.batcher, bench.outlets, HandlerOptions(concurrency=3))
        accepting = asyncio.create_task(subject.accept(messages))
        await settled()
        assert len(began) == 3
        gate.set()
        await accepting
        await bench.batcher.settle()
        assert len(bench.dead_letters.stored_dead) == 5


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.asyncio
async def test_a_compressed_body_weighs_what_its_rows_weigh(encoding: str) -> None:
    """Six kilobytes may be six megabytes of rows: the batch limit must see those."""
    async with Bench(size_bytes=1_000_000, age_s=999) as bench:
        message = bench.message(body=b"{}", content_encoding=encoding)
        await pipeline(bench, lambda *_: Verdict(rows=[("x" * 2_000_000,)], accepted=1)).accept([message])
        await settled()
        assert bench.writer.inserts == [(TABLE, 1)]


@pytest.mark.asyncio
async def test_an_outcome_row_is_the_same_for_every_delivery() -> None:
    """Its id is a function of message, stage and reason: ReplacingMergeTree makes one of many."""
    rows = []
    for deliveries in (1, 2):
        async with Bench() as bench:
            message = bench.message(body=b"null", deliveries=deliveries)
            await pipeline(bench).accept([message])
            await bench.batcher.settle()
            rows += bench.writer.stored[OUTCOMES_TABLE]
    assert rows[0] == rows[1]
    assert int(str(rows[0][0])) % 60 == 0


def test_headers_read_back_what_the_receiver_wrote() -> None:
    """The fakes speak the real wire format."""
    assert headers.read(headers.write(origin(), "raw-1"), 5).channel_id == 7


def test_every_worker_has_its_line_in_the_table() -> None:
    """A source without a normaliser would be a worker that cannot start; a normaliser without a source would never
    run.
    """
    assert set(normalisers(30, 6_000_000)) == set(SOURCES) - {UNPACK}


@pytest.mark.parametrize("deliveries", [1, 3])
@pytest.mark.asyncio
async def test_it_ends_though_a_handler_misses_the_cancellation(
    deliveries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers wait for the broker; one that hears the second cancellation only must not hold a stopping worker."""
    monkeypatch.setattr(tasks, "AGAIN_S", 0.01)
    async with Bench() as bench:

        async def deaf(_message: Message, _origin: Origin) -> Any:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

        messages = [bench.message(str(n), b"1", deliveries=deliveries) for n in range(2)]
        subject = Pipeline("unpack", deaf, bench.batcher, bench.outlets, HandlerOptions(concurrency=3))
        accepting = asyncio.create_task(subject.accept(messages))
        await settled()
        await tasks.end(accepting)
        assert accepting.cancelled()
        await bench.batcher.beat()
        assert [heard(message) for message in messages] == [["nak 5"], ["nak 5"]]


@pytest.mark.parametrize("deliveries", [1, SUSPECT_DELIVERIES])
@pytest.mark.asyncio
async def test_a_body_is_inflated_before_its_handler_whatever_its_delivery(deliveries: int) -> None:
    """Source maps are looked for in the inflated body, also at the last try."""
    inflated = []

    async def work(message: Message, origin: Origin) -> Entry:
        inflated.append(message.inflated)
        return Entry(message, origin)

    async with Bench() as bench:
        message = bench.message(body=gzip.compress(b"a body"), content_encoding="gzip", deliveries=deliveries)
        options = HandlerOptions(max_inflated_bytes=1_000)
        await Pipeline("otlp_log", work, bench.batcher, bench.outlets, options).accept([message])
    assert inflated == [b"a body"]
