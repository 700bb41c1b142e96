"""What happens to a message, in order. Rows are made in normalise/ and kept by the Batcher.

own -> weigh -> open -> work (normalise, or unpack) -> reply -> ledger -> batch. The Batcher inserts and acknowledges.
"""

from __future__ import annotations

import asyncio
import marshal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

import structlog
from nats.errors import Error as NatsError

from ops.runtime.tasks import end
from schemas import headers, subjects
from schemas.counts import Counts
from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate
from schemas.headers import Origin
from schemas.outcomes import DEAD, INVALID, Outcome, outcome_row
from schemas.row_blocks import MixedRows, RowBlock, Rows
from schemas.rows import Row
from workers import metrics
from workers.consume import counts
from workers.consume.aside import Aside, ReadAnswer, TooCostly, WorkProcessEnded
from workers.consume.ledger import ledger_row
from workers.consume.message import Dead, Entry, Message
from workers.consume.work_process import NORMALISE, WorkJob, verdict_of
from workers.normalise.dead_letter import lenient_origin
from workers.normalise.registry import Normaliser
from workers.normalise.verdict import Invalid, Verdict
from workers.store.batcher import Batcher, Outlets

T = TypeVar("T")

log = structlog.get_logger()

# A message delivered this often may be what killed a worker: it is handled with nothing else in hand ...
SUSPECT_DELIVERIES: Final = 3
# ... and then not at all any more.
POISON_DELIVERIES: Final = 6
# Heartbeats, pings and other workers' replies run between slices of this length.
SLICE_S: Final = 0.015
# What a row weighs at least, beside its texts.
ROW_BYTES: Final = 200
# Of the bytes of a block so many count as one: rows that are objects take several times what is counted for them.
BLOCK_SHARE: Final = 2
# A message of more bytes, inflated, is worked on aside: a hostile one of so many takes the loop for some 50 ms. The 512
# spans in protobuf that SDKs export at once are 173 kB; a thread would add a twentieth to what they cost.
INLINE_BYTES: Final = 192 * 1024
# Text may cost four times as much per byte, for example deep lists before a NaN.
INLINE_TEXT_BYTES: Final = 64 * 1024
# Larger messages are worked on in the child process: one call into C, which cannot be interrupted, takes up to 35 ns a
# byte (JSON of nothing but different names).
THREAD_BYTES: Final = 768 * 1024
# So many messages of one worker, and so many bytes of them, wait to be worked on aside; then it takes no more.
MAX_ASIDE: Final = 64
MAX_ASIDE_BYTES: Final = 64_000_000
TOO_COSTLY: Final = "too_costly"

# What a worker does with one message. Raises Invalid; anything else it raises is a fault of ours, and the message dies.
Handler = Callable[[Message, Origin], Awaitable[Entry]]


def origin_of(message: Message) -> Origin:
    """How most workers read their messages' headers. Raises headers.UnreadableHeaders."""
    return headers.read(message.headers, message.seq)


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """Where workers differ: how headers are read, how many messages are in work at once, whether deaths are outcomes.

    `makes_events` says whether its rows are events, which the reconciliation counts. `max_inflated_bytes` is what a
    body may be once inflated; 0 if the worker does not inflate bodies. `aside` is told how many rows wait for their
    batch.
    """

    read_origin: Callable[[Message], Origin] = origin_of
    concurrency: int = 1
    has_outcomes: bool = True
    makes_events: bool = True
    max_inflated_bytes: int = 0
    aside: Aside | None = None


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """The work on one message: `here` does it in this process, `job` describes it for the child process, and `read`
    turns that process's answer into the result.
    """

    here: Callable[[], T]
    job: Callable[[], WorkJob]
    read: ReadAnswer[T]


async def within(aside: Aside | None, work: Work[T], message: Message, size_bytes: int, channel_id: int) -> T:
    """Works on a message of `size_bytes`, inflated: at once, in a thread, or in the child process.

    Raises Invalid, TooCostly and WorkProcessEnded.
    """
    if aside is None or size_bytes <= inline_bytes(message):
        return work.here()
    if size_bytes <= THREAD_BYTES or not aside.has_process:
        return await aside.run(work.here, channel_id)
    job, message.inflated = work.job(), None
    return await aside.run_in_process(job, work.read, channel_id)


def inline_bytes(message: Message) -> int:
    """Up to this size a message is worked on at once."""
    return INLINE_BYTES if "protobuf" in message.headers.get("Content-Type", "") else INLINE_TEXT_BYTES


def inflated_bytes(message: Message) -> int:
    """The message's size once inflated; for one that was not inflated yet, more than any."""
    if message.inflated is not None:
        return len(message.inflated)
    return len(message.body) if _is_plain(message) else _UNKNOWN_BYTES


def _is_plain(message: Message) -> bool:
    return message.headers.get(headers.CONTENT_ENCODING, "identity") in {"", "identity"}


_UNKNOWN_BYTES: Final = 2**63


class NormaliseHandler:
    """The work of every worker but unpack: a pure function, and what its sender is to hear."""

    def __init__(self, normaliser: Normaliser, aside: Aside | None = None) -> None:
        self._normaliser = normaliser
        self._aside = aside
        self._payload = normaliser.columns.index("payload") if "payload" in normaliser.columns else -1

    async def __call__(self, message: Message, origin: Origin) -> Entry:
        """The reply goes before the insert, because the broker holds the data already; for `sync` senders after it."""
        worker = self._normaliser.worker
        size_bytes = inflated_bytes(message) if self._normaliser.inflates else len(message.body)
        work = Work(
            here=lambda: self._weighed(message, origin, self._normaliser.normalise(origin, message)),
            job=partial(WorkJob.of, NORMALISE, worker, origin, message),
            read=lambda plain, pieces: self._weighed(message, origin, verdict_of(plain, pieces)),
        )
        verdict, held_bytes = await within(self._aside, work, message, size_bytes, origin.channel_id)
        entry = Entry(message, origin if self._normaliser.has_outcomes else None, verdict.rows)
        entry.outcomes = counts.rejected_rows(origin, worker, verdict)
        entry.size_bytes = held_bytes
        if origin.counts_to and origin.wants_sync:
            entry.reply_after_insert = counts.of_verdict(worker, verdict)
        elif origin.counts_to:
            entry.reply = counts.of_verdict(worker, verdict)
        return entry

    def _weighed(self, message: Message, origin: Origin, verdict: Verdict) -> tuple[Verdict, int]:
        return verdict, _size_bytes(message, origin, verdict.rows, self._payload)


class Pipeline:
    """Takes messages of one worker; whatever they hold, each ends in the Batcher."""

    def __init__(
        self,
        worker: str,
        work: Handler,
        batcher: Batcher,
        outlets: Outlets,
        options: HandlerOptions | None = None,
    ) -> None:
        self._worker = worker
        self._work = work
        self._batcher = batcher
        self._replies = outlets.replies
        self._clock = outlets.clock
        self._row_counts = outlets.row_counts
        self._options = options or HandlerOptions()
        self._slice_began_s = self._clock.now_s()
        self._costly: dict[asyncio.Task[None], int] = {}

    async def accept(self, messages: Sequence[Message]) -> None:
        """Returns when all are in the Batcher's hands or are worked on aside; blocks while either is full.

        Raises nothing but cancellation.
        """
        self._batcher.hold(messages)
        try:
            await self._accept(messages)
        finally:
            # Whatever ended this early: what did not reach the Batcher's batches is given back, not held for ever.
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

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._options.concurrency, len(messages))):
                group.create_task(process_next())

    async def _process_alone(self, message: Message) -> None:
        """Processed with no other message in hand: if it kills this process, only its own deliveries are counted."""
        if self._costly:
            await asyncio.wait(self._costly)
        await self._batcher.settle()
        await self._process(message)
        await self._batcher.settle()

    async def _process_or_defer(self, message: Message) -> None:
        """A costly message is left to a task of its own, so that its neighbours' rows need not wait for it."""
        size_bytes = self._weighed(message)
        if size_bytes <= inline_bytes(message):
            await self._process(message)
            return
        while len(self._costly) >= MAX_ASIDE or sum(self._costly.values()) > MAX_ASIDE_BYTES:
            await asyncio.wait(self._costly, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._process(message), name=f"aside-{self._worker}")
        self._costly[task] = size_bytes
        self._batcher.pass_on(message, task)
        task.add_done_callback(self._costly.pop)

    def _weighed(self, message: Message) -> int:
        """Its size once inflated. A body that cannot be inflated weighs what it is: reading it will say why."""
        most_bytes = self._options.max_inflated_bytes
        if most_bytes and not _is_plain(message):
            try:
                message.inflated = inflate(message.body, message.headers[headers.CONTENT_ENCODING], most_bytes)
            except (CorruptBody, TooLarge, UnsupportedEncoding):
                return len(message.body)
        return inflated_bytes(message) if most_bytes else len(message.body)

    async def drain(self, timeout_s: float) -> None:
        """Waits for costly messages; what takes longer is cut off and stays the Batcher's, to be given back."""
        if self._costly:
            await asyncio.wait(self._costly, timeout=timeout_s)
        await end(*self._costly)

    async def _process(self, message: Message) -> None:
        """All that is done with one message before its batch is inserted; if it fails, the message comes again."""
        try:
            origin, entry = self._open(message)
            if entry is None:
                entry = await self._worked_on(message, origin)
            if entry.reply is not None:
                await self._replies.send(entry, entry.reply)
            if entry.origin is not None:
                self._row_counts.add(entry.origin, entry)
            entry.ledger = ledger_row(origin, self._worker, entry, makes_events=self._options.makes_events)
            aside = self._options.aside
            with aside.made(len(entry.rows)) if aside else nullcontext():
                await self._batcher.put(entry)
        except Exception as error:
            await self._batcher.give_back(message)
            log.exception("message_given_back", worker=self._worker, seq=message.seq, error=str(error))
        if self._clock.now_s() - self._slice_began_s > SLICE_S:
            await asyncio.sleep(0)
            self._slice_began_s = self._clock.now_s()

    def _open(self, message: Message) -> tuple[Origin, Entry | None]:
        """What the message's headers say; with an entry, it is dead before anything is done with it."""
        try:
            origin = self._options.read_origin(message)
        except headers.UnreadableHeaders as error:
            origin = lenient_origin(message)
            return origin, self._dead(message, origin, Dead("unreadable_headers", str(error)))
        if message.deliveries >= POISON_DELIVERIES:
            dead = Dead("poison", f"delivered {message.deliveries} times without an end")
            return origin, self._dead(message, origin, dead)
        return origin, None

    async def _worked_on(self, message: Message, origin: Origin) -> Entry:
        try:
            return await self._work(message, origin)
        except Invalid as error:
            return self._invalid(message, origin, str(error))
        except TooCostly as error:
            entry = self._dead(message, origin, Dead(TOO_COSTLY, str(error), by_sender=True))
            told = f"{TOO_COSTLY}: {error}"
        except (NatsError, WorkProcessEnded):
            raise
        except Exception as error:
            log.exception("normaliser_error", worker=self._worker, stream=message.stream, seq=message.seq)
            entry = self._dead(message, origin, Dead("normaliser_error", f"{type(error).__name__}: {error}"))
            told = "normaliser_error: a fault of this service; the item is kept among the dead letters"
        entry.reply = Counts(stage=self._worker, rejected=1, reasons=[told])
        return entry

    def _invalid(self, message: Message, origin: Origin, error: str) -> Entry:
        """Malformed as a whole: the sender hears why, and the bytes are kept."""
        row = outcome_row(origin, self._worker, Outcome(INVALID, INVALID, self._worker))
        # What a receiver stored is no sender's fault.
        by_sender = self._worker != subjects.OUTCOME
        entry = Entry(message, origin, outcomes=[row], dead=Dead(INVALID, error, by_sender))
        entry.reply = Counts(stage=self._worker, invalid=error)
        return entry

    def _dead(self, message: Message, origin: Origin, dead: Dead) -> Entry:
        if not self._options.has_outcomes:
            return Entry(message, dead=dead)
        row = outcome_row(origin, self._worker, Outcome(DEAD, dead.reason, self._worker))
        return Entry(message, origin, outcomes=[row], dead=dead)


def _size_bytes(message: Message, origin: Origin, rows: Rows, payload: int) -> int:
    """What the entry weighs in memory: of blocks a part of their bytes, of other rows what _rows_bytes says."""
    if not isinstance(rows, MixedRows):
        return _rows_bytes(message, origin, rows, payload)
    blocks = sum(piece.size_bytes() for piece in rows.pieces if isinstance(piece, RowBlock))
    loose = sum(2 * len(str(row[payload])) + ROW_BYTES for row in rows.loose())
    return blocks // BLOCK_SHARE + loose


def _rows_bytes(message: Message, origin: Origin, rows: list[Row], payload: int) -> int:
    """The same for rows that are objects: a body of 6 kB may inflate to 6 MB, so a compressed one is weighed by rows.

    The payload says as much as all other columns together. marshal walks everything in C and never is read back, but
    costs ten times as much: it is for rows without a payload (docs/decisions/0027-tricks.md).
    """
    if not origin.content_encoding or origin.content_encoding == "identity":
        return len(message.body)
    if payload >= 0:
        return sum(2 * len(str(row[payload])) + ROW_BYTES for row in rows)
    try:
        return len(marshal.dumps([tuple(row) for row in rows]))
    except ValueError:
        return len(message.body)
