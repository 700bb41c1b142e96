"""How many queries of readers run at once. Ten of them would take the processor from inserts.

Queries are short as a rule: those that wait get their turn soon, and all end as early as if they shared the processor.
A few long ones must not keep the others out, so nobody waits for longer than `wait_s`.
"""

from __future__ import annotations

import asyncio
from typing import Final

WAIT_S: Final = 1.0


def places_of(cores: int) -> int:
    """As many queries as leave a part of the machine to inserts: each may use all cores."""
    return max(2, cores // 2)


class ReaderTurns:
    """Places for queries of readers, given out in the order of asking."""

    def __init__(self, places: int, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(places)
        self._wait_s = wait_s

    async def take(self) -> bool:
        """Waits for a place. False: there was none in time; the query runs without one."""
        try:
            return await asyncio.wait_for(self._free.acquire(), self._wait_s)
        except TimeoutError:
            return False

    def give_back(self, *, had_place: bool) -> None:
        """After the query has ended in the engine, also if its client left before."""
        if had_place:
            self._free.release()
