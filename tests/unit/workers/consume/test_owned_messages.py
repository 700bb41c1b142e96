"""Whatever raises while a message is handled: it ends acknowledged or given back, and nobody beats for it for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from schemas.headers import Origin
from tests.unit.worker_fakes import COLUMNS, TABLE, Bench, FakeReceipt, heard, settled
from workers import metrics
from workers.consume import counts, pipeline
from workers.consume.message import Entry, Message
from workers.consume.normalise_handler import NormaliseHandler
from workers.consume.pipeline import HandlerOptions, Pipeline
from workers.normalise.registry import Normaliser
from workers.normalise.verdict import Invalid, Rejection, Verdict
from workers.store import batcher, dead_storage, insert

ROOMS = (batcher, counts, dead_storage, insert, pipeline)


class Fault(Exception):
    """What is injected."""


def normalise(_: Origin, message: Message) -> Verdict:
    """A row, a rejection, an invalid body, and a bug, by the body."""
    value = orjson.loads(message.body)
    if value is None:
        raise Invalid("null")
    if value == "bug":
        raise RuntimeError("bug")
    if isinstance(value, str):
        return Verdict(rejections=[Rejection(0, value, "text")])
    return Verdict(rows=[(value,)], accepted=1)


BODIES = (b"1", b'"text"', b"null", b'"bug"', b"2")


class Injected:
    """Counts calls of everything that is not about the data; call number `at` raises."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = 0

    def call(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise Fault

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.call()
            return function(*arguments, **named)

        return wrapped


class FaultyLog:
    """In place of a module's structlog logger."""

    def __init__(self, injected: Injected) -> None:
        self._injected = injected

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_, **__: self._injected.call()


class FaultyMetric:
    """In place of a metric: .labels(…) and what is done with it."""

    def __init__(self, injected: Injected) -> None:
        self._injected = injected

    def labels(self, *_: Any) -> FaultyMetric:
        self._injected.call()
        return self

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: self._injected.call()


def inject(monkeypatch: pytest.MonkeyPatch, injected: Injected, bench: Bench) -> None:
    for room in ROOMS:
        if hasattr(room, "log"):
            monkeypatch.setattr(room, "log", FaultyLog(injected))
    for name in dir(metrics):
        if name.isupper() and hasattr(getattr(metrics, name), "labels"):
            monkeypatch.setattr(metrics, name, FaultyMetric(injected))
    monkeypatch.setattr(bench.outlets.replies, "_publish", injected.wrap(bench.outlets.replies._publish))
    monkeypatch.setattr(bench.dead_letters, "store", injected.wrap(bench.dead_letters.store))
    monkeypatch.setattr(bench.writer, "insert", injected.wrap(bench.writer.insert))
    for verb in ("ack", "nak", "in_progress"):
        monkeypatch.setattr(FakeReceipt, verb, injected.wrap(getattr(FakeReceipt, verb)))


async def handle(bench: Bench, concurrency: int) -> list[Message]:
    """Five messages through a pipeline, as its pump would, for long enough that heartbeats and age come."""
    work = NormaliseHandler(Normaliser("event", TABLE, COLUMNS, normalise))
    target = Pipeline("event", work, bench.batcher, bench.outlets, HandlerOptions(concurrency=concurrency))
    messages = [bench.message(str(n), body=body, deliveries=1 + 2 * (n == 4)) for n, body in enumerate(BODIES)]
    accepting = asyncio.create_task(target.accept(messages))
    for _ in range(12):
        await bench.clock.turn(7)
    await asyncio.gather(accepting, return_exceptions=True)
    for _ in range(3):
        await bench.clock.turn(30)
    return messages


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.asyncio
async def test_every_call_may_fail(monkeypatch: pytest.MonkeyPatch, concurrency: int) -> None:
    """Each call of log, metric, reply, insert, dead-letter sink and broker raises in turn; no message stays held."""
    faults = 0
    while True:
        injected = Injected(faults + 1)

        async def scene(injected: Injected = injected) -> None:
            bench = Bench(ack_wait_s=20)
            with monkeypatch.context() as patch:
                inject(patch, injected, bench)
                async with bench:
                    messages = await handle(bench, concurrency)
                    running = bench._running
                    assert running is not None
                    if running.done():  # then the process stops, and drains
                        await bench.batcher.drain(timeout_s=5)
                    assert bench.batcher.held == 0, injected.at
            ended = [[word for word in heard(message) if word != "in_progress"] for message in messages]
            told_nothing = [one for one in ended if not one]
            # The one whose ack or nak itself failed comes again after ack_wait.
            assert len(told_nothing) <= 1, (injected.at, ended)

        await scene()
        if injected.calls < injected.at:
            break
        faults += 1
    assert faults > 40


@pytest.mark.asyncio
async def test_nobody_beats_for_a_message_whose_handling_was_broken_off() -> None:
    """Its task has ended without a decision: it is given back, once."""
    async with Bench(ack_wait_s=20) as bench:
        message = bench.message()

        async def breaks_off() -> None:
            bench.batcher.hold([message])

        await asyncio.create_task(breaks_off())
        for _ in range(6):
            await bench.clock.turn(10)
        assert heard(message) == ["nak 5"]
        assert bench.batcher.held == 0


@pytest.mark.asyncio
async def test_a_message_that_waits_for_room_in_a_batch_is_beaten_for() -> None:
    """Back-pressure is no end: its task lives."""
    async with Bench(ack_wait_s=20, rows=1, in_flight=1) as bench:
        bench.writer.gate.clear()
        messages = [bench.message(str(n)) for n in range(4)]
        bench.batcher.hold(messages)

        async def put() -> None:
            bench.batcher.hold(messages)
            for message in messages:
                await bench.batcher.put(Entry(message, rows=[(1,)]))

        task = asyncio.create_task(put())
        for _ in range(4):
            await bench.clock.turn(10)
        assert all("in_progress" in heard(message) and "nak 5" not in heard(message) for message in messages)
        bench.writer.gate.set()
        await settled()
        await task
        await bench.batcher.settle()
        assert bench.batcher.held == 0


@pytest.mark.asyncio
async def test_a_cancelled_handler_leaves_its_messages_to_be_given_back() -> None:
    """FastStream cut it off: what it had not put is nobody's, what it had put is stored."""
    async with Bench(ack_wait_s=20) as bench:
        never = asyncio.Event()

        async def work(message: Message, _: Origin) -> Entry:
            if message.body == b"wait":
                await never.wait()
            return Entry(message, rows=[(1,)])

        target = Pipeline("event", work, bench.batcher, bench.outlets)
        messages = [bench.message("a"), bench.message("b", body=b"wait"), bench.message("c")]
        task = asyncio.create_task(target.accept(messages))
        await settled()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(3):
            await bench.clock.turn(10)
        assert [heard(message)[-1] for message in messages] == ["ack", "nak 5", "nak 5"]
