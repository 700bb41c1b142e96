"""A worker process: startup, run, shutdown. What is done with a message is not decided here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvloop
from faststream import FastStream
from faststream.nats import NatsBroker
from faststream.nats.security import NatsSecurity, NatsToken, NatsUserPassword
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ops.runtime.group_commit import GroupCommit
from ops.runtime.logs import configure_logging
from ops.runtime.nats_options import nats_options
from ops.runtime.secret_masking import without_secrets
from ops.runtime.tasks import end
from schemas import subjects
from schemas.compiled import readers as compiled
from schemas.subjects import REFUSED_SOURCES, REPLAY_SOURCES, SOURCES, Source
from workers import memory, metrics, readiness
from workers.clock import Clock, SystemClock
from workers.consume.aside import Aside
from workers.consume.counts import Replies
from workers.consume.handover import Handover
from workers.consume.message import Message, as_original, from_nats
from workers.consume.pipeline import Handler, HandlerOptions, NormaliseHandler, Pipeline
from workers.consume.pull import FetchSize, Handle, attach
from workers.consume.row_counts import RowCounts
from workers.consume.work_process import WorkSettings
from workers.normalise.dead_letter import origin_of as origin_of_dead
from workers.normalise.registry import Normaliser, normalisers
from workers.settings import WorkerSettings
from workers.store.batcher import Batcher, BatchLimits, Outlets
from workers.store.dead_letters import DeadLetterSink, DeadStreamSink, RefusedBodies, StaysInStream
from workers.store.insert import Inserter
from workers.store.pace import Pace
from workers.store.shares import Shares
from workers.store.writers import ClickHouseWriter, ClosableWriter, DryRunWriter
from workers.unpack.handler import Unpack
from workers.unpack.publish import AsReplay, OneByOne

if TYPE_CHECKING:
    from workers.tracing import Spans

log = structlog.get_logger()

ALL: Final = "all"
# How long a stopping pump waits for its handler; one held up by back-pressure is then cut off, which loses nothing.
HANDLER_GRACE_S: Final = 2
PUBLISH_TIMEOUT_S: Final = 5.0
UNPACK_LANES: Final = 256
# The worker that reads DEAD: what it cannot store must not be dead-lettered in DEAD again.
_DEAD_WORKER: Final = "dead"


class UnknownWorker(ValueError):
    """A name that is not in schemas.subjects.SOURCES."""


@dataclass(slots=True)
class Running:
    """A started process: what shutdown has to end, in its order."""

    settings: WorkerSettings
    broker: NatsBroker
    app: FastStream
    writer: ClosableWriter
    batchers: list[Batcher] = field(default_factory=list)
    pipelines: list[Pipeline] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    spans: Spans | None = None
    aside: Aside | None = None


def names(types: Sequence[str]) -> list[str]:
    """The workers meant by command-line words, `all` included. Raises UnknownWorker."""
    if ALL in types:
        return list(SOURCES)
    unknown = [name for name in types if name not in SOURCES]
    if unknown or not types:
        found = ", ".join(unknown) or "none"
        raise UnknownWorker(f"expected workers out of {', '.join(SOURCES)}, or {ALL}; found {found}")
    return list(dict.fromkeys(types))


async def startup(types: Sequence[str], settings: WorkerSettings, writer: ClosableWriter | None = None) -> Running:
    """Connects (waiting for NATS as long as it takes) and starts one subscriber for each worker."""
    workers = names(types)
    broker = make_broker(settings, f"worker-{'-'.join(types)}")
    client = await broker.connect()
    writer = writer or (DryRunWriter() if settings.worker_dry_run else ClickHouseWriter(settings))
    running = Running(settings, broker, FastStream(broker, logger=None), writer, spans=_spans(settings))
    room = _Room(settings, client, Inserter(writer, SystemClock()), SystemClock(), running.spans)
    running.aside = room.aside
    await client.subscribe(subjects.QUOTA_ASK, cb=room.row_counts.on_ask)
    running.tasks.append(asyncio.create_task(room.row_counts.run(client.publish), name="row-counts"))
    for worker in workers:
        _start_worker(running, room, worker, SOURCES[worker])
        if settings.worker_replay and worker in REPLAY_SOURCES:
            _start_worker(running, room, worker, REPLAY_SOURCES[worker])
        if worker in REFUSED_SOURCES:
            _start_worker(running, room, worker, REFUSED_SOURCES[worker])
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


def _spans(settings: WorkerSettings) -> Spans | None:
    """What workers trace with; without AXONPUSH_TRACING_URL nothing of OpenTelemetry is imported."""
    if not settings.tracing_url:
        return None
    from workers.tracing import Spans  # noqa: PLC0415

    return Spans.open(settings)


def _start_worker(running: Running, room: _Room, worker: str, source: Source) -> None:
    """One subscriber with a pipeline and a Batcher of its own: a worker's live messages, or its replayed ones."""
    settings = running.settings
    is_replay = source.stream == subjects.REPLAY
    batcher, pipeline = room.assemble(worker, source)
    metrics.HELD.labels(source.worker).set_function(lambda: batcher.held)
    running.batchers.append(batcher)
    running.pipelines.append(pipeline)
    running.tasks.append(asyncio.create_task(batcher.run(), name=f"batcher-{source.worker}"))
    attach(
        running.broker,
        source,
        _handler(pipeline, as_original if is_replay else _as_it_is),
        on_bound=batcher.use_ack_wait,
        size=FetchSize(
            settings.worker_replay_messages if is_replay else settings.worker_fetch_messages,
            settings.worker_fetch_bytes,
        ),
    )


def _as_it_is(message: Message) -> Message:
    return message


def _handler(pipeline: Pipeline, read: Callable[[Message], Message]) -> Handle:
    async def handle(messages: list[Msg]) -> None:
        # Cut off at shutdown, the messages are the Batcher's already, which gives them back. The pull loop ends by
        # itself then; raised on, FastStream would log the cancellation as an error, with all its frames.
        with contextlib.suppress(asyncio.CancelledError):
            await deliver(pipeline, messages, read)

    return handle


async def deliver(pipeline: Pipeline, messages: list[Msg], read: Callable[[Message], Message] = _as_it_is) -> None:
    """FastStream's batch into the pipeline."""
    queued_messages: list[Message] = []
    for message in messages:
        try:
            queued_messages.append(read(from_nats(message)))
        except ValueError as error:
            log.error("not_a_delivery", subject=message.subject, error=str(error))
    await pipeline.accept(queued_messages)


async def shutdown(running: Running) -> None:
    """No new messages, then finish what is held, then give back the rest, then close."""
    await asyncio.gather(*(subscriber.stop() for subscriber in running.broker.subscribers))
    await asyncio.gather(*(pipeline.drain(running.settings.worker_drain_s / 2) for pipeline in running.pipelines))
    left = await asyncio.gather(*(batcher.drain(running.settings.worker_drain_s) for batcher in running.batchers))
    await end(*running.tasks)
    # A broker that is away cannot be said goodbye to; it will offer again what it gave us.
    with contextlib.suppress(NatsError, OSError):
        await running.app.stop()
    await running.writer.close()
    if running.aside is not None:
        running.aside.close()
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
        readiness.serve(settings.worker_metrics_port)
    stop = _stop_on_signal()
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


def make_broker(settings: WorkerSettings, name: str) -> NatsBroker:
    """FastStream's broker over our connection options; it takes what proves who we are as a security object."""
    options = nats_options(settings, name, "worker")
    return NatsBroker(
        settings.nats_servers(),
        security=_security(options),
        **options,
        error_cb=_on_nats_error,
        graceful_timeout=HANDLER_GRACE_S,
        apply_types=False,
        logger=_quiet_logger(),
        log_level=logging.DEBUG,
    )


def _security(options: dict[str, Any]) -> NatsSecurity:
    """Takes out of `options` what FastStream wants as an object of its own."""
    user, password, token = (options.pop(name, None) for name in ("user", "password", "token"))
    tls = options.pop("tls", None)
    if user:
        return NatsUserPassword(user, password, ssl_context=tls)
    return NatsToken(token, ssl_context=tls) if token else NatsSecurity(ssl_context=tls)


def _quiet_logger() -> logging.Logger:
    """A line per batch and per task is FastStream's idea of info; what is worth a line, Batcher and pump say."""
    logger = logging.getLogger("workers.faststream")
    logger.setLevel(logging.WARNING)
    return logger


async def _on_nats_error(error: Exception) -> None:
    log.warning("nats_error", error=str(error) or type(error).__name__)


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


class _Room:
    """What the workers of one process share, and how one of them is put together from it."""

    def __init__(
        self,
        settings: WorkerSettings,
        client: Client,
        inserter: Inserter,
        clock: Clock,
        spans: Spans | None = None,
    ) -> None:
        self._settings = settings
        self._spans = spans
        self._client = client
        self._inserter = inserter
        self._clock = clock
        self._pace = Pace()
        self.row_counts = RowCounts(clock)
        told = WorkSettings(settings.retention_days, settings.max_body_bytes, bool(compiled.in_use()))
        self.aside = Aside(settings.worker_message_cpu_s, told)
        # Workers of this process that take items from unpack without the broker.
        self._takers: dict[str, Pipeline] = {}
        self._normalisers = normalisers(settings.retention_days, settings.max_body_bytes)
        # What the workers of this process publish at the same time is stored together, with one fsync.
        self._groups = {
            stream: GroupCommit(client, stream, PUBLISH_TIMEOUT_S)
            for stream in (subjects.ITEMS, subjects.REPLAY, subjects.DEAD, subjects.REFUSED)
        }
        # One for the process: a key's share is the same whichever of its workers finds the bodies invalid.
        shares = Shares(settings.worker_refused_share_bytes, clock)
        self._refusals = RefusedBodies(self._groups[subjects.REFUSED].publish, shares, clock)

    def assemble(self, worker: str, source: Source) -> tuple[Batcher, Pipeline]:
        """A worker's Batcher and the pipeline in front of it, for its live messages or its replayed ones."""
        replies = Replies(self._client.publish, worker)
        normaliser = self._normalisers.get(worker)
        outlets = Outlets(self._inserter, self._dead_letters(worker), replies, self._clock, self._pace, self.row_counts)
        table, columns = (normaliser.table, normaliser.columns) if normaliser else ("", ())
        is_replay = source.stream == subjects.REPLAY
        limits = self._limits(in_flight=1) if is_replay else self._limits()
        make = self._spans.batcher if self._spans else Batcher
        batcher = make(worker, table, columns, outlets, limits)
        work = self._work(normaliser, replies, is_replay=is_replay)
        work = self._spans.work(worker, work) if self._spans else work
        pipeline = Pipeline(worker, work, batcher, outlets, self._options(worker, normaliser))
        if source.stream == subjects.ITEMS and self._settings.worker_handover:
            self._takers[worker] = pipeline
        return batcher, pipeline

    def _work(self, normaliser: Normaliser | None, replies: Replies, *, is_replay: bool) -> Handler:
        if normaliser is not None:
            return NormaliseHandler(normaliser, replies, self.aside)
        publisher = OneByOne(
            self._groups[subjects.REPLAY if is_replay else subjects.ITEMS].publish,
            self._clock,
            messages=self._settings.worker_publish_messages,
            size_bytes=self._settings.worker_publish_bytes,
        )
        if is_replay:
            return Unpack(AsReplay(publisher), replies, self._settings.max_body_bytes, aside=self.aside)
        return Unpack(publisher, replies, self._settings.max_body_bytes, Handover(self._takers), self.aside)

    def _limits(self, in_flight: int | None = None) -> BatchLimits:
        return BatchLimits(
            rows=self._settings.worker_flush_rows,
            size_bytes=self._settings.worker_flush_bytes,
            age_s=self._settings.worker_flush_age_s,
            most_age_s=self._settings.worker_flush_age_most_s,
            in_flight=in_flight or self._settings.worker_inserts_in_flight,
        )

    def _options(self, worker: str, normaliser: Normaliser | None) -> HandlerOptions:
        if worker == _DEAD_WORKER:
            return HandlerOptions(read_origin=origin_of_dead, has_outcomes=False)
        if worker == subjects.UNPACK:
            return HandlerOptions(concurrency=UNPACK_LANES, max_inflated_bytes=self._settings.max_body_bytes)
        return HandlerOptions(
            max_inflated_bytes=self._settings.max_body_bytes if normaliser and normaliser.inflates else 0,
            aside=self.aside,
        )

    def _dead_letters(self, worker: str) -> DeadLetterSink:
        if worker == _DEAD_WORKER:
            return StaysInStream(worker)
        return DeadStreamSink(self._groups[subjects.DEAD].publish, worker, self._refusals)
