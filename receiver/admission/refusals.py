"""Counts refused requests by key, or by class of address, and keys in use, and stores the counts as outcomes.

A few messages a minute. Counts that are not stored yet live in memory: a receiver that is killed loses those of its
last `interval_s` seconds. What a sender can choose freely (unknown keys, channels that do not exist, addresses) is
bounded: what is too much within a minute is counted together, as `other`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import structlog

from receiver import metrics
from receiver.admission.address_class import address_class
from receiver.delivery.publish import BodyPublisher, PublishError
from receiver.http.answers import Refused
from receiver.http.request import Request
from schemas import headers, refusals, subjects
from schemas.identifiers import MAX_CHANNEL_ID
from schemas.outcomes import NANOS_PER_MINUTE, RATE_LIMITED, REFUSED, UNCONFIRMED
from schemas.refusals import KeyUse, Refusal
from schemas.registry import Key

INTERVAL_S: Final = 5.0
LAST_FLUSH_S: Final = 3.0
# Counts of different keys, channels and minutes held while the broker is away; beyond, refusals go uncounted.
MAX_COUNTS: Final = 50_000
# Different senders of refused requests within a minute, each a message: with a known key, and without.
MAX_WITH_KEY: Final = 1_000
MAX_WITHOUT_KEY: Final = 200
OTHER: Final = "other"
# Keys in use are stored less often: nobody waits for it, and it is a row for each key.
FLUSHES_PER_USE_FLUSH: Final = 12
MAX_USES_OF_A_MESSAGE: Final = 5_000
_WORDS: Final = {
    400: "invalid", 401: "key", 403: "not_allowed", 404: "not_found", 405: "method", 408: "too_slow", 411: "no_length",
    413: "too_large", 415: "unknown_type", 422: "invalid", 429: "too_many", 503: "unavailable",
}  # fmt: skip

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
    outcome: str = RATE_LIMITED
    sender: str = ""


def _nobody(_channel_id: int) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class _RefusalMessage:
    """A message to be stored. Its id is the same in every attempt, so it becomes one outcome."""

    sender: _RefusedSender
    message_id: str
    body: bytes
    quantity: int


@dataclass(slots=True)
class RefusalCounter:
    """Counts refused requests and the use of keys. `clock_ns` is the wall clock, from which outcomes get their time.

    `owner_of` names the organisation of a channel without asking the broker; empty if it is not known. Between two
    flushes, `sleep` waits for `interval_s`.
    """

    clock_ns: Callable[[], int] = time.time_ns
    owner_of: Callable[[int], str] = _nobody
    interval_s: float = INTERVAL_S
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _counts: dict[_RefusedSender, Counter[_Kind]] = field(default_factory=dict)
    _messages: deque[_RefusalMessage] = field(default_factory=deque)
    _messages_made: int = 0
    _used: dict[str, list[Any]] = field(default_factory=dict)
    # Senders of this minute, with a known key and without.
    _minute_ns: int = 0
    _with_key: set[_RefusedSender] = field(default_factory=set)
    _without_key: set[tuple[int, str]] = field(default_factory=set)

    def add(self, key: Key, environment: str, channel_id: int, route: str, reason: str) -> None:
        """A quota refused one more request; `channel_id` is 0 if the channel is in a body that was not read."""
        channel_id = channel_id or _only_channel(key)
        sender = _RefusedSender(self._minute(), key.organisation, channel_id, key.id, environment)
        self._count(sender, _Kind(route.replace(".", "_"), reason))

    def add_refused(self, request: Request, refused: Refused, *, trust_forwarded: bool) -> None:
        """One more request was refused, for another reason than a quota of its key; or its end is not known."""
        minute_ns = self._minute()
        channel_id = _channel_in(request.channel_text)
        key = request.key or request.refused_key
        reason = f"{refused.status}:{refused.reason or _WORDS.get(refused.status, 'other')}"
        item_type = request.route.replace(".", "_") or "none"
        outcome = UNCONFIRMED if refused.may_be_stored else REFUSED
        metrics.with_labels(metrics.REFUSED, reason).inc()
        if key is not None:
            if not request.channel_text:
                channel_id = _only_channel(key)
            sender = _RefusedSender(
                minute_ns, key.organisation, channel_id, key.id, request.environment or key.environment
            )
            self._count(self._bound(sender), _Kind(item_type, reason, outcome))
            return
        organisation = self.owner_of(channel_id) if channel_id else ""
        if not organisation:
            channel_id = 0
        address = self._bound_class(channel_id, address_class(request.sender_ip(trust_forwarded=trust_forwarded)))
        self._count(
            _RefusedSender(minute_ns, organisation, channel_id, "", ""), _Kind(item_type, reason, outcome, address)
        )

    def count_use(self, key: Key) -> None:
        """One more request of a key was stored. Every request calls this, so it only adds one, and notes the minute."""
        minute_ns = self._minute()
        used = self._used.get(key.id)
        if used is None:
            self._used[key.id] = [key.organisation, 1, minute_ns]
        else:
            used[1] += 1
            used[2] = minute_ns

    def _minute(self) -> int:
        now_ns = self.clock_ns()
        minute_ns = now_ns - now_ns % NANOS_PER_MINUTE
        if minute_ns != self._minute_ns:
            self._minute_ns = minute_ns
            self._with_key.clear()
            self._without_key.clear()
        return minute_ns

    def _bound(self, sender: _RefusedSender) -> _RefusedSender:
        """The sender; without its channel and environment when there were too many within the minute."""
        if sender in self._with_key:
            return sender
        if len(self._with_key) >= MAX_WITH_KEY:
            return sender._replace(channel_id=0, environment="")
        self._with_key.add(sender)
        return sender

    def _bound_class(self, channel_id: int, address: str) -> str:
        """The class of address; `other` when there were too many within the minute."""
        named = (channel_id, address)
        if named not in self._without_key:
            if len(self._without_key) >= MAX_WITHOUT_KEY:
                return OTHER
            self._without_key.add(named)
        return address

    def _count(self, sender: _RefusedSender, kind: _Kind) -> None:
        counts = self._counts.get(sender)
        if counts is None:
            if len(self._counts) >= MAX_COUNTS:
                metrics.REFUSALS_LOST.inc()
                return
            counts = self._counts[sender] = Counter()
        counts[kind] += 1

    async def flush(self, publisher: BodyPublisher) -> None:
        """Stores the counts; counts that the broker does not store now are kept. Raises PublishError."""
        await self._send(publisher)
        self._pack()
        await self._send(publisher)

    async def flush_use(self, publisher: BodyPublisher) -> None:
        """Stores which keys were used. Raises PublishError."""
        self._pack_use()
        await self._send(publisher)

    async def run(self, publisher: BodyPublisher) -> None:
        """Flushes until cancelled; while the broker is away, the counts grow."""
        flushes = 0
        while True:
            await self.sleep(self.interval_s)
            flushes += 1
            try:
                await self.flush(publisher)
                if flushes % FLUSHES_PER_USE_FLUSH == 0:
                    await self.flush_use(publisher)
            except PublishError as error:
                log.warning("refusals_held", reason=error.reason)

    async def close(self, publisher: BodyPublisher) -> None:
        """The last flush; counts that cannot be stored within LAST_FLUSH_S are lost and logged."""
        try:
            async with asyncio.timeout(LAST_FLUSH_S):
                await self.flush(publisher)
                await self.flush_use(publisher)
        except (PublishError, TimeoutError):
            self._pack()
            lost = sum(message.quantity for message in self._messages)
            metrics.REFUSALS_LOST.inc(lost)
            log.warning("refusals_lost", requests=lost)

    def _pack(self) -> None:
        counts, self._counts = self._counts, {}
        for sender, kinds in counts.items():
            sender_refusals = [
                Refusal(kind.item_type, kind.reason, quantity, kind.outcome, kind.sender)
                for kind, quantity in kinds.items()
            ]
            self._add_message(sender, refusals.encode(sender_refusals), kinds.total())

    def _pack_use(self) -> None:
        used, self._used = self._used, {}
        by_minute: dict[int, list[KeyUse]] = {}
        for key_id, (organisation, requests, minute_ns) in used.items():
            by_minute.setdefault(minute_ns, []).append(KeyUse(organisation, key_id, requests))
        for minute_ns, uses in by_minute.items():
            sender = _RefusedSender(minute_ns, "", 0, "", "")
            for first in range(0, len(uses), MAX_USES_OF_A_MESSAGE):
                self._add_message(sender, refusals.encode_use(uses[first : first + MAX_USES_OF_A_MESSAGE]), 0)

    def _add_message(self, sender: _RefusedSender, body: bytes, quantity: int) -> None:
        self._messages_made += 1
        self._messages.append(_RefusalMessage(sender, f"outcome:{self._name}:{self._messages_made}", body, quantity))

    async def _send(self, publisher: BodyPublisher) -> None:
        while self._messages:
            message = self._messages[0]
            subject = subjects.raw(subjects.OUTCOME, message.sender.channel_id)
            await publisher.publish(subject, message.body, headers.write(_origin(message.sender), message.message_id))
            self._messages.popleft()


def _only_channel(key: Key) -> int:
    """The channel of a key that has exactly one, else 0: native events name theirs in a body that was not read."""
    return key.channels[0] if key.channels is not None and len(key.channels) == 1 else 0


def _channel_in(text: str) -> int:
    """The channel number in `text`, 0 for anything else."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
    return number if number <= MAX_CHANNEL_ID else 0


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
