"""The largest messages are worked on in a process: the same rows, and what cannot be interrupted holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from ops.bench import bodies
from ops.bench.abuse.bodies import KINDS
from ops.bench.abuse.shape import AbuseKind, Shape
from ops.runtime.child_process import ChildProcess
from schemas.encodings import inflate
from schemas.headers import Origin
from schemas.rows import OUTCOMES_TABLE
from tests.unit.worker_fakes import Bench, heard, origin
from workers.consume import aside, work_process
from workers.consume.aside import Aside, TooCostly, WorkProcess, WorkProcessEnded
from workers.consume.counts import OUTCOME_COLUMNS
from workers.consume.message import Message
from workers.consume.pipeline import THREAD_BYTES, HandlerOptions, NormaliseHandler, Pipeline
from workers.consume.work_process import NORMALISE, UNPACK, WorkJob, WorkSettings, verdict_of
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
def aside_() -> Iterator[Aside]:
    room = Aside(60, SETTINGS)
    yield room
    room.close()


def told(bench: Bench, body: bytes, **changes: object) -> tuple[Origin, Message]:
    message = bench.message("m", body, **changes)
    return origin(**changes), message


def in_process(room: Aside, worker: str, said: Origin, message: Message) -> Verdict:
    job = WorkJob.of(NORMALISE, worker, said, message)
    return asyncio.run(room.run_in_process(job, verdict_of, 7))


def assert_same(room: Aside, worker: str, said: Origin, message: Message) -> None:
    """The verdict, or the words with which the body is refused as a whole."""

    def outcome(work: Callable[[], Verdict]) -> str:
        try:
            return repr(work())
        except Invalid as error:
            return str(error)

    here = outcome(lambda: KNOWN[worker].normalise(said, message))
    assert outcome(lambda: in_process(room, worker, said, message)) == here


@pytest.mark.parametrize("name", ["spans", "spans-json", "logs"])
def test_the_same_rows_of_good_otlp(aside_: Aside, name: str) -> None:
    """Also where they come back in several pieces."""
    kind = bodies.kinds()[name]
    body = inflate(kind.make(bodies.tokens(1, 1)[0]), kind.headers.get("content-encoding", "identity"), 6_000_000)
    worker = "otlp_log" if name == "logs" else "otlp_span"
    said, message = told(Bench(), body, content_type=kind.headers["content-type"])
    assert_same(aside_, worker, said, message)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.route in WORKERS], ids=lambda kind: kind.name)
def test_the_same_verdict_on_hostile_records(aside_: Aside, kind: AbuseKind) -> None:
    """Rows, refusals and counts of every kind of body that the benchmark knows."""
    worker = WORKERS[kind.route]
    changes = {"content_type": kind.content_type, "resource": "batch" if "batch" in kind.route else ""}
    said, message = told(Bench(), kind.make(SMALL), **changes)
    assert_same(aside_, worker, said, message)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.route == ROUTE], ids=lambda kind: kind.name)
def test_the_same_items_and_rows_of_envelopes(aside_: Aside, kind: AbuseKind) -> None:
    """First the body in its items, then each kind of item as its worker reads it."""
    said, message = told(Bench(), kind.make(SMALL))
    here = split_body(READERS[ROUTE], message, said, 6_000_000)
    job = WorkJob.of(UNPACK, ROUTE, said, message)
    split = asyncio.run(aside_.run_in_process(job, lambda plain, _: Split.of_plain(plain), 7))
    assert split == here
    for _, worker, item in here.items[:2]:
        of_item = Bench().message("i", item)
        assert_same(aside_, worker, said, of_item)


def test_every_worker_is_known_to_the_process(aside_: Aside) -> None:
    """What a worker's table names is there too; a body that is nothing is refused with the same words."""
    for worker in KNOWN:
        assert_same(aside_, worker, *told(Bench(), b"nothing"))


def pipeline(bench: Bench, room: Aside) -> Pipeline:
    work = NormaliseHandler(KNOWN["otlp_log"], bench.outlets.replies, room)
    return Pipeline("otlp_log", work, bench.batcher, bench.outlets, HandlerOptions(max_inflated_bytes=6_000_000))


def large(bench: Bench) -> Message:
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%b]}]}]}' % b",".join([b'{"body":{"intValue":1}}'] * 50_000)
    assert len(body) > THREAD_BYTES
    return bench.message("m", body, content_type="application/json", subject="raw.otlp.logs.7")


def outcomes(bench: Bench) -> list[tuple[object, object]]:
    outcome, reason = OUTCOME_COLUMNS.index("outcome"), OUTCOME_COLUMNS.index("reason")
    return [(row[outcome], row[reason]) for row in bench.writer.stored.get(OUTCOMES_TABLE, [])]


def handled(room: Aside) -> tuple[Bench, Message]:
    """A large message through a pipeline."""

    async def scene() -> tuple[Bench, Message]:
        async with Bench() as bench:
            subject, message = pipeline(bench, room), large(bench)
            await subject.accept([message])
            await subject.drain(120)
            await bench.batcher.settle()
        return bench, message

    return asyncio.run(scene())


def test_a_large_message_goes_to_the_process() -> None:
    """Its process starts with it, and it is stored and acknowledged as any other."""
    room = Aside(60, SETTINGS)
    bench, message = handled(room)
    assert heard(message) == ["ack"]
    assert sum(rows for _, rows in bench.writer.inserts) > 50_000
    assert room._process is not None
    assert room._process._child is not None
    room.close()


def test_work_inside_of_c_is_stopped_too() -> None:
    """The process is killed: a thread would have to wait for the call's end. The next message gets a new one."""
    room = Aside(60, SETTINGS)
    handled(room)
    assert room._process is not None
    first = room._process._child
    assert first is not None
    room._budget_s = 0.0
    bench, message = handled(room)
    assert outcomes(bench) == [("dead", "too_costly")]
    assert heard(message) == ["ack"]
    assert not first.is_alive
    room._budget_s = 60.0
    assert heard(handled(room)[1]) == ["ack"]
    room.close()


def test_a_process_that_ends_by_itself_gives_the_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been the memory of the machine: the message comes again, and is no dead letter of the first try."""
    monkeypatch.setattr(aside, "MODULE", "receiver.no_such_module")
    bench, message = handled(Aside(60, SETTINGS))
    assert heard(message) == ["nak 5"]
    assert outcomes(bench) == []


def test_too_much_memory_is_the_messages_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set aside as too costly."""

    def exhausted(*_: object) -> Verdict:
        raise MemoryError

    said, message = told(Bench(), b"{}")
    known = {"event": type("N", (), {"normalise": staticmethod(exhausted)})}
    answers = list(work_process.answer_to(WorkJob.of(NORMALISE, "event", said, message), known, 1_000))  # type: ignore[arg-type]
    assert answers[0][0] == work_process.TOO_LARGE
    process = WorkProcess(SETTINGS)
    monkeypatch.setattr(process, "_running", lambda: None)
    monkeypatch.setattr(process, "_answer", lambda *_: (answers[0], []))
    with pytest.raises(TooCostly):
        process.ask(WorkJob.of(NORMALISE, "event", said, message), verdict_of)


def test_the_process_has_no_secret_and_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the worker's variables it gets a short list; closing its input is enough to end it."""
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
    """The command line and the pipe carry everything a normaliser may look at."""
    assert WorkSettings.of(SETTINGS.arguments()) == SETTINGS
    said, message = told(Bench(), b"body", content_type="x", counts_rows=True)
    job = WorkJob.of(NORMALISE, "event", said, message)
    assert Origin(*job.origin) == said
    assert astuple(said) == job.origin


def test_who_gives_up_ends_the_process() -> None:
    """A worker that stops leaves no process behind, and the next job finds a new one."""

    async def scene() -> None:
        room = Aside(3_600, SETTINGS)
        async with Bench() as bench:
            message = large(bench)
            job = WorkJob.of(NORMALISE, "otlp_log", origin(content_type="application/json"), message)
            working = asyncio.create_task(room.run_in_process(job, verdict_of, 1))
            assert room._process is not None
            while room._process._began_s is None:
                await asyncio.sleep(0.001)
            child = room._process._child
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
            assert child is not None
            while child.is_alive:
                await asyncio.sleep(0.001)
            assert len((await room.run_in_process(job, verdict_of, 1)).rows) == 50_000
        room.close()

    asyncio.run(asyncio.wait_for(scene(), 120))


def test_an_ended_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks hears it as an error that gives the message back."""
    process = WorkProcess(SETTINGS)
    child = process._running()
    child.kill()
    child.wait(30)
    monkeypatch.setattr(process, "_running", lambda: child)
    with pytest.raises(WorkProcessEnded):
        process.ask(WorkJob.of(NORMALISE, "event", origin(), Bench().message()), verdict_of)
