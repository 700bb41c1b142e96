"""Inserts of several workers of one process as one: the engine's fixed cost is paid once for all item types.

An insert of few rows costs the engine as much as one of a thousand (docs/decisions/0056-one-insert-for-all-types.md).
Nothing else changes: every batch is still stored, retried, searched for a bad row and acknowledged by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ops.runtime.tasks import end
from schemas.rows import Row
from workers.clock import Clock
from workers.store.clickhouse_errors import BadData
from workers.store.writers import InsertPart, PartsWriter

# Batches that are due at the same moment come within this time.
GATHER_S: Final = 0.003
# What one insert may have at most, unless a single batch has more: memory, here and in the engine.
MAX_PARTS: Final = 8
MAX_ROWS: Final = 100_000
# For so long after a failure every insert goes by itself: batches that wait out an outage or search for a bad row must
# not hold the others, and an insert may have failed because it was too large.
APART_S: Final = 10.0


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch that waits for an insert."""

    part: InsertPart
    stored: asyncio.Future[None]


@dataclass(slots=True)
class _Table:
    """What waits for the inserts of one table, and how many of them run."""

    waiting: list[_Waiting] = field(default_factory=list)
    running: int = 0
    apart_until_s: float = 0.0


class CombiningWriter:
    """A Writer for all batchers of a process. At most `in_flight` combined inserts of a table run at once."""

    def __init__(self, writer: PartsWriter, clock: Clock, in_flight: int = 2) -> None:
        self._writer = writer
        self._clock = clock
        self._in_flight = in_flight
        self._tables: dict[str, _Table] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """As any Writer: returns when these rows are stored, raises what concerns them."""
        state = self._tables.setdefault(table, _Table())
        if self._clock.now_s() < state.apart_until_s:
            await self._alone(table, state, InsertPart(columns, rows))
            return
        waiting = _Waiting(InsertPart(columns, rows), asyncio.get_running_loop().create_future())
        state.waiting.append(waiting)
        if state.running < self._in_flight:
            self._start(table, state)
        try:
            await waiting.stored
        finally:
            if waiting in state.waiting:
                state.waiting.remove(waiting)  # its caller was cancelled

    async def check(self, system_id: str = "") -> None:
        """Of the writer below."""
        await self._writer.check(system_id)

    async def close(self) -> None:
        """Ends what still runs; its rows are of messages that were given back."""
        await end(*self._tasks)
        await self._writer.close()

    def _start(self, table: str, state: _Table) -> None:
        state.running += 1
        task = asyncio.create_task(self._run(table, state), name=f"insert-{table}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, table: str, state: _Table) -> None:
        """Inserts as long as something waits."""
        group: list[_Waiting] = []
        try:
            while state.waiting:
                await self._clock.sleep(GATHER_S)
                group = _taken(state.waiting)
                await self._insert(table, state, group)
        finally:
            state.running -= 1
            # Of what has ended this changes nothing; the rest is left only at the end of the process.
            for waiting in group if state.running else (*group, *state.waiting):
                waiting.stored.cancel()

    async def _insert(self, table: str, state: _Table, group: list[_Waiting]) -> None:
        """Never raises but when it is cancelled."""
        if not group:
            return
        try:
            await self._writer.insert_parts(table, [waiting.part for waiting in group])
        except Exception as error:
            state.apart_until_s = self._clock.now_s() + APART_S
            if isinstance(error, BadData) and len(group) > 1:
                # Whose rows are bad is not known: each batch is told only about its own.
                await asyncio.gather(*(self._insert(table, state, [waiting]) for waiting in group))
                return
            for waiting in group:
                if not waiting.stored.done():
                    waiting.stored.set_exception(error)
            return
        for waiting in group:
            if not waiting.stored.done():
                waiting.stored.set_result(None)

    async def _alone(self, table: str, state: _Table, part: InsertPart) -> None:
        try:
            await self._writer.insert_parts(table, (part,))
        except Exception:
            state.apart_until_s = self._clock.now_s() + APART_S
            raise


def _taken(waiting: list[_Waiting]) -> list[_Waiting]:
    """Takes what one insert may have from the beginning of `waiting`."""
    taken: list[_Waiting] = []
    rows = 0
    while waiting and len(taken) < MAX_PARTS:
        rows += len(waiting[0].part.rows)
        if taken and rows > MAX_ROWS:
            break
        taken.append(waiting.pop(0))
    return taken
