"""accept(): what happens to a message, in order. Rows are made in normalise/ and kept by the Batcher.

hold -> read headers -> work (normalise, or unpack) -> reply counts -> put
"""

from __future__ import annotations

import asyncio
import marshal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog
from nats.errors import Error as NatsError

from ops.runtime.tasks import end
from schemas import headers, subjects
from schemas.counts import Counts
from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate
from schemas.headers import Origin
from schemas.rows import EVENTS_TABLE, Row
from workers import metrics
from workers.consume import counts
from workers.consume.aside import Aside, TooCostly
from workers.consume.counts import Outcome, Replies
from workers.consume.message import Dead, Entry, Letter
from workers.consume.taken import taken_row
from workers.normalise.dead_letter import lenient_origin
from workers.normalise.registry import Mill
from workers.normalise.verdict import Invalid
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
# A message of more bytes, inflated, is worked on aside: a hostile one of so many takes the loop for some 50 ms. The 512
# spans in protobuf that SDKs export at once are 173 kB; a thread would add a twentieth to what they cost.
INLINE_BYTES: Final = 192 * 1024
# So many messages of one worker, and so many bytes of them, wait to be worked on aside; then it takes no more.
MAX_ASIDE: Final = 64
MAX_ASIDE_BYTES: Final = 64_000_000
TOO_COSTLY: Final = "too_costly"

# What a worker does with one letter. Raises Invalid; anything else it raises is a fault of ours, and the letter dies.
Work = Callable[[Letter, Origin], Awaitable[Entry]]


def origin_of(letter: Letter) -> Origin:
    """How most workers read their letters' headers. Raises headers.UnreadableHeaders."""
    return headers.read(letter.headers, letter.seq)


@dataclass(frozen=True, slots=True)
class Manner:
    """Where workers differ: how headers are read, how many letters are in work at once, whether deaths are outcomes.

    `max_inflated_bytes` is what a body may be once inflated; 0 if the worker does not inflate bodies.
    """

    read_origin: Callable[[Letter], Origin] = origin_of
    lanes: int = 1
    has_outcomes: bool = True
    max_inflated_bytes: int = 0


async def within(aside: Aside | None, function: Callable[[], T], size_bytes: int, channel_id: int) -> T:
    """The work on `size_bytes` of a message: at once where it is small, else aside. Raises TooCostly."""
    if aside is None or size_bytes <= INLINE_BYTES:
        return function()
    return await aside.run(function, channel_id)


def inflated_bytes(letter: Letter) -> int:
    """The letter's size once inflated; for one that was not inflated yet, more than any."""
    if letter.inflated is not None:
        return len(letter.inflated)
    return len(letter.body) if _is_plain(letter) else _UNKNOWN_BYTES


def _is_plain(letter: Letter) -> bool:
    return letter.headers.get("Content-Encoding", "identity") in {"", "identity"}


_UNKNOWN_BYTES: Final = 2**63


class Normaliser:
    """The work of every worker but unpack: a pure function, then counts."""

    def __init__(self, mill: Mill, replies: Replies, aside: Aside | None = None) -> None:
        self._mill = mill
        self._aside = aside
        self._payload = mill.columns.index("payload") if "payload" in mill.columns else -1
        self._replies = replies

    async def __call__(self, letter: Letter, origin: Origin) -> Entry:
        """Replies before the insert, because the broker holds the data already; `sync` senders hear after it."""
        worker = self._mill.worker
        size_bytes = inflated_bytes(letter) if self._mill.inflates else len(letter.body)
        normalise = partial(self._mill.normalise, origin, letter)
        verdict = await within(self._aside, normalise, size_bytes, origin.channel_id)
        entry = Entry(letter, origin if self._mill.has_outcomes else None, verdict.rows)
        entry.outcomes = counts.rejected_rows(origin, worker, verdict)
        entry.size_bytes = _size_bytes(letter, origin, verdict.rows, self._payload)
        entry.taken = taken_row(origin, worker, entry, makes_events=self._mill.table == EVENTS_TABLE)
        if not origin.counts_to:
            return entry
        reply = counts.of_verdict(worker, verdict)
        if origin.wants_sync:
            entry.stored = reply
        else:
            await self._replies.send(entry, reply)
        return entry


class Pipeline:
    """Takes letters of one worker; whatever they hold, each ends in the Batcher."""

    def __init__(
        self,
        worker: str,
        work: Work,
        batcher: Batcher,
        outlets: Outlets,
        manner: Manner | None = None,
    ) -> None:
        self._worker = worker
        self._work = work
        self._batcher = batcher
        self._replies = outlets.replies
        self._clock = outlets.clock
        self._row_counts = outlets.row_counts
        self._manner = manner or Manner()
        self._slice_began_s = self._clock.now_s()
        self._aside: dict[asyncio.Task[None], int] = {}

    async def accept(self, letters: Sequence[Letter]) -> None:
        """Returns when all are in the Batcher's hands or are worked on aside; blocks while either is full.

        Raises nothing but cancellation.
        """
        self._batcher.hold(letters)
        try:
            await self._accept(letters)
        finally:
            # Whatever ended this early: what did not reach the Batcher's batches is given back, not held for ever.
            self._batcher.abandon(letters)

    async def _accept(self, letters: Sequence[Letter]) -> None:
        metrics.MESSAGES.labels(self._worker).inc(len(letters))
        self._slice_began_s = self._clock.now_s()
        await self._take([letter for letter in letters if letter.deliveries < SUSPECT_DELIVERIES])
        for letter in letters:
            if letter.deliveries >= SUSPECT_DELIVERIES:
                await self._take_alone(letter)
        metrics.REDELIVERED.labels(self._worker).inc(sum(letter.deliveries > 1 for letter in letters))

    async def _take(self, letters: Sequence[Letter]) -> None:
        if self._manner.lanes == 1:
            for letter in letters:
                await self._one_or_aside(letter)
            return
        queue = iter(letters)

        async def lane() -> None:
            for letter in queue:
                await self._one_or_aside(letter)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._manner.lanes, len(letters))):
                group.create_task(lane())

    async def _one_or_aside(self, letter: Letter) -> None:
        """A costly letter is left to a task of its own, so that its neighbours' rows need not wait for it."""
        size_bytes = self._weighed(letter)
        if size_bytes <= INLINE_BYTES:
            await self._one(letter)
            return
        while len(self._aside) >= MAX_ASIDE or sum(self._aside.values()) > MAX_ASIDE_BYTES:
            await asyncio.wait(self._aside, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._one(letter), name=f"aside-{self._worker}")
        self._aside[task] = size_bytes
        self._batcher.pass_on(letter, task)
        task.add_done_callback(self._aside.pop)

    def _weighed(self, letter: Letter) -> int:
        """Its size once inflated. A body that cannot be inflated weighs what it is: reading it will say why."""
        most_bytes = self._manner.max_inflated_bytes
        if most_bytes and not _is_plain(letter):
            try:
                letter.inflated = inflate(letter.body, letter.headers["Content-Encoding"], most_bytes)
            except (CorruptBody, TooLarge, UnsupportedEncoding):
                return len(letter.body)
        return inflated_bytes(letter) if most_bytes else len(letter.body)

    async def drain(self, timeout_s: float) -> None:
        """Waits for what is worked on aside; what takes longer is cut off and stays the Batcher's, to be given back."""
        if self._aside:
            await asyncio.wait(self._aside, timeout=timeout_s)
        await end(*self._aside)

    async def _take_alone(self, letter: Letter) -> None:
        """If it kills this process, it takes no other message with it; they would be suspects next."""
        if self._aside:
            await asyncio.wait(self._aside)
        await self._batcher.settle()
        await self._one(letter)
        await self._batcher.settle()

    async def _one(self, letter: Letter) -> None:
        try:
            entry = await self._entry(letter)
            if entry.origin is not None:
                self._row_counts.add(entry.origin, entry)
            if entry.origin is not None and not entry.rows:
                entry.taken = entry.taken or taken_row(entry.origin, self._worker, entry)
            await self._batcher.put(entry)
        except Exception as error:
            await self._batcher.give_back(letter)
            log.exception("message_given_back", worker=self._worker, seq=letter.seq, error=str(error))
        if self._clock.now_s() - self._slice_began_s > SLICE_S:
            await asyncio.sleep(0)
            self._slice_began_s = self._clock.now_s()

    async def _entry(self, letter: Letter) -> Entry:
        try:
            origin = self._manner.read_origin(letter)
        except headers.UnreadableHeaders as error:
            return self._dead(letter, lenient_origin(letter), "unreadable_headers", str(error))
        if letter.deliveries >= POISON_DELIVERIES:
            return self._dead(letter, origin, "poison", f"delivered {letter.deliveries} times without an end")
        try:
            return await self._work(letter, origin)
        except Invalid as error:
            return await self._invalid(letter, origin, str(error))
        except TooCostly as error:
            dead = Dead(TOO_COSTLY, str(error), by_sender=True)
            return await self._given_up(letter, origin, dead, f"{TOO_COSTLY}: {error}")
        except NatsError:
            raise
        except Exception as error:
            log.exception("normaliser_error", worker=self._worker, stream=letter.stream, seq=letter.seq)
            told = "normaliser_error: a fault of this service; the item is kept among the dead letters"
            return await self._given_up(
                letter, origin, Dead("normaliser_error", f"{type(error).__name__}: {error}"), told
            )

    async def _given_up(self, letter: Letter, origin: Origin, dead: Dead, told: str) -> Entry:
        """A dead letter whose sender hears that one item was refused."""
        entry = self._dead(letter, origin, dead.reason, dead.error, by_sender=dead.by_sender)
        await self._replies.send(entry, Counts(stage=self._worker, rejected=1, reasons=[told]))
        return entry

    async def _invalid(self, letter: Letter, origin: Origin, error: str) -> Entry:
        """Malformed as a whole: the sender hears why, and the bytes are kept."""
        row = counts.outcome_row(origin, self._worker, Outcome(counts.INVALID, counts.INVALID, self._worker))
        # What a receiver stored is no sender's fault.
        by_sender = self._worker != subjects.OUTCOME
        entry = Entry(letter, origin, outcomes=[row], dead=Dead(counts.INVALID, error, by_sender))
        await self._replies.send(entry, Counts(stage=self._worker, invalid=error))
        return entry

    def _dead(self, letter: Letter, origin: Origin, reason: str, error: str, *, by_sender: bool = False) -> Entry:
        dead = Dead(reason, error, by_sender)
        if not self._manner.has_outcomes:
            return Entry(letter, dead=dead)
        row = counts.outcome_row(origin, self._worker, Outcome(counts.DEAD, reason, self._worker))
        return Entry(letter, origin, outcomes=[row], dead=dead)


def _size_bytes(letter: Letter, origin: Origin, rows: list[Row], payload: int) -> int:
    """What the entry weighs in memory: a body of 6 kB may inflate to 6 MB, so a compressed one is measured by its rows.

    The payload says as much as all other columns together. marshal walks everything in C and never is read back, but at
    2.2 us a span it took a tenth of all that a span costs a worker: it is for rows without a payload.
    """
    if not origin.content_encoding or origin.content_encoding == "identity":
        return len(letter.body)
    if payload >= 0:
        return sum(2 * len(str(row[payload])) + ROW_BYTES for row in rows)
    try:
        return len(marshal.dumps(rows))
    except ValueError:
        return len(letter.body)
