"""How long rows wait for a batch to fill, over all workers of a process. The Batcher knows when one is full.

Batches of one table are inserted together (combining.py), so what their inserts take counts once.
"""

from __future__ import annotations

from typing import Final

# An insert costs the engine some 50 ms of a core however few rows it has (0012-stored.md).
WAIT_FACTOR: Final = 1.5
# A table that was not inserted into for this long is not counted.
ACTIVE_S: Final = 5.0


class FlushAge:
    """Limits the time spent on inserts: batches wait WAIT_FACTOR times as long as the inserts of all tables take."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def took(self, table: str, seconds: float, now_s: float) -> None:
        """A flush into `table` has just ended after `seconds`."""
        self._last[table] = (seconds, now_s)

    def age_s(self, least_s: float, most_s: float, now_s: float) -> float:
        """The age at which a batch is flushed now: `least_s` while inserts are cheap, never above `most_s`."""
        inserting_s = sum(seconds for seconds, at_s in self._last.values() if now_s - at_s < ACTIVE_S)
        return min(max(least_s, WAIT_FACTOR * inserting_s), max(least_s, most_s))
