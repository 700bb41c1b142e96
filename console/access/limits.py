"""Limits of this process: requests of a token by the minute, and streams that are open. Several consoles allow more."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60
MAX_TOKENS: Final = 10_000
# Streams of live logs of one console: each asks ClickHouse every second. One organisation leaves room for others.
LIVE_STREAMS: Final = 20
OF_ONE_ORGANISATION: Final = 10


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


class NoStreamFree(Exception):
    """As many streams are open as may be."""


class LiveStreams:
    """How many streams are open, by organisation."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def is_full(self, organisation: str) -> bool:
        """Whether no other one may be opened."""
        return self._open[organisation] >= OF_ONE_ORGANISATION or self._open.total() >= LIVE_STREAMS

    @contextmanager
    def opened(self, organisation: str) -> Iterator[None]:
        """One of them, until the end of the block. Raises NoStreamFree."""
        if self.is_full(organisation):
            raise NoStreamFree
        self._open[organisation] += 1
        try:
            yield
        finally:
            self._open[organisation] -= 1
