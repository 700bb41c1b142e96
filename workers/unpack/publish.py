"""Publishes items to the broker, within limits of number and bytes, and retries until they are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from tenacity import AsyncRetrying, retry_if_exception

from ops.runtime.process.backoff import Backoff
from schemas import headers, subjects
from workers import metrics
from workers.clock import Clock

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 5.0
_BACKOFF: Final = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)

# (subject, body, headers): returns when the broker has stored it, raises NatsError if it may not have.
PublishItem = Callable[[str, bytes, dict[str, str]], Awaitable[object]]


@dataclass(slots=True)
class ItemMessage:
    """One message to be published. `headers` are never changed: a retry must not send what a failed try added."""

    subject: str
    body: bytes
    headers: dict[str, str]


def _is_temporary(error: BaseException) -> bool:
    return isinstance(error, NatsError | OSError) and not isinstance(error, MaxPayloadError)


class ItemPublisher(Protocol):
    """Publishes the items of one body."""

    async def publish(self, item_messages: Sequence[ItemMessage]) -> None:
        """Returns when the broker has stored all of them; retries until then."""


class OneByOne:
    """Each item is a publish with an acknowledgement of its own; many run at once, within a number and a byte budget.
    All publishes of the process share their fsyncs (ops/runtime/group_commit.py).

    While the broker is full or away, this waits and keeps the body: returning the body would count as a delivery, and
    after six deliveries a message is not handled any more.
    """

    def __init__(self, publish: PublishItem, clock: Clock, *, messages: int, size_bytes: int) -> None:
        self._publish = publish
        self._clock = clock
        self._slots = asyncio.Semaphore(messages)
        self._limit_bytes = size_bytes
        self._in_flight_bytes = 0
        self._freed = asyncio.Condition()
        self._is_delayed = False
        self._retrying = AsyncRetrying(
            retry=retry_if_exception(_is_temporary),
            wait=lambda state: _BACKOFF.pause_s(state.attempt_number + 1),  # after the first try
            before_sleep=lambda state: self._failed(state.outcome.exception() if state.outcome else None),
            sleep=clock.sleep,
            reraise=True,
        )

    async def publish(self, item_messages: Sequence[ItemMessage]) -> None:
        if len(item_messages) == 1:
            await self._one(item_messages[0])
        elif item_messages:
            await _all([self._one(item_message) for item_message in item_messages])

    async def _one(self, item_message: ItemMessage) -> None:
        async with self._slots:
            await self._take(len(item_message.body))
            try:
                await self._until_stored(item_message)
            finally:
                await self._give(len(item_message.body))

    async def _until_stored(self, item_message: ItemMessage) -> None:
        """Tries until it is stored. The retry library is used after a failure only (docs/decisions/0026-retries.md)."""
        try:
            await self._publish_one(item_message)
        except MaxPayloadError:
            raise  # a retry would fail in the same way
        except (NatsError, OSError) as error:
            self._failed(error)
            await self._clock.sleep(_BACKOFF.pause_s(1))
            await self._retrying(self._publish_one, item_message)
        self._log_change(is_delayed=False)

    async def _publish_one(self, item_message: ItemMessage) -> None:
        await self._publish(item_message.subject, item_message.body, item_message.headers.copy())

    def _failed(self, error: BaseException | None) -> None:
        metrics.PUBLISH_RETRIES.inc()
        self._log_change(is_delayed=True, error=str(error) or type(error).__name__)

    def _log_change(self, *, is_delayed: bool, error: str = "") -> None:
        """Logs the beginning and the end of a delay, not each item."""
        if is_delayed != self._is_delayed:
            self._is_delayed = is_delayed
            (log.warning if is_delayed else log.info)("items_held" if is_delayed else "items_resumed", error=error)

    async def _take(self, size_bytes: int) -> None:
        """Waits for room. An item larger than the whole budget is sent when nothing else is being sent."""
        async with self._freed:
            await self._freed.wait_for(
                lambda: not self._in_flight_bytes or self._in_flight_bytes + size_bytes <= self._limit_bytes
            )
            self._in_flight_bytes += size_bytes

    async def _give(self, size_bytes: int) -> None:
        async with self._freed:
            self._in_flight_bytes -= size_bytes
            self._freed.notify_all()


class AsReplay:
    """Items of a replayed body go to its workers' second durables, and only those of the types it was replayed for."""

    def __init__(self, publisher: ItemPublisher) -> None:
        self._publisher = publisher

    async def publish(self, item_messages: Sequence[ItemMessage]) -> None:
        await self._publisher.publish(
            [
                ItemMessage(subjects.replayed(item_message.subject), item_message.body, item_message.headers)
                for item_message in item_messages
                if _is_wanted(item_message)
            ]
        )


def _is_wanted(item_message: ItemMessage) -> bool:
    types = item_message.headers.get(headers.REPLAY_TYPES, "")
    return not types or item_message.subject.split(".")[1] in types.split(",")


async def _all(jobs: Sequence[Awaitable[None]]) -> None:
    """Waits for every one, then raises the first error: no publish may outlive the decision about its body."""
    for result in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
