"""How many queries of readers run at once. Ten of them would take the processor from inserts.

Queries are short as a rule: those that wait get their turn soon, and all end as early as if they shared the processor.
A few long ones must not keep the others out: who has waited for `wait_s` may take one of as many places again. More
never run at once, so inserts keep their part of the machine however many ask.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

WAIT_S: Final = 1.0
# Then a reader is refused: clients give up after about as long, and would ask again beside their first query.
GIVEN_UP_AFTER_S: Final = 30.0
# A timer of the event loop may fire this much early.
_EARLY_S: Final = 0.01


@dataclass(frozen=True, eq=False, slots=True)
class _Turn:
    begins: asyncio.Future[None]
    long_from_s: float


def places_of(cores: int) -> int:
    """As many queries as leave a part of the machine to inserts: each may use all cores."""
    return max(2, cores // 2)


class ReaderTurns:
    """Places for queries of readers, given out in the order of asking; as many again for those who waited for long."""

    def __init__(self, places: int, wait_s: float = WAIT_S) -> None:
        self.running = 0
        self._places = places
        self._wait_s = wait_s
        self._waiting: deque[_Turn] = deque()

    @property
    def most(self) -> int:
        """The most queries that run at once."""
        return 2 * self._places

    async def take(self) -> None:
        """Waits for a place; `give_back` has to follow. Raises TimeoutError after GIVEN_UP_AFTER_S."""
        loop = asyncio.get_running_loop()
        turn = _Turn(loop.create_future(), loop.time() + self._wait_s)
        self._waiting.append(turn)
        self._give_out()
        waited_for_long = loop.call_later(self._wait_s, self._give_out)
        try:
            async with asyncio.timeout(GIVEN_UP_AFTER_S):
                await turn.begins
        except BaseException:
            self._leave(turn)
            raise
        finally:
            waited_for_long.cancel()

    def give_back(self) -> None:
        """After the query has ended in the engine, also if its client left before."""
        self.running -= 1
        self._give_out()

    def _give_out(self) -> None:
        """Wakes those whose turn it is. The first has waited for the longest."""
        now_s = asyncio.get_running_loop().time() + _EARLY_S
        while self._waiting:
            waits_for_long = self._waiting[0].long_from_s <= now_s
            if self.running >= (self.most if waits_for_long else self._places):
                return
            self.running += 1
            self._waiting.popleft().begins.set_result(None)

    def _leave(self, turn: _Turn) -> None:
        """The client is gone or is refused; a place that it got in the same moment is another's."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        else:
            self.running -= 1
        self._give_out()
