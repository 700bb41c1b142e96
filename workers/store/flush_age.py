"""How long rows wait for a batch to fill, over all workers of a process. The Batcher knows when one is full."""

from __future__ import annotations

from typing import Final

# An insert costs the engine 48 ms of a core however few rows it has (0012-stored.md): seven workers flushing every
# 0.2 s would use a core and a half for a few hundred events a second.
REST: Final = 1.5
# A worker that has not inserted for this long is not counted.
ACTIVE_S: Final = 5.0


class FlushAge:
    """Limits the time spent on inserts: batches wait REST times as long as the inserts of all workers take."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def took(self, worker: str, seconds: float, now_s: float) -> None:
        """A flush of `worker` has just ended after `seconds`."""
        self._last[worker] = (seconds, now_s)

    def age_s(self, least_s: float, most_s: float, now_s: float) -> float:
        """The age at which a batch is flushed now: `least_s` while inserts are cheap, never above `most_s`."""
        inserting_s = sum(seconds for seconds, at_s in self._last.values() if now_s - at_s < ACTIVE_S)
        return min(max(least_s, REST * inserting_s), max(least_s, most_s))
