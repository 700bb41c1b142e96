"""Limits the refused requests of a sender: above it, 429 before anything of a body is read.

A quota does not count refused requests, so without this limit a key with a quota of one request a minute could have any
number of hostile bodies inflated and parsed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from receiver import metrics
from receiver.http.answers import Refused
from schemas.registry import Key

WINDOW_S: Final = 60
# Bytes of refused bodies count: one refusal more for each so many inflated bytes.
BYTES_PER_REFUSAL: Final = 50 * 1024
# From all addresses together a key may be refused this many times as often, so that one visitor of a page, who knows
# its public token, cannot stop the page's other visitors.
ADDRESSES: Final = 10
# At least this many, also for keys with a smaller quota, so that a person can find out what is wrong.
LEAST: Final = 60
MAX_SENDERS: Final = 20_000
REASON: Final = "refusals:key"
# Refusals because of the request itself count. Those because of a quota or of our own failures do not.
COUNTED: Final = frozenset({400, 401, 408, 413, 415, 422})


class TooManyRefusals(Refused):
    """429."""

    def __init__(self, holder: str) -> None:
        super().__init__(
            429,
            f"refusals: too many requests of this {holder} were refused within a minute; correct the requests, see the "
            f"earlier answers, and come back after {WINDOW_S} s",
            retry_after_s=WINDOW_S,
        )
        self.reason = REASON if holder == "key" else f"refusals:{holder}"


class _Count:
    """Refusals since `began_s`; the first refusal starts the window."""

    __slots__ = ("began_s", "refusals")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.refusals = 0


class RefusalBudget:
    """Counts refusals by key, endpoint and address, by key and endpoint, and by address where no key is known.

    0 a minute is no limit. Endpoints are counted apart, so that a broken exporter does not stop the key's errors.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._counts: dict[tuple[str, str], _Count] = {}

    def check(self, key: Key, route: str, network: str) -> None:
        """Raises TooManyRefusals for a key that was refused too often."""
        if not self._per_minute:
            return
        limit, key_and_route = self._limit(key), f"{key.id} {route}"
        if (
            self._refusals_of(key_and_route, network) >= limit
            or self._refusals_of(key_and_route, "") >= ADDRESSES * limit
        ):
            metrics.REFUSALS_EXCEEDED.inc()
            raise TooManyRefusals("key")

    @property
    def is_empty(self) -> bool:
        """Whether no request was refused: then there is nothing to check."""
        return not self._counts

    def is_exceeded(self, network: str) -> bool:
        """Whether requests of this address without a known key were refused too often."""
        return bool(self._per_minute) and self._refusals_of("", network) >= self._per_minute

    def check_unauthenticated(self, network: str) -> None:
        """Raises TooManyRefusals for an address whose requests had no known key too often."""
        if self.is_exceeded(network):
            metrics.REFUSALS_EXCEEDED.inc()
            raise TooManyRefusals("address")

    def add(self, key: Key | None, route: str, network: str, inflated_bytes: int) -> None:
        """Counts a refused request, and the inflated bytes that were read of it."""
        cost = 1 + inflated_bytes // BYTES_PER_REFUSAL
        if key is None:
            self._add(("", network), cost)
        else:
            key_and_route = f"{key.id} {route}"
            self._add((key_and_route, network), cost)
            self._add((key_and_route, ""), cost)

    def _limit(self, key: Key) -> int:
        if key.quota_per_minute is None:
            return self._per_minute
        return min(self._per_minute, max(LEAST, key.quota_per_minute))

    def _refusals_of(self, key_and_route: str, network: str) -> int:
        count = self._counts.get((key_and_route, network))
        return 0 if count is None or self._clock() - count.began_s >= WINDOW_S else count.refusals

    def _add(self, name: tuple[str, str], cost: int) -> None:
        now_s = self._clock()
        count = self._counts.get(name)
        if count is None or now_s - count.began_s >= WINDOW_S:
            self._counts.pop(name, None)
            self._make_room(now_s)
            count = self._counts[name] = _Count(now_s)
        count.refusals += cost

    def _make_room(self, now_s: float) -> None:
        """Forgets windows that are over; with too many open ones, the oldest is forgotten."""
        while self._counts:
            oldest = next(iter(self._counts))
            if len(self._counts) < MAX_SENDERS and now_s - self._counts[oldest].began_s < WINDOW_S:
                return
            del self._counts[oldest]
