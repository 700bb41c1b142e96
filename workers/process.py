"""A worker process: startup, run, shutdown. pipeline.py has the steps of a message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvloop
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ops.runtime.failures import WrongSetting
from ops.runtime.logs import configure_logging
from ops.runtime.process.nats_errors import is_refused_user, refused_text
from ops.runtime.process.signals import stop_event
from ops.runtime.process.start_errors import port_failure
from ops.runtime.secret_masking import without_secrets
from ops.runtime.tasks import end
from schemas import subjects
from schemas.compiled import readers as compiled
from schemas.subjects import REFUSED_SOURCES, REPLAY_SOURCES, SOURCES, Source
from workers import memory, metrics, readiness
from workers.assembly import WorkerAssembly
from workers.broker import make_broker
from workers.clock import Clock, SystemClock
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.message import Message, as_original, from_nats
from workers.consume.pipeline import Pipeline
from workers.consume.pull import FetchSize, Handle, attach
from workers.settings import WorkerSettings
from workers.store.access import ClickHouseAccess
from workers.store.batcher import Batcher
from workers.store.combining import CombiningWriter
from workers.store.insert import Inserter
from workers.store.same_system import SystemCheck
from workers.store.writers import ClickHouseWriter, ClosableWriter
from workers.symbolicate.parts import SYMBOLICATED_WORKERS, SymbolicationParts

if TYPE_CHECKING:
    from workers.tracing import Spans

log = structlog.get_logger()

ALL: Final = "all"


# Changes a message before its worker gets it, for replays.
Read = Callable[[Message], Message]


class UnknownWorker(ValueError):
    """A name that is not in schemas.subjects.SOURCES."""


@dataclass(slots=True)
class Running:
    """A started process: everything that shutdown ends, in its order."""

    settings: WorkerSettings
    broker: NatsBroker
    app: FastStream
    writer: ClosableWriter
    batchers: list[Batcher] = field(default_factory=list)
    pipelines: list[Pipeline] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    spans: Spans | None = None
    executor: LargeMessageExecutor | None = None
    access: ClickHouseAccess | None = None
    symbolication: SymbolicationParts | None = None


def names(types: Sequence[str]) -> list[str]:
    """The workers for the words on a command line; `all` stands for every worker. Raises UnknownWorker."""
    if ALL in types:
        return list(SOURCES)
    unknown = [name for name in types if name not in SOURCES]
    if unknown or not types:
        listed = ", ".join(unknown) or "none"
        raise UnknownWorker(f"expected workers out of {', '.join(SOURCES)}, or {ALL}; found {listed}")
    return list(dict.fromkeys(types))


async def startup(types: Sequence[str], settings: WorkerSettings, writer: ClosableWriter | None = None) -> Running:
    """Connects (waiting for NATS as long as it takes) and starts one subscriber for each worker."""
    workers = names(types)
    broker = make_broker(settings, f"worker-{'-'.join(types)}")
    try:
        client = await broker.connect()
    except NatsError as error:
        if is_refused_user(error):
            raise WrongSetting(refused_text(settings)) from error
        raise
    clock = SystemClock()
    writer = writer or _writer(settings, clock)
    running = Running(settings, broker, FastStream(broker, logger=None), writer, spans=_spans(settings))
    system = SystemCheck(client.jetstream(), SOURCES[workers[0]], writer)
    running.access = ClickHouseAccess(system.check, clock)
    running.tasks.append(asyncio.create_task(running.access.watch(), name="same-system"))
    inserter = Inserter(writer, clock, access=running.access)
    assembly = WorkerAssembly(settings, client, inserter, clock, running.spans)
    if SYMBOLICATED_WORKERS.intersection(workers) and settings.worker_symbols:
        running.symbolication = SymbolicationParts.open(client, settings)
        running.tasks.append(asyncio.create_task(running.symbolication.follower.run(), name="artifacts"))
        assembly.symbolicators = running.symbolication.symbolicators
    running.executor = assembly.executor
    await client.subscribe(subjects.QUOTA_ASK, cb=assembly.row_counts.on_ask)
    running.tasks.append(asyncio.create_task(assembly.row_counts.run(client.publish), name="row-counts"))
    for worker in workers:
        _start_worker(running, assembly, worker, SOURCES[worker])
        if settings.worker_replay and worker in REPLAY_SOURCES:
            _start_worker(running, assembly, worker, REPLAY_SOURCES[worker])
        if worker in REFUSED_SOURCES:
            _start_worker(running, assembly, worker, REFUSED_SOURCES[worker])
    await running.app.start()
    clickhouse = without_secrets(settings.clickhouse_url)
    log.info(
        "worker_started",
        workers=workers,
        nats=settings.nats_addresses(),
        clickhouse=clickhouse,
        compiled_readers=compiled.in_use(),
    )
    return running


def _writer(settings: WorkerSettings, clock: Clock) -> ClosableWriter:
    return CombiningWriter(ClickHouseWriter(settings), clock, settings.worker_inserts_in_flight)


def _spans(settings: WorkerSettings) -> Spans | None:
    """Tracing of workers; without AXONPUSH_TRACING_URL nothing of OpenTelemetry is imported."""
    if not settings.tracing_url:
        return None
    from workers.tracing import Spans  # noqa: PLC0415

    return Spans.open(settings)


def _start_worker(running: Running, assembly: WorkerAssembly, worker: str, source: Source) -> None:
    """One subscriber with a pipeline and a Batcher of its own: a worker's live messages, or its replayed ones."""
    settings = running.settings
    assert running.access is not None
    is_replay = source.stream == subjects.REPLAY
    batcher, pipeline = assembly.assemble(worker, source)
    metrics.HELD.labels(source.worker).set_function(lambda: batcher.held)
    running.batchers.append(batcher)
    running.pipelines.append(pipeline)
    running.tasks.append(asyncio.create_task(batcher.run(), name=f"batcher-{source.worker}"))
    attach(
        running.broker,
        source,
        _handler(pipeline, as_original if is_replay else None),
        on_bound=batcher.use_ack_wait,
        may_fetch=partial(running.access.wait, batcher.tables),
        on_reconnect=running.access.check_again,
        size=FetchSize(
            settings.worker_replay_messages if is_replay else settings.worker_fetch_messages,
            settings.worker_fetch_bytes,
        ),
    )


def _handler(pipeline: Pipeline, read: Read | None) -> Handle:
    async def handle(messages: list[Msg]) -> None:
        # If this is cancelled at shutdown, the Batcher owns the messages and gives them back. The pull loop ends by
        # itself. If the cancellation were raised, FastStream would log it as an error with all its frames.
        with contextlib.suppress(asyncio.CancelledError):
            await deliver(pipeline, messages, read)

    return handle


async def deliver(pipeline: Pipeline, messages: list[Msg], read: Read | None = None) -> None:
    """FastStream's batch into the pipeline."""
    queued_messages: list[Message] = []
    for message in messages:
        try:
            delivered = from_nats(message)
            queued_messages.append(read(delivered) if read else delivered)
        except ValueError as error:
            log.error("not_a_delivery", subject=message.subject, error=str(error))
    await pipeline.accept(queued_messages)


async def shutdown(running: Running) -> None:
    """Stops fetching, finishes the messages in work, returns the rest to the broker, then closes."""
    await asyncio.gather(*(subscriber.stop() for subscriber in running.broker.subscribers))
    await asyncio.gather(*(pipeline.drain(running.settings.worker_drain_s / 2) for pipeline in running.pipelines))
    left = await asyncio.gather(*(batcher.drain(running.settings.worker_drain_s) for batcher in running.batchers))
    await end(*running.tasks)
    # A broker that is away cannot be told; it will redeliver its messages.
    with contextlib.suppress(NatsError, OSError):
        await running.app.stop()
    await running.writer.close()
    if running.executor is not None:
        running.executor.close()
    if running.symbolication is not None:
        await asyncio.to_thread(running.symbolication.process.close)
    if running.spans is not None:
        running.spans.close()
    log.info("worker_stopped", given_back=sum(left))


async def run(types: Sequence[str], settings: WorkerSettings | None = None) -> None:
    """Runs until SIGTERM or SIGINT; also while it still waits for the broker to appear. Raises UnknownWorker."""
    settings = settings or WorkerSettings()
    names(types)
    configure_logging(settings)
    if not settings.worker_compiled_readers:
        compiled.leave_out()
    if settings.worker_metrics_port:
        try:
            readiness.serve(settings.worker_metrics_port)
        except OSError as error:
            raise port_failure(error, settings.worker_metrics_port, "AXONPUSH_WORKER_METRICS_PORT") from error
    stop = stop_event()
    starting = asyncio.create_task(startup(types, settings))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await end(starting)
        return
    running = await starting
    await _until_stopped(running, stopping)
    await shutdown(running)


async def _until_stopped(running: Running, stopping: asyncio.Task[Any]) -> None:
    """A Batcher's own task never ends by itself: if one does, stop, so that the supervisor starts a healthy process."""
    done, _ = await asyncio.wait({stopping, *running.tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopping}:
        log.error("batcher_stopped", task=task.get_name(), error=repr(task.exception()))


def main(types: Sequence[str]) -> None:
    """The process: uvloop and `run`."""
    memory.collect_seldom()
    memory.keep_freed_memory()
    uvloop.run(run(types))
