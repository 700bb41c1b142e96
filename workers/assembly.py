"""Puts a worker together: handler, pipeline, Batcher. Objects that the workers of one process share are made here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nats.aio.client import Client

from ops.runtime.group_commit import GroupCommit
from schemas import subjects
from schemas.compiled import readers as compiled
from schemas.rows import EVENTS_TABLE
from schemas.subjects import Source
from workers import readiness
from workers.clock import Clock
from workers.consume.counts import Replies
from workers.consume.handover import Handover
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.normalise_handler import NormaliseHandler
from workers.consume.pipeline import Handler, HandlerOptions, Pipeline
from workers.consume.row_counts import RowCounts
from workers.consume.work_process import WorkSettings
from workers.normalise.dead_letter import origin_of as origin_of_dead
from workers.normalise.registry import Normaliser, normalisers
from workers.settings import WorkerSettings
from workers.store.batcher import Batcher, BatchLimits, Outlets
from workers.store.dead_letters import DeadLetterSink, DeadStreamSink, InvalidBodies, StaysInStream
from workers.store.flush_age import FlushAge
from workers.store.insert import Inserter
from workers.store.shared_flushes import SharedFlushes
from workers.store.shares import Shares
from workers.unpack.handler import Unpack
from workers.unpack.publish import AsReplay, OneByOne

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from schemas.headers import Origin
    from workers.consume.message import Message
    from workers.symbolicate.parts import Symbolicator
    from workers.tracing import Spans

PUBLISH_TIMEOUT_S: Final = 5.0
UNPACK_CONCURRENCY: Final = 256
# The worker that reads DEAD: its own failures must not become dead letters in DEAD again.
_DEAD_WORKER: Final = "dead"


class WorkerAssembly:
    """Puts workers of one process together."""

    def __init__(
        self,
        settings: WorkerSettings,
        client: Client,
        inserter: Inserter,
        clock: Clock,
        spans: Spans | None = None,
    ) -> None:
        # By worker. Set before the first worker is assembled, in a process that resolves stack traces.
        self.symbolicators: Mapping[str, Symbolicator] = {}
        self._settings = settings
        self._spans = spans
        self._client = client
        self._inserter = inserter
        self._clock = clock
        self._flush_age = FlushAge()
        self._shared_flushes = SharedFlushes()
        self._workers: list[str] = []
        self.row_counts = RowCounts(clock, lambda: readiness.health(self._workers))
        work_settings = WorkSettings(settings.retention_days, settings.max_body_bytes, bool(compiled.in_use()))
        self.executor = LargeMessageExecutor(settings.worker_message_cpu_s, work_settings)
        # Workers of this process, which get items from unpack without the broker.
        self._in_process: dict[str, Pipeline] = {}
        self._normalisers = normalisers(settings.retention_days, settings.max_body_bytes)
        # Messages that the workers of this process publish at the same time are stored together, with one fsync.
        self._groups = {
            stream: GroupCommit(client, stream, PUBLISH_TIMEOUT_S)
            for stream in (subjects.ITEMS, subjects.REPLAY, subjects.DEAD, subjects.REFUSED)
        }
        # One for the process: a key has one share, whichever worker finds its bodies invalid.
        shares = Shares(settings.worker_refused_share_bytes, clock)
        self._refusals = InvalidBodies(self._groups[subjects.REFUSED].publish, shares, clock)

    def assemble(self, worker: str, source: Source) -> tuple[Batcher, Pipeline]:
        """A worker's Batcher and the pipeline in front of it, for its live messages or its replayed ones."""
        if worker not in self._workers:
            self._workers.append(worker)
        replies = Replies(self._client.publish, worker)
        normaliser = self._normalisers.get(worker)
        dead_letters = self._dead_letters(worker)
        outlets = Outlets(
            self._inserter, dead_letters, replies, self._clock, self._flush_age, self.row_counts, self._shared_flushes
        )
        table, columns = (normaliser.table, normaliser.columns) if normaliser else ("", ())
        is_replay = source.stream == subjects.REPLAY
        limits = self._limits(in_flight=1) if is_replay else self._limits()
        make = self._spans.batcher if self._spans else Batcher
        batcher = make(worker, table, columns, outlets, limits)
        handler = self._handler(normaliser, replies, is_replay=is_replay)
        handler = self._spans.handler(worker, handler) if self._spans else handler
        pipeline = Pipeline(worker, handler, batcher, outlets, self._options(worker, normaliser))
        if source.stream == subjects.ITEMS and self._settings.worker_handover:
            self._in_process[worker] = pipeline
        return batcher, pipeline

    def _handler(self, normaliser: Normaliser | None, replies: Replies, *, is_replay: bool) -> Handler:
        if normaliser is not None:
            return NormaliseHandler(normaliser, self.executor, self._resolve_of(normaliser.worker))
        publisher = OneByOne(
            self._groups[subjects.REPLAY if is_replay else subjects.ITEMS].publish,
            self._clock,
            messages=self._settings.worker_publish_messages,
            size_bytes=self._settings.worker_publish_bytes,
        )
        if is_replay:
            return Unpack(AsReplay(publisher), replies, self._settings.max_body_bytes, executor=self.executor)
        return Unpack(publisher, replies, self._settings.max_body_bytes, Handover(self._in_process), self.executor)

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
            return HandlerOptions(concurrency=UNPACK_CONCURRENCY, max_inflated_bytes=self._settings.max_body_bytes)
        symbolicator = self.symbolicators.get(worker)
        return HandlerOptions(
            makes_events=normaliser is None or normaliser.table == EVENTS_TABLE,
            max_inflated_bytes=self._settings.max_body_bytes if normaliser and normaliser.inflates else 0,
            executor=self.executor,
            waits=symbolicator.concerns if symbolicator else None,
        )

    def _resolve_of(self, worker: str) -> Callable[[Message, Origin], Awaitable[Message]] | None:
        symbolicator = self.symbolicators.get(worker)
        return symbolicator.resolve if symbolicator else None

    def _dead_letters(self, worker: str) -> DeadLetterSink:
        if worker == _DEAD_WORKER:
            return StaysInStream(worker)
        return DeadStreamSink(self._groups[subjects.DEAD].publish, worker, self._refusals)
