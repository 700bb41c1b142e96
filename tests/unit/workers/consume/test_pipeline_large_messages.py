"""A large message delays no other, and one that costs too much is counted and becomes a dead letter."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable

import pytest

from schemas.headers import Origin
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.rows import OUTCOMES_TABLE
from tests.unit.worker_fakes import COLUMNS, TABLE, Bench, heard
from tests.unit.workers.consume.test_large_messages import endless, until
from workers.consume.large_messages import MAX_WAITING_ROWS, LargeMessageExecutor
from workers.consume.message import Message
from workers.consume.normalise_handler import NormaliseHandler
from workers.consume.pipeline import HandlerOptions, Pipeline
from workers.consume.sized_work import INLINE_BYTES
from workers.normalise.registry import Normaliser
from workers.normalise.verdict import Verdict

LARGE = b"x" * (INLINE_BYTES + 1)


def pipeline(bench: Bench, normalise: Callable[[Origin, Message], Verdict], budget_s: float = 3_600) -> Pipeline:
    """Of a worker that reads bodies as they were compressed."""
    normaliser = Normaliser("event", TABLE, COLUMNS, normalise, inflates=True)
    executor = LargeMessageExecutor(budget_s)
    work = NormaliseHandler(normaliser, executor)
    options = HandlerOptions(max_inflated_bytes=6_000_000, executor=executor)
    return Pipeline("event", work, bench.batcher, bench.outlets, options)


class Gate:
    """A normaliser that waits for the test where a body is large; rows are bodies' sizes, inflated."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.threads: list[str] = []

    def __call__(self, _: Origin, message: Message) -> Verdict:
        body, message.inflated = message.inflated or message.body, None
        self.threads.append(threading.current_thread().name)
        if len(body) > INLINE_BYTES:
            assert self.opened.wait(60)
        return Verdict(rows=[(len(body),)], accepted=1)


@pytest.mark.asyncio
async def test_a_large_message_does_not_hold_up_its_neighbours() -> None:
    """Those behind it in the same batch are stored and acknowledged, and the next batch is taken, before it is done."""
    async with Bench() as bench:
        gate = Gate()
        subject = pipeline(bench, gate)
        large, small, next_one = (bench.message(str(n), body) for n, body in enumerate((LARGE, b"12", b"123")))
        await subject.accept([large, small])
        await subject.accept([next_one])
        await bench.batcher.settle()
        assert bench.writer.stored[TABLE] == [(2,), (3,)]
        assert [heard(message) for message in (large, small, next_one)] == [[], ["ack"], ["ack"]]
        assert bench.batcher.held == 1
        gate.opened.set()
        await subject.drain(60)
        await bench.batcher.settle()
        assert bench.writer.stored[TABLE] == [(2,), (3,), (len(LARGE),)]
        assert heard(large) == ["ack"]
        assert sorted(gate.threads) == ["MainThread", "MainThread", "large-message"]


@pytest.mark.asyncio
async def test_a_small_body_that_becomes_large_is_large() -> None:
    """What counts is the size once inflated: two hundred bytes of gzip."""
    async with Bench() as bench:
        gate = Gate()
        subject = pipeline(bench, gate)
        bomb = bench.message("bomb", gzip.compress(LARGE), content_encoding="gzip")
        small = bench.message("small", gzip.compress(b"12"), content_encoding="gzip")
        await subject.accept([bomb, small])
        await bench.batcher.settle()
        assert bench.writer.stored[TABLE] == [(2,)]
        gate.opened.set()
        await subject.drain(60)
        await bench.batcher.settle()
        assert bench.writer.stored[TABLE] == [(2,), (len(LARGE),)]
        assert bomb.inflated is None


@pytest.mark.asyncio
async def test_a_message_that_costs_too_much_is_dead_lettered_and_counted() -> None:
    """A dead letter, an outcome, an answer and an acknowledgement; then the next one."""

    def costly(origin: Origin, message: Message) -> Verdict:
        if len(message.body) > INLINE_BYTES:
            endless()
        return Verdict(rows=[(1,)], accepted=1)

    async with Bench() as bench:
        subject = pipeline(bench, costly, budget_s=0.05)
        hostile, honest = bench.message("hostile", LARGE), bench.message("honest", b"1")
        await subject.accept([hostile, honest])
        await subject.drain(60)
        await bench.batcher.settle()
        assert bench.writer.stored[TABLE] == [(1,)]
        [row] = [dict(zip(OUTCOME_COLUMNS, row, strict=True)) for row in bench.writer.stored[OUTCOMES_TABLE]]
        assert (row["outcome"], row["reason"], row["quantity"]) == ("dead", "too_costly", 1)
        assert [(message, dead.reason) for message, dead in bench.dead_letters.stored_dead] == [(hostile, "too_costly")]
        [told] = [reply for reply in bench.replies if reply.rejected]
        assert told.reasons[0].startswith("too_costly: expected at most 0.05 s of processor time")
        assert [heard(message) for message in (hostile, honest)] == [["ack"], ["ack"]]


@pytest.mark.asyncio
async def test_a_worker_that_stops_gives_back_large_messages() -> None:
    """Nothing is lost, and its thread ends."""

    def costly(_: Origin, __: Message) -> Verdict:
        endless()
        raise AssertionError

    async with Bench() as bench:
        subject = pipeline(bench, costly)
        message = bench.message("large", LARGE)
        await subject.accept([message])
        await subject.drain(0.01)
        assert await bench.batcher.drain(60) == 1
        assert heard(message) == ["nak 1"]
        await until(lambda: all(thread.name != "large-message" for thread in threading.enumerate()))


@pytest.mark.asyncio
async def test_a_suspect_waits_for_large_messages() -> None:
    """It is handled with nothing else in hand."""
    async with Bench() as bench:
        gate = Gate()
        subject = pipeline(bench, gate)
        large, suspect = bench.message("large", LARGE), bench.message("suspect", b"1", deliveries=3)
        taking = asyncio.create_task(subject.accept([large, suspect]))
        await until(lambda: gate.threads == ["large-message"])
        await asyncio.sleep(0)
        assert gate.threads == ["large-message"]
        gate.opened.set()
        await taking
        assert gate.threads == ["large-message", "MainThread"]


@pytest.mark.asyncio
async def test_large_messages_in_work_are_limited() -> None:
    """Then the broker is asked for no more: a flood of large messages is not held in memory."""
    async with Bench() as bench:
        gate = Gate()
        subject = pipeline(bench, gate)
        messages = [bench.message(str(n), b"x" * 6_000_000) for n in range(14)]
        taking = asyncio.create_task(subject.accept(messages))
        await until(lambda: gate.threads == ["large-message"])
        assert not taking.done()
        gate.opened.set()
        await taking
        await subject.drain(60)
        await bench.batcher.settle()
        assert len(bench.writer.stored[TABLE]) == 14


@pytest.mark.asyncio
async def test_no_more_rows_are_made_than_can_be_inserted() -> None:
    """Small bodies of many rows: while rows wait for their batch, the next body is not worked on."""
    made: list[int] = []

    def normalise(_: Origin, message: Message) -> Verdict:
        made.append(1)
        return Verdict(rows=[(1,)] * MAX_WAITING_ROWS, accepted=1)

    async with Bench(rows=10, in_flight=1) as bench:
        bench.writer.gate.clear()
        subject = pipeline(bench, normalise)
        await subject.accept([bench.message(str(number), LARGE) for number in range(20)])
        await until(lambda: len(made) >= 2)
        for _ in range(200):
            await asyncio.sleep(0.001)
        # One is inserted, one fills the next batch; the third may have begun before that one came there.
        assert len(made) <= 3
        bench.writer.gate.set()
        await subject.drain(60)
        await bench.batcher.settle()
        assert len(made) == 20
        assert len(bench.writer.stored[TABLE]) == 20 * MAX_WAITING_ROWS
