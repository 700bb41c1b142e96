"""How many test messages an organisation may send: each goes to an address that somebody only named."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

_WINDOW_S: Final = 60.0


class MinuteLimit:
    """So many in the last minute. `now_s` is a clock."""

    def __init__(self, now_s: Callable[[], float], most: int) -> None:
        self._now_s = now_s
        self._most = most
        self._sent: dict[str, deque[float]] = {}

    def take(self, organisation: str, number: int) -> bool:
        """Whether so many more may be sent now; then they count."""
        now_s = self._now_s()
        for name, times in list(self._sent.items()):
            # Also what a clock that was ahead noted.
            while times and not 0 <= now_s - times[0] < _WINDOW_S:
                times.popleft()
            if not times:
                del self._sent[name]
        sent = self._sent.get(organisation, deque())
        if len(sent) + number > self._most:
            return False
        sent.extend([now_s] * number)
        self._sent[organisation] = sent
        return True
