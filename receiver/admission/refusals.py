"""Counts requests that a quota refused, and stores the counts as outcomes: a few messages a minute.

Counts that are not stored yet live in memory: a receiver that is killed loses those of its last FLUSH_S seconds.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from receiver import metrics
from receiver.delivery.publish import BodyPublisher, PublishError
from schemas import headers, refusals, subjects
from schemas.outcomes import NANOS_PER_MINUTE
from schemas.refusals import Refusal
from schemas.registry import Key

FLUSH_S: Final = 5.0
LAST_FLUSH_S: Final = 3.0
# Counts of different keys, channels and minutes held while the broker is away; beyond, refusals go uncounted.
MAX_COUNTS: Final = 50_000

log = structlog.get_logger()


class _RefusedSender(NamedTuple):
    """The sender and the minute of refused requests: the headers of one message."""

    minute_ns: int
    organisation: str
    channel_id: int
    key_id: str
    environment: str


class _Kind(NamedTuple):
    item_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class _RefusalMessage:
    """A message to be stored. Its id is the same in every attempt, so it becomes one outcome."""

    sender: _RefusedSender
    message_id: str
    body: bytes
    quantity: int


@dataclass(slots=True)
class RefusalCounter:
    """Counts refused requests. `clock_ns` is the wall clock, from which outcomes get their time."""

    clock_ns: Callable[[], int] = time.time_ns
    _name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _counts: dict[_RefusedSender, Counter[_Kind]] = field(default_factory=dict)
    _messages: deque[_RefusalMessage] = field(default_factory=deque)
    _messages_made: int = 0

    def add(self, key: Key, environment: str, channel_id: int, route: str, reason: str) -> None:
        """One more request was refused; `channel_id` is 0 if the channel is in a body that was not read."""
        now_ns = self.clock_ns()
        sender = _RefusedSender(now_ns - now_ns % NANOS_PER_MINUTE, key.organisation, channel_id, key.id, environment)
        counts = self._counts.get(sender)
        if counts is None:
            if len(self._counts) >= MAX_COUNTS:
                metrics.REFUSALS_LOST.inc()
                return
            counts = self._counts[sender] = Counter()
        counts[_Kind(route.replace(".", "_"), reason)] += 1

    async def flush(self, publisher: BodyPublisher) -> None:
        """Stores the counts; counts that the broker does not store now are kept. Raises PublishError."""
        await self._send(publisher)
        self._pack()
        await self._send(publisher)

    async def run(self, publisher: BodyPublisher) -> None:
        """Flushes until cancelled; while the broker is away, the counts grow."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush(publisher)
            except PublishError as error:
                log.warning("refusals_held", reason=error.reason)

    async def close(self, publisher: BodyPublisher) -> None:
        """The last flush; counts that cannot be stored within LAST_FLUSH_S are lost and logged."""
        try:
            async with asyncio.timeout(LAST_FLUSH_S):
                await self.flush(publisher)
        except (PublishError, TimeoutError):
            self._pack()
            lost = sum(message.quantity for message in self._messages)
            metrics.REFUSALS_LOST.inc(lost)
            log.warning("refusals_lost", requests=lost)

    def _pack(self) -> None:
        counts, self._counts = self._counts, {}
        for sender, kinds in counts.items():
            sender_refusals = [Refusal(kind.item_type, kind.reason, quantity) for kind, quantity in kinds.items()]
            self._messages_made += 1
            identity = f"outcome:{self._name}:{self._messages_made}"
            self._messages.append(_RefusalMessage(sender, identity, refusals.encode(sender_refusals), kinds.total()))

    async def _send(self, publisher: BodyPublisher) -> None:
        while self._messages:
            message = self._messages[0]
            subject = subjects.raw(subjects.OUTCOME, message.sender.channel_id)
            await publisher.publish(subject, message.body, headers.write(_origin(message.sender), message.message_id))
            self._messages.popleft()


def _origin(sender: _RefusedSender) -> headers.Origin:
    return headers.Origin(
        organisation=sender.organisation,
        channel_id=sender.channel_id,
        key_id=sender.key_id,
        environment=sender.environment,
        environment_from_event=False,
        received_at_ns=sender.minute_ns,
        content_type="application/json",
    )
