"""Whose rules are evaluated next, and for how long: slow rules of one organisation let the others wait a short time.

Each round gives an organisation some seconds. Who used more, because one question took long, owes them and is left out
of the next rounds. Those whose last turn was short come first, of these the one that waited longest. If a round has no
time for all, the next one begins with the one that waited longest of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

# Of one organisation in a round.
TURN_S: Final = 5.0
# Of all together; the others come first in the next round.
ROUND_S: Final = 30.0


class Turns:
    """`clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left_s: dict[str, float] = {}
        self._began_at: dict[str, float] = {}
        self._slow: set[str] = set()
        self._is_cut = False
        self._ends_at = float("inf")

    def of(self, organisations: Iterable[str]) -> Iterator[str]:
        """Those that have a turn in this round, in their order."""
        self._left_s = {name: min(TURN_S, self._left_s.get(name, 0.0) + TURN_S) for name in organisations}
        self._began_at = {name: at_s for name, at_s in self._began_at.items() if name in self._left_s}
        round_ends_at = self._clock() + ROUND_S
        waiting = sorted((name for name, left_s in self._left_s.items() if left_s > 0), key=self._place)
        if self._is_cut and waiting:
            longest = min(waiting, key=self._waits_since)
            waiting = [longest, *(name for name in waiting if name != longest)]
        self._is_cut = False
        for organisation in waiting:
            if self._clock() >= round_ends_at:
                self._is_cut = True
                return
            yield organisation

    def _place(self, organisation: str) -> tuple[bool, float, str]:
        return organisation in self._slow, self._waits_since(organisation), organisation

    def _waits_since(self, organisation: str) -> float:
        return self._began_at.get(organisation, float("-inf"))

    @contextmanager
    def turn(self, organisation: str) -> Iterator[None]:
        """The time in it is that of the organisation."""
        began_at = self._clock()
        self._began_at[organisation], self._ends_at = began_at, began_at + self._left_s[organisation]
        try:
            yield
        finally:
            took_s = self._clock() - began_at
            self._left_s[organisation] -= took_s
            self._slow.discard(organisation)
            if took_s >= TURN_S:
                self._slow.add(organisation)
            self._ends_at = float("inf")

    def is_over(self) -> bool:
        """Whether this organisation has to stop: the rest of its rules is evaluated in a later round."""
        return self._clock() >= self._ends_at
