"""Batches of one table are flushed at the same time: combining.py then makes one insert of them."""

from __future__ import annotations

from collections.abc import Callable


class SharedFlushes:
    """The batchers of a process, by table."""

    def __init__(self) -> None:
        self._flushes: dict[str, list[Callable[[], None]]] = {}

    def add(self, table: str, flush_too: Callable[[], None]) -> None:
        """`flush_too` is called when a batch of `table` is flushed: it starts an insert of its own, or does nothing."""
        self._flushes.setdefault(table, []).append(flush_too)

    def flushed(self, table: str) -> None:
        """A batch of `table` was flushed."""
        for flush_too in self._flushes.get(table, ()):
            flush_too()
