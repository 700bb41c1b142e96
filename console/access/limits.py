"""Counts the requests of each token by the minute, in this process: several consoles allow several times as many."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60
MAX_TOKENS: Final = 10_000


@dataclass(frozen=True, slots=True)
class RequestsLeft:
    """What is left to a token: `remaining` requests until `reset_s` of the wall clock. Negative: refused."""

    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """As Sentry's own API names them."""
        return {
            "X-Sentry-Rate-Limit-Limit": str(self.limit),
            "X-Sentry-Rate-Limit-Remaining": str(max(0, self.remaining)),
            "X-Sentry-Rate-Limit-Reset": str(self.reset_s),
        }


class RequestLimits:
    """One counter for each token and minute. `clock` is seconds of the wall clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, int], int] = OrderedDict()

    def take(self, token_id: str, limit: int) -> RequestsLeft | None:
        """Counts one request; None without a limit."""
        if not limit:
            return None
        window = int(self._clock()) // WINDOW_S
        name = (token_id, window)
        self._counts[name] = self._counts.get(name, 0) + 1
        self._counts.move_to_end(name)
        while len(self._counts) > MAX_TOKENS:
            self._counts.popitem(last=False)
        return RequestsLeft(limit, limit - self._counts[name], (window + 1) * WINDOW_S)
