"""Quotas: may this request still go in? Counts of the last minute, in memory alone; who tells them to whom is
quota_exchange.py's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from receiver.answers import Refused
from schemas.registry import Key

# A client that comes back after Retry-After finds the whole quota again: everything counted is older then.
WINDOW_S: Final = 60
RETRY_AFTER_S: Final = WINDOW_S
# Reports of our own that do not come back for this long: others' do not come either.
STALE_S: Final = 5.0
# Others hear at once when this share of a quota was taken since the last report; else twice a second.
HURRY_SHARE: Final = 0.02

REASON_KEY: Final = "quota:key"
REASON_ORGANISATION: Final = "quota:organisation"


class QuotaExceeded(Refused):
    """429. `reason` says in the words of outcomes whose quota it is."""

    def __init__(self, reason: str, limit: int) -> None:
        of_key = reason == REASON_KEY
        what, command = ("key", "keys limit") if of_key else ("organisation", "organisations limit")
        super().__init__(
            429,
            f"quota: the {what} may send {limit} requests a minute and has; come back after {RETRY_AFTER_S} s, "
            f"or raise it with `axonpush {command}`",
            retry_after_s=RETRY_AFTER_S,
        )
        self.reason = reason


@dataclass(slots=True)
class Window:
    """Requests of the last WINDOW_S seconds, by the second they came in."""

    total: int = 0
    _seconds: dict[int, int] = field(default_factory=dict)

    def add(self, second: int, requests: int) -> None:
        """`second` may be a past one, to take back; one that is over already is over."""
        self._seconds[second] = self._seconds.get(second, 0) + requests
        self.total += requests

    def take_back(self, second: int) -> None:
        if self._seconds.get(second, 0) > 0:
            self._seconds[second] -= 1
            self.total -= 1

    def expire(self, second: int) -> None:
        """Forgets what is older than the window as seen in `second`."""
        while self._seconds and (oldest := next(iter(self._seconds))) <= second - WINDOW_S:
            self.total -= self._seconds.pop(oldest)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What another receiver has counted, and when it said so."""

    total: int
    at_s: float


class Quotas:
    """Takes a request or refuses it, by what this receiver has counted and what it has heard from the others.

    `organisation_quota` gives an organisation's requests a minute, None for no limit. `clock` is seconds, monotonic.
    Keys and organisations without a quota are not counted at all.
    """

    def __init__(
        self,
        organisation_quota: Callable[[str], int | None] = lambda _slug: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._organisation_quota = organisation_quota
        self._clock = clock
        self._own: dict[str, Window] = {}
        self._reported: dict[str, int] = {}
        self._heard: dict[str, dict[str, _Heard]] = {}
        self._unanswered_s: float | None = None
        self.hurry: Callable[[], None] = lambda: None
        self.admitted_while_stale: Callable[[], None] = lambda: None

    def take(self, key: Key) -> Callable[[], None] | None:
        """Counts one request; None if nothing limits it, else what gives it back. Raises QuotaExceeded."""
        organisation_limit = self._organisation_quota(key.organisation)
        if key.quota_per_minute is None and organisation_limit is None:
            return None
        now_s = self._clock()
        limits = []
        if organisation_limit is not None:
            limits.append((f"organisation.{key.organisation}", organisation_limit, REASON_ORGANISATION))
        if key.quota_per_minute is not None:
            limits.append((f"key.{key.id}", key.quota_per_minute, REASON_KEY))
        for name, limit, reason in limits:
            if self._used(name, now_s) >= limit:
                raise QuotaExceeded(reason, limit)
        return self._count([(name, limit) for name, limit, _ in limits], now_s)

    def report(self, *, everything: bool) -> dict[str, int]:
        """What others should hear now: own counts of the last minute by name, only changed ones or `everything`."""
        second = int(self._clock())
        found: dict[str, int] = {}
        for name, window in list(self._own.items()):
            window.expire(second)
            if everything or window.total != self._reported.get(name, 0):
                found[name] = window.total
                self._reported[name] = window.total
            if not window.total:
                del self._own[name]
                self._reported.pop(name, None)
        return found

    def hear(self, receiver: str, used: dict[str, int]) -> None:
        """Takes another receiver's report: absolute numbers, so that one that was lost or came twice does no harm."""
        now_s = self._clock()
        for name, total in used.items():
            by_receiver = self._heard.setdefault(name, {})
            if total > 0:
                by_receiver[receiver] = _Heard(total, now_s)
            else:
                by_receiver.pop(receiver, None)
            if not by_receiver:
                del self._heard[name]

    def forget_the_silent(self) -> None:
        """Drops what receivers said a whole window ago that have gone since; until then it counts against the quota."""
        oldest_s = self._clock() - WINDOW_S
        for name, by_receiver in list(self._heard.items()):
            for receiver in [one for one, heard in by_receiver.items() if heard.at_s <= oldest_s]:
                del by_receiver[receiver]
            if not by_receiver:
                del self._heard[name]

    def report_sent(self) -> None:
        """A report is on its way; it is to come back to us as it comes to the others."""
        if self._unanswered_s is None:
            self._unanswered_s = self._clock()

    def report_returned(self) -> None:
        """A report of our own has come back: the exchange works."""
        self._unanswered_s = None

    @property
    def stale(self) -> bool:
        """Whether others cannot be heard. Then each receiver applies the quota to its own requests only."""
        return self._unanswered_s is not None and self._clock() - self._unanswered_s > STALE_S

    def _used(self, name: str, now_s: float) -> int:
        window = self._own.get(name)
        if window is not None:
            window.expire(int(now_s))
        own = window.total if window else 0
        by_receiver = self._heard.get(name)
        if not by_receiver:
            return own
        if self.stale:
            self.admitted_while_stale()
            return own
        return own + sum(heard.total for heard in by_receiver.values() if now_s - heard.at_s < WINDOW_S)

    def _count(self, limits: list[tuple[str, int]], now_s: float) -> Callable[[], None]:
        second = int(now_s)
        windows = []
        for name, limit in limits:
            window = self._own.get(name)
            if window is None:
                window = self._own[name] = Window()
            window.add(second, 1)
            windows.append(window)
            if window.total - self._reported.get(name, 0) >= limit * HURRY_SHARE:
                self.hurry()

        def give_back() -> None:
            for window in windows:
                window.take_back(second)

        return give_back
