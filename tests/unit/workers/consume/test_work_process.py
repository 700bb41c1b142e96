"""The largest messages are processed in a child process: with the same rows, and it can be killed at any time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from ops.bench.abuse.bodies import KINDS
from ops.bench.abuse.shape import AbuseKind, Shape
from ops.bench.bodies import kinds
from ops.runtime.process.child_process import ChildProcess
from schemas import refusals
from schemas.encodings import inflate
from schemas.headers import Origin
from schemas.outcomes import OUTCOME_COLUMNS
from schemas.rows import OUTCOMES_TABLE
from tests.unit.worker_fakes import Bench, heard, origin
from workers.consume import work_process, work_process_client
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.message import Message
from workers.consume.normalise_handler import NormaliseHandler
from workers.consume.pipeline import HandlerOptions, Pipeline
from workers.consume.sized_work import THREAD_BYTES
from workers.consume.work_process import NORMALISE, UNPACK, WorkJob, WorkSettings, verdict_of
from workers.consume.work_process_client import TooCostly, WorkProcess, WorkProcessEnded
from workers.normalise.registry import normalisers
from workers.normalise.verdict import Invalid, Verdict
from workers.unpack.pieces import Split, split_body
from workers.unpack.readers import READERS

SETTINGS = WorkSettings(30, 6_000_000, has_compiled_readers=True)
KNOWN = normalisers(SETTINGS.retention_days, SETTINGS.max_body_bytes)
ROUTE = "sentry.envelope"
WORKERS = {"otlp.logs": "otlp_log", "otlp.traces": "otlp_span", "event": "native", "event.batch": "native"}
SMALL = Shape(size_bytes=20_000)


@pytest.fixture(scope="module")
def executor() -> Iterator[LargeMessageExecutor]:
    """For tests that only need the process's answers: its start takes half a second."""
    started = LargeMessageExecutor(60, SETTINGS)
    yield started
    started.close()


def delivered(body: bytes, **changes: object) -> tuple[Origin, Message]:
    return origin(**changes), Bench().message("m", body, **changes)  # type: ignore[arg-type]


async def in_process(executor: LargeMessageExecutor, worker: str, source: Origin, message: Message) -> str:
    job = WorkJob.of(NORMALISE, worker, source, message)
    try:
        return repr(await executor.run_in_process(job, verdict_of, 7))
    except Invalid as error:
        return str(error)


def in_this_process(worker: str, source: Origin, message: Message) -> str:
    try:
        verdict = KNOWN[worker].normalise(source, message)
    except Invalid as error:
        return str(error)
    verdict.rows = [tuple(row) for row in verdict.rows]
    return repr(verdict)


async def assert_same(executor: LargeMessageExecutor, worker: str, source: Origin, message: Message) -> None:
    """The verdict, or the error text of a body that is refused as a whole."""
    expected = in_this_process(worker, source, message)
    assert await in_process(executor, worker, source, message) == expected


@pytest.mark.parametrize("name", ["spans", "spans-json", "logs"])
@pytest.mark.asyncio
async def test_the_same_rows_of_good_otlp(executor: LargeMessageExecutor, name: str) -> None:
    """Also if they come back in several pieces."""
    kind = kinds.by_name()[name]
    body = inflate(kind.make(kinds.tokens(1, 1)[0]), kind.headers.get("content-encoding", "identity"), 6_000_000)
    worker = "otlp_log" if name == "logs" else "otlp_span"
    source, message = delivered(body, content_type=kind.headers["content-type"])
    await assert_same(executor, worker, source, message)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.route in WORKERS], ids=lambda kind: kind.name)
@pytest.mark.asyncio
async def test_the_same_verdict_on_hostile_records(executor: LargeMessageExecutor, kind: AbuseKind) -> None:
    """Rows, refusals and counts of every kind of body that the benchmark knows."""
    worker = WORKERS[kind.route]
    changes = {"content_type": kind.content_type, "resource": "batch" if "batch" in kind.route else ""}
    source, message = delivered(kind.make(SMALL), **changes)
    await assert_same(executor, worker, source, message)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.route == ROUTE], ids=lambda kind: kind.name)
@pytest.mark.asyncio
async def test_the_same_items_and_rows_of_envelopes(executor: LargeMessageExecutor, kind: AbuseKind) -> None:
    """First the body in its items, then each kind of item as its worker reads it."""
    source, message = delivered(kind.make(SMALL))
    here = split_body(READERS[ROUTE], message, source, 6_000_000)
    job = WorkJob.of(UNPACK, ROUTE, source, message)
    split = await executor.run_in_process(job, lambda plain, _: Split.of_plain(plain), 7)
    assert split == here
    for _, worker, item in here.items[:2]:
        of_item = Bench().message("i", item)
        await assert_same(executor, worker, source, of_item)


@pytest.mark.asyncio
async def test_every_worker_is_known_to_the_process(executor: LargeMessageExecutor) -> None:
    """Every normaliser exists there too; an invalid body is refused with the same text."""
    for worker in KNOWN:
        await assert_same(executor, worker, *delivered(b"nothing"))


@pytest.mark.asyncio
async def test_counted_refusals_become_the_same_rows(executor: LargeMessageExecutor) -> None:
    """Their rows are named tuples, which marshal cannot write: they come back as plain tuples."""
    body = refusals.encode([refusals.Refusal("native", "quota", 3)])
    source, message = delivered(body)
    assert len(KNOWN["outcome"].normalise(source, message).rows) == 1
    await assert_same(executor, "outcome", source, message)


def pipeline(bench: Bench, executor: LargeMessageExecutor) -> Pipeline:
    work = NormaliseHandler(KNOWN["otlp_log"], executor)
    return Pipeline("otlp_log", work, bench.batcher, bench.outlets, HandlerOptions(max_inflated_bytes=6_000_000))


def large(bench: Bench) -> Message:
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%b]}]}]}' % b",".join([b'{"body":{"intValue":1}}'] * 50_000)
    assert len(body) > THREAD_BYTES
    return bench.message("m", body, content_type="application/json", subject="raw.otlp.logs.7")


def outcomes(bench: Bench) -> list[tuple[object, object]]:
    outcome, reason = OUTCOME_COLUMNS.index("outcome"), OUTCOME_COLUMNS.index("reason")
    return [(row[outcome], row[reason]) for row in bench.writer.stored.get(OUTCOMES_TABLE, [])]


def is_running(pid: int) -> bool:
    """Whether a child process of ours has not ended, or has and was not waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def process_large(executor: LargeMessageExecutor) -> tuple[Bench, Message]:
    """Sends a large message through a pipeline."""
    async with Bench() as bench:
        subject, message = pipeline(bench, executor), large(bench)
        await subject.accept([message])
        await subject.drain(120)
        await bench.batcher.settle()
    return bench, message


@pytest.mark.asyncio
async def test_a_large_message_goes_to_the_process() -> None:
    """Its process starts with it, and it is stored and acknowledged as any other."""
    executor = LargeMessageExecutor(60, SETTINGS)
    bench, message = await process_large(executor)
    assert heard(message) == ["ack"]
    assert sum(rows for _, rows in bench.writer.inserts) > 50_000
    assert executor.process_id is not None
    executor.close()


@pytest.mark.asyncio
async def test_work_inside_of_c_is_stopped_too() -> None:
    """The process is killed: a thread would have to wait for the call's end. The next message gets a new one."""
    executor = LargeMessageExecutor(60, SETTINGS)
    await process_large(executor)
    first = executor.process_id
    assert first is not None
    executor.budget_s = 0.0
    bench, message = await process_large(executor)
    assert outcomes(bench) == [("dead", "too_costly")]
    assert heard(message) == ["ack"]
    assert not is_running(first)
    executor.budget_s = 60.0
    assert heard((await process_large(executor))[1]) == ["ack"]
    executor.close()


@pytest.mark.asyncio
async def test_a_process_that_ends_by_itself_gives_the_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have run out of memory: the message is redelivered and not dead-lettered at the first try."""
    monkeypatch.setattr(work_process_client, "MODULE", "receiver.no_such_module")
    bench, message = await process_large(LargeMessageExecutor(60, SETTINGS))
    assert heard(message) == ["nak 5"]
    assert outcomes(bench) == []


def test_too_much_memory_is_the_messages_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes a dead letter as too costly."""

    def exhausted(*_: object) -> Verdict:
        raise MemoryError

    source, message = delivered(b"{}")
    known = {"event": type("N", (), {"normalise": staticmethod(exhausted)})}
    answers = list(work_process.answer_to(WorkJob.of(NORMALISE, "event", source, message), known, 1_000))  # type: ignore[arg-type]
    assert answers[0][0] == work_process.TOO_LARGE
    process = WorkProcess(SETTINGS)
    monkeypatch.setattr(process, "_running_child", lambda: None)
    monkeypatch.setattr(process, "_answer", lambda *_: (answers[0], []))
    with pytest.raises(TooCostly):
        process.ask(WorkJob.of(NORMALISE, "event", source, message), verdict_of)


def test_the_process_has_no_secret_and_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets only a few of the worker's variables, and ends when its input is closed."""
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_PASSWORD", "hunter2-hunter2")
    process = ChildProcess(work_process.MODULE, SETTINGS.arguments())
    try:
        environment = Path(f"/proc/{process.pid}/environ")
        if environment.exists():
            assert b"hunter2" not in environment.read_bytes()
        assert process.wait(60) == 0
    finally:
        process.close()


def test_settings_and_jobs_come_through_as_they_were() -> None:
    """The command line and the pipe carry everything that a normaliser may read."""
    assert WorkSettings.of(SETTINGS.arguments()) == SETTINGS
    source, message = delivered(b"body", content_type="x", counts_rows=True)
    job = WorkJob.of(NORMALISE, "event", source, message)
    assert Origin(*job.origin) == source
    assert astuple(source) == job.origin


@pytest.mark.asyncio
async def test_a_cancelled_job_ends_the_process() -> None:
    """A worker that stops leaves no process behind, and the next job starts a new one."""
    executor = LargeMessageExecutor(3_600, SETTINGS)
    job = WorkJob.of(NORMALISE, "otlp_log", origin(content_type="application/json"), large(Bench()))
    working = asyncio.create_task(executor.run_in_process(job, verdict_of, 1))
    while not executor.is_process_at_work:
        await asyncio.sleep(0.001)
    first = executor.process_id
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert first is not None
    while is_running(first):
        await asyncio.sleep(0.001)
    assert len((await executor.run_in_process(job, verdict_of, 1)).rows) == 50_000
    executor.close()


def test_an_ended_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets an error that returns the message to the broker."""
    process = WorkProcess(SETTINGS)
    child = process._running_child()
    child.kill()
    child.wait(60)
    monkeypatch.setattr(process, "_running_child", lambda: child)
    with pytest.raises(WorkProcessEnded):
        process.ask(WorkJob.of(NORMALISE, "event", origin(), Bench().message()), verdict_of)
