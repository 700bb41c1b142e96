"""Batches of one table leave together: combining.py then makes one insert of them."""

from __future__ import annotations

from collections.abc import Callable


class Departures:
    """The batchers of a process, by table."""

    def __init__(self) -> None:
        self._joining: dict[str, list[Callable[[], None]]] = {}

    def add(self, table: str, join: Callable[[], None]) -> None:
        """`join` is called when a batch of `table` leaves: it starts the insert of another one, or does nothing."""
        self._joining.setdefault(table, []).append(join)

    def leave(self, table: str) -> None:
        """A batch of `table` leaves now."""
        for join in self._joining.get(table, ()):
            join()
