"""Stores dead letters without delaying other messages: if DEAD is full they wait, or are stored in the table.

What senders got wrong and were told about is tried once; without room its bytes are let go, and counted.
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
AGAIN_S: Final = 30.0
AT_ONCE: Final = 64

# Acknowledges a message of which everything is stored.
Finish = Callable[[Entry], Awaitable[None]]


class DeadStorage:
    """The dead letters of one Batcher. Their messages stay in its `held` until `Finish` is called for them."""

    def __init__(
        self, worker: str, dead_letters: DeadLetterSink, inserter: Inserter, clock: Clock, held: OwnedMessages
    ) -> None:
        self._worker = worker
        self._dead_letters = dead_letters
        self._inserter = inserter
        self._clock = clock
        self._held = held
        self._waiting = WaitingDeadLetters()

    def holds(self, entry: Entry) -> bool:
        """Whether `entry` waits for room."""
        return entry in self._waiting

    async def keep_refused(self, entries: Sequence[Entry]) -> None:
        """Entries that died of what was sent: afterwards they are dead no more, only what is counted is left of them.

        Their outcomes stay as they are, whether the bytes are kept or not, so that a redelivery counts the same.
        """
        for start in range(0, len(entries), AT_ONCE):
            await asyncio.gather(*map(self._keep, entries[start : start + AT_ONCE]))

    async def _keep(self, entry: Entry) -> None:
        dead, entry.dead = entry.dead, None
        if dead is None or await self._is_stored(entry, dead.reason, self._dead_letters.store(entry.message, dead)):
            return
        metrics.REFUSED.labels(self._worker, "no").inc()
        if entry.origin is not None:
            outcome = Outcome(NOT_KEPT, dead.reason, self._worker)
            entry.outcomes.append(outcome_row(entry.origin, self._worker, outcome))

    async def store(self, entries: Sequence[Entry], finish: Finish) -> None:
        """Stores dead letters and finishes their messages; those without room wait, or go to the table."""
        left: list[Entry] = []
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start : start + AT_ONCE]
            stored = await asyncio.gather(*(self._store(entry, finish) for entry in some))
            left += [entry for entry, is_stored in zip(some, stored, strict=True) if not is_stored]
            if not any(stored):  # nothing is taken now: do not wait for each of the others
                left += entries[start + AT_ONCE :]
                break
        if not left:
            return
        too_many = [entry for entry in left if not self._waiting.take(entry)]
        for entry in left:
            if entry in self._waiting:
                self._held.pass_on(entry.message, self._waiting)
        metrics.DEAD_WAITING.labels(self._worker).set(len(self._waiting))
        await self._store_in_table(too_many, finish)

    async def run(self, finish: Finish) -> None:
        """Tries what waits for room until cancelled; the first that is not taken ends an attempt."""
        while True:
            await self._clock.sleep(AGAIN_S)
            for entry in self._waiting.entries():
                if not await self._store(entry, finish):
                    break
            metrics.DEAD_WAITING.labels(self._worker).set(len(self._waiting))

    async def _store(self, entry: Entry, finish: Finish) -> bool:
        dead = entry.dead
        if dead is not None and not await self._is_stored(
            entry, dead.reason, self._dead_letters.store(entry.message, dead)
        ):
            return False
        self._waiting.remove(entry)
        await finish(entry)
        return True

    async def _is_stored(self, entry: Entry, reason: str, storing: Awaitable[None]) -> bool:
        """Whether the broker stored it. Raises nothing: a message that was not stored waits, or goes to the table."""
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
