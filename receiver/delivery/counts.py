"""Requests that wait for the workers' counts, over one subscription. schemas/counts.py says what a count means."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from receiver import metrics
from schemas.counts import Counts

# A single lost reply must not stop the counts of everybody; five in a row without any success is an outage.
BREAKER_TIMEOUTS: Final = 5
BREAKER_PROBE_S: Final = 1.0
# Duplicates of the last so many refused bodies get the first verdict again.
MAX_REMEMBERED: Final = 4096
MAX_MESSAGE_LENGTH: Final = 1000


@dataclass(slots=True)
class Tally:
    """The counts of one body so far. `expected` is None until unpack has said how many items there are."""

    expected: int | None = None
    answered: int = 0
    accepted: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    invalid: str | None = None
    warning: str = ""
    stored: bool = False

    def add(self, counts: Counts) -> None:
        """Takes one reply. Unpack's own brings `expect` and what it dropped, every other answers for one item."""
        if counts.expect is not None:
            self.expected = counts.expect
        else:
            self.answered += 1
        self.accepted += counts.accepted
        self.rejected += counts.rejected
        self.reasons.extend(reason for reason in counts.reasons if reason not in self.reasons)
        self.invalid = counts.invalid or self.invalid
        self.warning = counts.warning or self.warning
        self.stored = counts.stored or self.stored

    @property
    def done(self) -> bool:
        """Whether all replies have come; `invalid` needs no further ones."""
        return self.invalid is not None or (self.expected is not None and self.answered >= self.expected)

    @property
    def message(self) -> str:
        """The warning and every reason, for people; never empty when something was rejected, as OTLP asks."""
        unnamed = f"{self.rejected} rejected" if self.rejected else ""
        return ("; ".join(filter(None, (self.warning, *self.reasons))) or unnamed)[:MAX_MESSAGE_LENGTH]


class ReplyBreaker:
    """Stops waiting when no replies come; then one request a second waits, to find out when they come again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._timeouts = 0
        self._next_probe_s = 0.0

    def allows(self) -> bool:
        """Whether to wait this time."""
        if self._timeouts < BREAKER_TIMEOUTS:
            return True
        now = self._clock()
        if now < self._next_probe_s:
            return False
        self._next_probe_s = now + BREAKER_PROBE_S
        return True

    def succeeded(self) -> None:
        self._timeouts = 0

    def timed_out(self) -> None:
        self._timeouts += 1
        if self._timeouts == BREAKER_TIMEOUTS:
            self._next_probe_s = self._clock() + BREAKER_PROBE_S


class Waiter:
    """One waiting request: the subject for its counts, and the counts that have come."""

    __slots__ = ("future", "reply_to", "tally", "token")

    def __init__(self, prefix: str, token: str, expected: int | None) -> None:
        self.token = token
        self.reply_to = f"{prefix}.{token}"
        self.tally = Tally(expected)
        self.future: asyncio.Future[Tally] = asyncio.get_running_loop().create_future()


class Inbox:
    """Hands out waiters and sorts replies to them; a reply to a waiter that is gone is dropped."""

    def __init__(self, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = prefix
        self._clock = clock
        self._numbers = itertools.count()
        self._waiting: dict[str, Waiter] = {}
        self._breakers: dict[str, ReplyBreaker] = {}
        self._remembered: dict[str, Tally] = {}
        self._pending: dict[str, Waiter] = {}

    @classmethod
    async def open(cls, client: Client) -> Inbox:
        """An inbox that listens; the subscription survives reconnects."""
        inbox = cls(client.new_inbox())

        async def on_reply(message: Msg) -> None:
            inbox.deliver(message.subject.rpartition(".")[2], message.data)

        await client.subscribe(f"{inbox._prefix}.*", cb=on_reply)
        return inbox

    def deliver(self, token: str, data: bytes) -> None:
        """Adds a reply to its waiter. An unreadable reply is dropped."""
        waiter = self._waiting.get(token)
        if waiter is None or waiter.future.done():
            return
        try:
            waiter.tally.add(Counts.decode(data))
        except ValueError:
            return
        if waiter.tally.done:
            waiter.future.set_result(waiter.tally)

    def waiter(self, route: str, wait_ms: int, expected: int | None) -> Waiter | None:
        """A waiter to put into `Counts-To`, to be closed by the caller; None when this request should not wait.

        `expected` is the number of replies where it is known beforehand, else None: unpack will say.
        """
        if wait_ms == 0 or not self._breaker(route).allows():
            reason = "off" if wait_ms == 0 else "breaker_open"
            metrics.with_labels(metrics.COUNTS_UNKNOWN, route, reason).inc()
            return None
        return self.open_waiter(expected)

    def open_waiter(self, expected: int | None) -> Waiter:
        """A waiter for a caller that waits in the background."""
        waiter = Waiter(self._prefix, str(next(self._numbers)), expected)
        self._waiting[waiter.token] = waiter
        return waiter

    def allows(self, route: str) -> bool:
        """Whether a request of this route should wait for counts at all."""
        return self._breaker(route).allows()

    async def wait_kept(self, route: str, waiter: Waiter, wait_ms: int) -> Tally | None:
        """Like `wait`, but the waiter stays open after a timeout, because others wait for it too."""
        await asyncio.wait((waiter.future,), timeout=wait_ms / 1000)
        if not waiter.future.done():
            self._breaker(route).timed_out()
            metrics.with_labels(metrics.COUNTS_UNKNOWN, route, "timeout").inc()
            return None
        self._breaker(route).succeeded()
        return waiter.future.result()

    def begin(self, message_id: str, waiter: Waiter) -> None:
        """The counts of this message will come to `waiter`: a duplicate that is sent meanwhile waits for them too."""
        self._pending.setdefault(message_id, waiter)

    def end(self, message_id: str, waiter: Waiter) -> None:
        """Ends the wait for `waiter`."""
        if self._pending.get(message_id) is waiter:
            del self._pending[message_id]

    async def verdict_under_way(self, message_id: str, own_waiter: Waiter | None, wait_ms: int) -> Tally | None:
        """The counts of the same message sent by a request that still waits for them here; None without one."""
        waiter = self._pending.get(message_id)
        if waiter is None or waiter is own_waiter:
            return None
        await asyncio.wait((waiter.future,), timeout=wait_ms / 1000)
        done = waiter.future.done() and not waiter.future.cancelled()
        return waiter.future.result() if done else None

    async def wait(self, route: str, waiter: Waiter, wait_ms: int) -> Tally | None:
        """The counts, None when they did not come within `wait_ms`."""
        started = self._clock()
        try:
            tally = await asyncio.wait_for(waiter.future, wait_ms / 1000)
        except TimeoutError:
            self._breaker(route).timed_out()
            metrics.with_labels(metrics.COUNTS_UNKNOWN, route, "timeout").inc()
            return None
        self._breaker(route).succeeded()
        metrics.COUNTS_SECONDS.observe(self._clock() - started)
        return tally

    def close(self, waiter: Waiter | None) -> None:
        """Forgets a waiter; replies to it are dropped from now on."""
        if waiter is not None:
            self._waiting.pop(waiter.token, None)

    def remember(self, message_id: str, tally: Tally) -> None:
        """Keeps a verdict other than plain success: the same bytes sent again reach no worker that would repeat it."""
        if tally.invalid is None and not tally.rejected and not tally.warning:
            return
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[message_id] = tally

    def recall(self, message_id: str) -> Tally | None:
        """The counts of an earlier copy of this message, if this process received them."""
        return self._remembered.get(message_id)

    def _breaker(self, route: str) -> ReplyBreaker:
        breaker = self._breakers.get(route)
        if breaker is None:
            breaker = self._breakers[route] = ReplyBreaker(self._clock)
        return breaker
