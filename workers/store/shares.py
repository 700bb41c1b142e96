"""How many bytes of invalid bodies are kept for each key: a key can fill its own share only.

Every process counts for itself. Workers need not agree: the stream has a limit of its own, and drops its oldest.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from workers.clock import Clock

# A share is full again after this long without use.
REFILL_S: Final = 3600.0
# What a kept body costs beside its bytes: headers, a row, an entry in the stream's index.
COST_BYTES: Final = 4096
MAX_KEYS: Final = 10_000


class Shares:
    """Each key has `share_bytes`; a used share is full again after REFILL_S."""

    def __init__(self, share_bytes: int, clock: Clock) -> None:
        self._share_bytes = share_bytes
        self._clock = clock
        # key -> (bytes left, time of that computation), the least recently used key first
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, key: tuple[str, str], size_bytes: int) -> bool:
        """Whether a body of `size_bytes` still has room in the share of `key`; if so, it has taken it."""
        now_s = self._clock.now_s()
        left, at_s = self._left.pop(key, (float(self._share_bytes), now_s))
        left = min(self._share_bytes, left + (now_s - at_s) * self._share_bytes / REFILL_S)
        cost = size_bytes + COST_BYTES
        has_room = cost <= left
        self._left[key] = (left - cost if has_room else left, now_s)
        while len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)
        return has_room
