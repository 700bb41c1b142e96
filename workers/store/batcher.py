"""The Batcher: owns messages until they are acknowledged, and inserts their rows in batches.

The ack rule, written here and nowhere else: a message is acknowledged after all its rows and outcomes are inserted and,
if it is a dead letter, after that is stored (dead_storage.py). Until then the broker is told that the message is in
progress, as long as a task works on it (owned_messages.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from ops.runtime import tasks
from schemas.blocks.rows import rows_in_blocks
from schemas.rows import LEDGER_TABLE, OUTCOMES_TABLE
from workers import metrics
from workers.clock import Clock
from workers.consume.counts import Replies
from workers.consume.message import Entry, Message
from workers.consume.owned_messages import NOBODY, MessageOwner, OwnedMessages
from workers.consume.row_counts import RowCounts
from workers.store.clickhouse_errors import OurFault
from workers.store.dead_letters import DeadLetterSink
from workers.store.dead_storage import DeadStorage
from workers.store.entry_inserter import EntryInserter
from workers.store.flush_age import FlushAge
from workers.store.insert import Inserter
from workers.store.shared_flushes import SharedFlushes

log = structlog.get_logger()

GIVEN_BACK_DELAY_S: Final = 5.0
SHUTDOWN_DELAY_S: Final = 1.0
# How much longer than rows counts may wait.
COUNTS_AGE: Final = 2
# The table of a worker that makes no rows.
_COUNTS_ONLY: Final = ""
_SLICE: Final = 256


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full, how many inserts run at once, and how long the broker waits without a heartbeat.

    `rows` may be twice as many where they are in blocks: these take less memory, and the engine takes more rows at once
    for less (docs/decisions/0036-column-blocks.md). A batch is inserted at `age_s`, or up to `most_age_s` while inserts
    take much of the time (flush_age.py).
    """

    rows: int = 50_000
    size_bytes: int = 16_000_000
    age_s: float = 0.2
    most_age_s: float = 1.0
    in_flight: int = 2
    ack_wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Outlets:
    """The destinations of rows, dead letters and counts; the clock; and what the batchers of a process share."""

    inserter: Inserter
    dead_letters: DeadLetterSink
    replies: Replies
    clock: Clock
    flush_age: FlushAge = field(default_factory=FlushAge)
    row_counts: RowCounts = field(default_factory=RowCounts)
    shared_flushes: SharedFlushes = field(default_factory=SharedFlushes)


@dataclass(slots=True)
class Batch:
    """Entries that will be inserted together. `first_s` is the time of the oldest."""

    entries: list[Entry] = field(default_factory=list)
    rows: int = 0
    rows_in_blocks: int = 0
    size_bytes: int = 0
    first_s: float = 0.0
    task: asyncio.Task[None] | None = None

    def done(self) -> bool:
        """Whether its insert has ended (owned_messages.MessageOwner)."""
        return self.task is not None and self.task.done()

    def add(self, entry: Entry, now_s: float) -> None:
        if not self.entries:
            self.first_s = now_s
        self.entries.append(entry)
        self.rows += len(entry.rows) + len(entry.outcomes)
        self.rows_in_blocks += rows_in_blocks(entry.rows)
        self.size_bytes += entry.size_bytes

    def is_full(self, limits: BatchLimits) -> bool:
        return self.rows - self.rows_in_blocks // 2 >= limits.rows or self.size_bytes >= limits.size_bytes


class Batcher:
    """Collects entries of one worker, inserts them, settles their messages.

    Contract: `hold` takes ownership and never blocks; every owned message is later given to `put` or `give_back`. `put`
    blocks while the current batch is full and all inserts are running: that is the back-pressure. `run` must be running
    meanwhile. `drain` ends it: afterwards it owns no messages.
    """

    def __init__(self, worker: str, table: str, columns: Sequence[str], outlets: Outlets, limits: BatchLimits) -> None:
        self._worker = worker
        self._table = table
        self._entry_inserter = EntryInserter(worker, table, columns, outlets.inserter)
        self._replies = outlets.replies
        self._clock = outlets.clock
        self._flush_age = outlets.flush_age
        self._shared_flushes = outlets.shared_flushes
        self._shared_flushes.add(table, self._flush_too)
        self._limits = limits
        self._open = Batch()
        self._entry_added = asyncio.Event()
        self._inserts: set[asyncio.Task[None]] = set()
        self._owned = OwnedMessages()
        self._dead = DeadStorage(worker, outlets.dead_letters, outlets.inserter, outlets.clock, self._owned)
        self._heartbeat_s = limits.ack_wait_s / 3

    @property
    def held(self) -> int:
        """Number of messages that it owns."""
        return len(self._owned)

    @property
    def tables(self) -> frozenset[str]:
        """The tables that it inserts into."""
        return frozenset({self._table, OUTCOMES_TABLE, LEDGER_TABLE}) - {_COUNTS_ONLY}

    def use_ack_wait(self, ack_wait_s: float) -> None:
        """The durable's own ack_wait, once it is known: heartbeats follow the broker, not our settings."""
        self._heartbeat_s = ack_wait_s / 3

    def hold(self, messages: Iterable[Message]) -> None:
        """Takes ownership: from now on the broker gets heartbeats for these messages."""
        now_s = self._clock.now_s()
        owner = asyncio.current_task() or NOBODY
        for message in messages:
            message.touched_s = now_s
            self._owned.take(message, owner)

    def pass_on(self, message: Message, owner: MessageOwner) -> None:
        """Makes another task the owner of a message. If it ends without `put`, the message is given back."""
        self._owned.pass_on(message, owner)

    def abandon(self, messages: Iterable[Message]) -> None:
        """The calling task has ended its work. Messages that it did not `put` are given back to the broker soon."""
        if (owner := asyncio.current_task()) is not None:
            self._owned.abandon(messages, owner)

    async def put(self, entry: Entry) -> None:
        """Adds an owned message's entry to the batch; an entry with nothing to insert is settled at once."""
        if not entry.rows and not entry.outcomes and entry.ledger is None:
            await self._settle_one(entry)
            return
        self._owned.pass_on(entry.message, self._open)
        self._open.add(entry, self._clock.now_s())
        self._entry_added.set()
        while self._open.is_full(self._limits):
            await self._flush("size", only_if_full=True)

    async def give_back(self, message: Message, delay_s: float = GIVEN_BACK_DELAY_S) -> None:
        """Asks the broker to deliver the message again after `delay_s`."""
        self._owned.let_go(message)
        try:
            await message.receipt.nak(delay=delay_s)
        except Exception as error:
            self._lost(error)

    async def settle(self) -> None:
        """Returns when everything put so far is inserted and settled."""
        await self._flush("settle")
        while self._inserts:
            await asyncio.wait(self._inserts)

    async def run(self) -> None:
        """Flushes by age and sends heartbeats until cancelled."""
        await tasks.run_together(self._flush_by_age(), self._beat_for_ever(), self._dead.run(self._finish))

    async def drain(self, timeout_s: float) -> int:
        """Inserts what it can within `timeout_s` and gives back the other messages; returns their number."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.settle()
        except TimeoutError:
            await tasks.end(*self._inserts)
        left = list(self._owned)
        for message in left:
            await self.give_back(message, SHUTDOWN_DELAY_S)
        return len(left)

    async def beat(self) -> None:
        """Sends a heartbeat for every message without one for a third of ack_wait, and gives back orphans."""
        for message in self._owned.orphans():
            metrics.ORPHANS.labels(self._worker).inc()
            await self.give_back(message)
        due = self._owned.due(self._clock.now_s() - self._heartbeat_s)
        for number, message in enumerate(due, 1):
            message.touched_s = self._clock.now_s()
            try:
                await message.receipt.in_progress()
            except Exception as error:
                self._lost(error)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        metrics.HEARTBEATS.labels(self._worker).inc(len(due))

    # --- when to flush

    async def _flush_by_age(self) -> None:
        while True:
            await self._entry_added.wait()
            if not self._open.entries:
                self._entry_added.clear()
                continue
            now_s = self._clock.now_s()
            left_s = self._open.first_s + self._age_s(now_s) - now_s
            if left_s > 0:
                await self._clock.sleep(left_s)
            else:
                await self._flush("age")

    def _age_s(self, now_s: float) -> float:
        """A worker without a table of its own has counts only: they wait for those of the rows that came with them."""
        age_s = self._flush_age.age_s(self._limits.age_s, self._limits.most_age_s, now_s)
        return COUNTS_AGE * age_s if self._table == _COUNTS_ONLY else age_s

    async def _beat_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat_s / 4)
            await self.beat()

    async def _flush(self, by: str, *, only_if_full: bool = False) -> None:
        """Waits for a free slot first, so that a batch grows while it waits instead of queueing behind another."""
        while len(self._inserts) >= self._limits.in_flight:
            await asyncio.wait(self._inserts, return_when=asyncio.FIRST_COMPLETED)
        if not self._open.entries or (only_if_full and not self._open.is_full(self._limits)):
            return
        self._start_insert(by)
        self._shared_flushes.flushed(self._table)

    def _flush_too(self) -> None:
        """Another worker's batch of the same table is flushed: this one too, if it need not wait."""
        if self._open.entries and len(self._inserts) < self._limits.in_flight:
            self._start_insert("joined")

    def _start_insert(self, by: str) -> None:
        # The batch must always be the open one or have a task, so nothing between these lines may fail.
        batch = self._open
        batch.task = asyncio.create_task(self._store(batch))
        self._open = Batch()
        self._inserts.add(batch.task)
        batch.task.add_done_callback(self._inserts.discard)
        metrics.FLUSHES.labels(self._worker, by).inc()
        metrics.FLUSH_ROWS.labels(self._worker).observe(batch.rows)

    # --- what a flush does

    async def _store(self, batch: Batch) -> None:
        entries = batch.entries
        began_s = self._clock.now_s()
        try:
            entries = await self._insert_rows_or_give_back(entries)
            if refused := [entry for entry in entries if entry.dead and entry.dead.by_sender]:
                await self._dead.keep_invalid(refused)
            await self._entry_inserter.insert_outcomes(entries)
            await self._insert_ledger(entries)
            self._flush_age.took(self._table, self._clock.now_s() - began_s, self._clock.now_s())
            await self._settle_all(entries)
        except Exception as error:
            for entry in entries:
                if entry.message in self._owned and not self._dead.holds(entry):
                    await self.give_back(entry.message)
            metrics.FAILED_FLUSHES.labels(self._worker).inc()
            log.exception("flush_failed", worker=self._worker, messages=len(entries), error=str(error))

    async def _insert_rows_or_give_back(self, entries: list[Entry]) -> list[Entry]:
        """Returns the entries whose rows are stored. If inserts fail by our fault, another worker may be able to.

        So messages are given back once, at their first delivery: this cannot make them poison. The first one stays, and
        its retries find out when inserts work again.
        """
        fresh = [entry for entry in entries[1:] if entry.message.deliveries == 1 and not entry.dead]
        try:
            await self._insert_rows(entries, retries_our_fault=not fresh)
        except OurFault:
            for entry in fresh:
                await self.give_back(entry.message)
            entries = [entry for entry in entries if entry.message in self._owned]
            log.warning("given_back_to_other_workers", worker=self._worker, messages=len(fresh), kept=len(entries))
            await self._insert_rows(entries)
        return entries

    async def _insert_rows(self, entries: list[Entry], *, retries_our_fault: bool = True) -> None:
        """A method of its own because tracing.py puts a span around it."""
        await self._entry_inserter.insert_rows(entries, retries_our_fault=retries_our_fault)

    async def _insert_ledger(self, entries: list[Entry]) -> None:
        rows = [entry.ledger for entry in entries if entry.ledger is not None]
        if rows and self._table != _COUNTS_ONLY:
            self._shared_flushes.flushed(_COUNTS_ONLY)
        await self._entry_inserter.insert_ledger(rows)

    # --- how messages end

    async def _settle_all(self, entries: list[Entry]) -> None:
        if dead := [entry for entry in entries if entry.dead]:
            await self._dead.store(dead, self._finish)
        for number, entry in enumerate(entries, 1):
            if not entry.dead:
                await self._finish(entry)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    async def _settle_one(self, entry: Entry) -> None:
        """Settles a message with nothing to insert."""
        if entry.dead is not None and entry.dead.by_sender:
            await self._dead.keep_invalid([entry])
        await (self._dead.store([entry], self._finish) if entry.dead else self._finish(entry))

    async def _finish(self, entry: Entry) -> None:
        """Acknowledges a message whose rows are stored. Raises nothing."""
        try:
            if entry.reply_after_insert is not None:
                await self._replies.send(entry, entry.reply_after_insert.model_copy(update={"stored": True}))
        except Exception as error:
            log.warning("reply_failed", worker=self._worker, error=str(error) or type(error).__name__)
        self._owned.let_go(entry.message)
        try:
            await entry.message.receipt.ack()
        except Exception as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        """The broker is away. It will redeliver the message, which makes the same rows."""
        metrics.ACKS_LOST.labels(self._worker).inc()
        log.debug("ack_lost", worker=self._worker, error=str(error) or type(error).__name__)
