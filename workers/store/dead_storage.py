"""Stores dead letters without delaying other messages: if DEAD is full they wait, or are stored in the table.

Invalid bodies, whose senders got an error, are tried once; without room they are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from schemas.outcomes import NOT_KEPT, Outcome, outcome_row
from schemas.rows import DEAD_LETTERS_TABLE
from workers import metrics
from workers.clock import Clock
from workers.consume.message import Entry
from workers.consume.owned_messages import OwnedMessages
from workers.normalise.dead_letter import COLUMNS
from workers.store.dead_letters import DeadLetterNotStored, DeadLetterSink, dead_row
from workers.store.insert import Inserter
from workers.store.waiting_dead_letters import WaitingDeadLetters

log = structlog.get_logger()

# How often dead letters that found no room are tried again.
RETRY_S: Final = 30.0
CONCURRENT_STORES: Final = 64

# Acknowledges a message of which everything is stored.
Finish = Callable[[Entry], Awaitable[None]]


class DeadStorage:
    """The dead letters of one Batcher. Their messages stay in `owned` until `Finish` is called for them."""

    def __init__(
        self, worker: str, dead_letters: DeadLetterSink, inserter: Inserter, clock: Clock, owned: OwnedMessages
    ) -> None:
        self._worker = worker
        self._dead_letters = dead_letters
        self._inserter = inserter
        self._clock = clock
        self._owned = owned
        self._waiting = WaitingDeadLetters()

    def holds(self, entry: Entry) -> bool:
        """Whether `entry` waits for room."""
        return entry in self._waiting

    async def keep_invalid(self, entries: Sequence[Entry]) -> None:
        """Stores invalid bodies, if there is room. Afterwards the entries are no dead letters; their outcomes remain.

        The outcomes are the same whether the bytes are kept or not, so that a redelivery counts the same.
        """
        for start in range(0, len(entries), CONCURRENT_STORES):
            await asyncio.gather(*map(self._keep, entries[start : start + CONCURRENT_STORES]))

    async def _keep(self, entry: Entry) -> None:
        dead, entry.dead = entry.dead, None
        if dead is None or await self._try_store(entry, dead.reason, self._dead_letters.store(entry.message, dead)):
            return
        metrics.INVALID_BODIES.labels(self._worker, "no").inc()
        if entry.origin is not None:
            outcome = Outcome(NOT_KEPT, dead.reason, self._worker)
            entry.outcomes.append(outcome_row(entry.origin, self._worker, outcome))

    async def store(self, entries: Sequence[Entry], finish: Finish) -> None:
        """Stores dead letters and finishes their messages; those without room wait, or go to the table."""
        left: list[Entry] = []
        for start in range(0, len(entries), CONCURRENT_STORES):
            group = entries[start : start + CONCURRENT_STORES]
            stored = await asyncio.gather(*(self._store(entry, finish) for entry in group))
            left += [entry for entry, is_stored in zip(group, stored, strict=True) if not is_stored]
            if not any(stored):  # none was stored: do not wait for each of the others
                left += entries[start + CONCURRENT_STORES :]
                break
        if not left:
            return
        too_many = [entry for entry in left if not self._waiting.take(entry)]
        for entry in left:
            if entry in self._waiting:
                self._owned.pass_on(entry.message, self._waiting)
        metrics.DEAD_WAITING.labels(self._worker).set(len(self._waiting))
        await self._store_in_table(too_many, finish)

    async def run(self, finish: Finish) -> None:
        """Retries the waiting dead letters until cancelled; an attempt ends with the first one that is not stored."""
        while True:
            await self._clock.sleep(RETRY_S)
            for entry in self._waiting.entries():
                if not await self._store(entry, finish):
                    break
            metrics.DEAD_WAITING.labels(self._worker).set(len(self._waiting))

    async def _store(self, entry: Entry, finish: Finish) -> bool:
        dead = entry.dead
        if dead is not None and not await self._try_store(
            entry, dead.reason, self._dead_letters.store(entry.message, dead)
        ):
            return False
        self._waiting.remove(entry)
        await finish(entry)
        return True

    async def _try_store(self, entry: Entry, reason: str, storing: Awaitable[None]) -> bool:
        """Stores it in the broker; returns whether the broker has it.

        Raises nothing: a message that was not stored waits, or goes to the table.
        """
        try:
            await storing
        except DeadLetterNotStored as error:
            if entry.dead is not None:
                log.warning("dead_letter_not_stored", worker=self._worker, reason=reason, error=str(error))
            return False
        except Exception:
            log.exception("dead_letter_not_stored", worker=self._worker, reason=reason)
            return False
        return True

    async def _store_in_table(self, entries: Sequence[Entry], finish: Finish) -> None:
        """Straight into dead_letter_rows: SQL shows them there; `dead retry` does not find them, a replay does."""
        rows = [dead_row(entry.message, self._worker, entry.dead) for entry in entries if entry.dead]
        refused = await self._inserter.insert(DEAD_LETTERS_TABLE, COLUMNS, rows)
        if refused:
            raise ValueError(f"the table of dead letters refused {len(refused)} rows: {refused[0].error}")
        for entry in entries:
            metrics.DEAD_IN_TABLE.labels(self._worker).inc()
            await finish(entry)
