"""The steps of a message in a worker: own, inflate, open, handle (normalise or unpack), reply, ledger, batch.

Rows are made in normalise/. The Batcher inserts them and acknowledges the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import structlog
from nats.errors import Error as NatsError

from ops.runtime.tasks import end, run_together
from schemas import headers, subjects
from schemas.counts import Counts
from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate
from schemas.headers import Origin
from schemas.outcomes import DEAD, INVALID, Outcome, outcome_row
from workers import metrics
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.ledger import ledger_row
from workers.consume.message import Dead, Entry, Message
from workers.consume.sized_work import inflated_bytes, inline_bytes, is_compressed
from workers.consume.work_process_client import TooCostly, WorkProcessEnded
from workers.normalise.dead_letter import lenient_origin
from workers.normalise.verdict import Invalid
from workers.store.batcher import Batcher, Outlets

log = structlog.get_logger()

# A message delivered this often may have killed a worker: it is handled while the worker has no other message.
SUSPECT_DELIVERIES: Final = 3
# A message delivered this often is not handled any more.
POISON_DELIVERIES: Final = 6
# Heartbeats, pings and other workers' replies run between slices of this length.
SLICE_S: Final = 0.015
# Large messages of one worker that may be in work or wait for it, and their bytes; above, the worker takes no more.
MAX_LARGE_MESSAGES: Final = 64
MAX_LARGE_BYTES: Final = 64_000_000
TOO_COSTLY: Final = "too_costly"

# What a worker does with one message. Raises Invalid; after any other error, a bug of ours, the message becomes a dead
# letter.
Handler = Callable[[Message, Origin], Awaitable[Entry]]


def origin_of(message: Message) -> Origin:
    """How most workers read message headers. Raises headers.UnreadableHeaders."""
    return headers.read(message.headers, message.seq)


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """Where workers differ: how headers are read, and how many messages are in work at once.

    `has_outcomes`: a dead letter of this worker is an outcome. `makes_events`: its rows are events, which the
    reconciliation counts. `max_inflated_bytes`: largest inflated body; 0 if the worker does not inflate bodies.
    `executor` counts the rows that wait for their batch. `waits` is true of
    messages whose handler waits for something else than the processor.
    """

    read_origin: Callable[[Message], Origin] = origin_of
    concurrency: int = 1
    has_outcomes: bool = True
    makes_events: bool = True
    max_inflated_bytes: int = 0
    executor: LargeMessageExecutor | None = None
    # Messages of any size that wait for something: each gets a task of its own, as large ones do.
    waits: Callable[[Message], bool] | None = None


class Pipeline:
    """Takes messages of one worker; each of them ends in the Batcher, whatever its bytes are."""

    def __init__(
        self,
        worker: str,
        handler: Handler,
        batcher: Batcher,
        outlets: Outlets,
        options: HandlerOptions | None = None,
    ) -> None:
        self._worker = worker
        self._handler = handler
        self._batcher = batcher
        self._replies = outlets.replies
        self._clock = outlets.clock
        self._row_counts = outlets.row_counts
        self._options = options or HandlerOptions()
        self._slice_began_s = self._clock.now_s()
        self._large_tasks: dict[asyncio.Task[None], int] = {}

    async def accept(self, messages: Sequence[Message]) -> None:
        """Returns when each is in a batch or is a large message in work; blocks while there are too many of either.

        Raises nothing but cancellation.
        """
        self._batcher.hold(messages)
        try:
            await self._accept(messages)
        finally:
            # If this ended early, messages that are in no batch are given back to the broker.
            self._batcher.abandon(messages)

    async def _accept(self, messages: Sequence[Message]) -> None:
        metrics.MESSAGES.labels(self._worker).inc(len(messages))
        self._slice_began_s = self._clock.now_s()
        await self._process_together([message for message in messages if message.deliveries < SUSPECT_DELIVERIES])
        for message in messages:
            if message.deliveries >= SUSPECT_DELIVERIES:
                await self._process_alone(message)
        metrics.REDELIVERED.labels(self._worker).inc(sum(message.deliveries > 1 for message in messages))

    async def _process_together(self, messages: Sequence[Message]) -> None:
        if self._options.concurrency == 1:
            for message in messages:
                await self._process_or_defer(message)
            return
        queue = iter(messages)

        async def process_next() -> None:
            for message in queue:
                await self._process_or_defer(message)

        await run_together(*(process_next() for _ in range(min(self._options.concurrency, len(messages)))))

    async def _process_alone(self, message: Message) -> None:
        """Processed while the worker has no other message: if it kills the process, no other message is redelivered."""
        if self._large_tasks:
            await asyncio.wait(self._large_tasks)
        await self._batcher.settle()
        self._inflated_size(message)
        await self._process(message)
        await self._batcher.settle()

    async def _process_or_defer(self, message: Message) -> None:
        """A large message gets a task of its own, so that the rows of other messages need not wait for it."""
        size_bytes = self._inflated_size(message)
        waits = self._options.waits
        if size_bytes <= inline_bytes(message) and not (waits and waits(message)):
            await self._process(message)
            return
        while self.is_full:
            await asyncio.wait(self._large_tasks, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._process(message), name=f"large-{self._worker}")
        self._large_tasks[task] = size_bytes
        self._batcher.pass_on(message, task)
        task.add_done_callback(self._large_tasks.pop)

    @property
    def is_full(self) -> bool:
        """Whether a large message would have to wait for others."""
        return len(self._large_tasks) >= MAX_LARGE_MESSAGES or sum(self._large_tasks.values()) > MAX_LARGE_BYTES

    def _inflated_size(self, message: Message) -> int:
        """Inflates the body and returns its size. For a body that cannot be inflated the handler reports the error."""
        most_bytes = self._options.max_inflated_bytes
        if most_bytes and is_compressed(message):
            try:
                message.inflated = inflate(message.body, message.headers[headers.CONTENT_ENCODING], most_bytes)
            except (CorruptBody, TooLarge, UnsupportedEncoding):
                return len(message.body)
        return inflated_bytes(message) if most_bytes else len(message.body)

    async def drain(self, timeout_s: float) -> None:
        """Waits for large messages. One that takes longer is cancelled, and the Batcher gives it back to the broker."""
        if self._large_tasks:
            await asyncio.wait(self._large_tasks, timeout=timeout_s)
        await end(*self._large_tasks)

    async def _process(self, message: Message) -> None:
        """Everything before the insert of the message's batch. If it fails, the message is given back to the broker."""
        try:
            origin, entry = self._open(message)
            if entry is None:
                entry = await self._handled(message, origin)
            if entry.reply is not None:
                await self._replies.send(entry, entry.reply)
            if entry.origin is not None:
                self._row_counts.add(entry.origin, entry)
            entry.ledger = ledger_row(origin, self._worker, entry, makes_events=self._options.makes_events)
            executor = self._options.executor
            with executor.count_rows(len(entry.rows)) if executor else nullcontext():
                await self._batcher.put(entry)
        except Exception as error:
            await self._batcher.give_back(message)
            log.exception("message_given_back", worker=self._worker, seq=message.seq, error=str(error))
        if self._clock.now_s() - self._slice_began_s > SLICE_S:
            await asyncio.sleep(0)
            self._slice_began_s = self._clock.now_s()

    def _open(self, message: Message) -> tuple[Origin, Entry | None]:
        """Reads the headers. Returns an entry too if the message becomes a dead letter without being handled."""
        try:
            origin = self._options.read_origin(message)
        except headers.UnreadableHeaders as error:
            origin = lenient_origin(message)
            return origin, self._dead(message, origin, Dead("unreadable_headers", str(error)))
        if message.deliveries >= POISON_DELIVERIES:
            dead = Dead("poison", f"delivered {message.deliveries} times without an end")
            return origin, self._dead(message, origin, dead)
        return origin, None

    async def _handled(self, message: Message, origin: Origin) -> Entry:
        try:
            return await self._handler(message, origin)
        except Invalid as error:
            return self._invalid(message, origin, str(error))
        except TooCostly as error:
            entry = self._dead(message, origin, Dead(TOO_COSTLY, str(error), by_sender=True))
            reason = f"{TOO_COSTLY}: {error}"
        except (NatsError, WorkProcessEnded):
            raise
        except Exception as error:
            log.exception("normaliser_error", worker=self._worker, stream=message.stream, seq=message.seq)
            entry = self._dead(message, origin, Dead("normaliser_error", f"{type(error).__name__}: {error}"))
            reason = "normaliser_error: a fault of this service; the item is kept among the dead letters"
        entry.reply = Counts(stage=self._worker, rejected=1, reasons=[reason])
        return entry

    def _invalid(self, message: Message, origin: Origin, error: str) -> Entry:
        """The body is malformed as a whole: the sender gets the reason, and the bytes are kept."""
        row = outcome_row(origin, self._worker, Outcome(INVALID, INVALID, self._worker))
        # Messages of `outcome` are made by receivers, not by senders.
        by_sender = self._worker != subjects.OUTCOME
        entry = Entry(message, origin, outcomes=[row], dead=Dead(INVALID, error, by_sender))
        entry.reply = Counts(stage=self._worker, invalid=error)
        return entry

    def _dead(self, message: Message, origin: Origin, dead: Dead) -> Entry:
        if not self._options.has_outcomes:
            return Entry(message, dead=dead)
        row = outcome_row(origin, self._worker, Outcome(DEAD, dead.reason, self._worker))
        return Entry(message, origin, outcomes=[row], dead=dead)
