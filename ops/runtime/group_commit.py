"""Stores concurrent publishes to one stream as a group, so that they share one fsync.

A group is an atomic batch (NATS ADR-50). It holds what arrived while the previous group was being stored; at low load
that is one message, and nothing waits. Callers decide what a message is and what its failure means.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.js.api import PubAck
from nats.js.errors import APIError
from nats.nuid import NUID

from ops.runtime import frames
from ops.runtime.frames import NOTHING_SHARED, Block
from schemas import headers as names

# Server limits: 1,000 messages per batch and 50 unfinished batches per stream, so 25 processes with two each.
MAX_MESSAGES: Final = 200
MAX_BYTES: Final = 8_000_000
# max_payload counts headers too, and the server closes the connection for a larger message. Our headers are at most
# this.
MAX_HEADERS_BYTES: Final = 16 * 1024
BATCHES_IN_FLIGHT: Final = 2


class _PendingPublish:
    """One publish, and the future of its caller."""

    __slots__ = ("body", "headers", "shared", "stored", "subject")

    def __init__(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block, stored: asyncio.Future[PubAck]
    ) -> None:
        self.subject = subject
        self.body = body
        self.headers = headers
        self.shared = shared
        self.stored = stored

    def all_headers(self) -> dict[str, str]:
        return {**self.shared.fields, **self.headers}


class GroupCommit:
    """Publishes to `stream` from any number of tasks. `observe` gets the number of messages in each group."""

    def __init__(
        self, client: Client, stream: str, timeout_s: float, observe: Callable[[int], object] | None = None
    ) -> None:
        prefix = NUID().next().decode()
        self._client = client
        self._jetstream = client.jetstream()
        self._stream = stream
        self._timeout_s = timeout_s
        self._observe = observe
        self._queue: deque[_PendingPublish] = deque()
        self._groups: dict[asyncio.Task[None], list[_PendingPublish]] = {}
        self._batch_names = (f"{prefix}{number}" for number in itertools.count())

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block = NOTHING_SHARED
    ) -> PubAck:
        """Returns the broker's ack once the message is stored. It is sent with `headers` and the headers in `shared`.

        Raises what nats-py's publish raises: nats.errors.Error (including APIError, MaxPayloadError) and OSError.
        """
        if len(body) + MAX_HEADERS_BYTES > self._client.max_payload:
            raise nats.errors.MaxPayloadError
        stored: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        self._queue.append(_PendingPublish(subject, body, headers, shared, stored))
        self._send()
        return await stored

    def connection_lost(self) -> None:
        """Fails every pending publish: an ack cannot arrive on a new connection, and nats-py would wait until its
        timeout.
        """
        lost = [message for group in self._groups.values() for message in group]
        _fail([*lost, *self._queue], nats.errors.ConnectionClosedError())
        self._queue.clear()

    def _send(self) -> None:
        while self._queue and len(self._groups) < BATCHES_IN_FLIGHT:
            group = self._next_group()
            if group:
                task = asyncio.create_task(self._settle(group))
                self._groups[task] = group
                task.add_done_callback(self._ended)

    def _next_group(self) -> list[_PendingPublish]:
        """Takes messages from the head of the queue and skips those whose caller was cancelled."""
        group: list[_PendingPublish] = []
        size_bytes = 0
        while self._queue and len(group) < MAX_MESSAGES:
            size_bytes += len(self._queue[0].body)
            if group and size_bytes > MAX_BYTES:
                break
            message = self._queue.popleft()
            if not message.stored.done():
                group.append(message)
        return group

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Whatever the reason, no caller may wait for an answer that will not come.
        _fail(self._groups.pop(task), nats.errors.ConnectionClosedError())
        self._send()

    async def _settle(self, group: list[_PendingPublish]) -> None:
        try:
            if self._observe is not None:
                self._observe(len(group))
            async with asyncio.timeout(self._timeout_s):
                await self._store(group)
        except TimeoutError:
            # The messages behind wait for the same broker, and have waited as long.
            _fail([*group, *self._queue], nats.errors.TimeoutError())
            self._queue.clear()
        except Exception as error:
            _fail(group, error)

    async def _store(self, group: list[_PendingPublish]) -> None:
        if len(group) == 1:
            await self._alone(group[0])
        elif not await self._stored_as_batch(group):
            await asyncio.gather(*(self._alone(message) for message in group))

    async def _stored_as_batch(self, group: list[_PendingPublish]) -> bool:
        """Returns False if the server refused the batch: nothing is stored then, and each message may be tried alone.

        The server refuses a whole batch for one known message id, or when only some of it would fit into the stream.
        """
        try:
            await self._as_batch(group)
        except APIError:
            return False
        return True

    async def _alone(self, message: _PendingPublish) -> None:
        try:
            ack = await self._stored(message, {})
        except (nats.errors.Error, OSError) as error:
            _fail([message], error)
        else:
            _resolve(message, ack)

    async def _as_batch(self, group: list[_PendingPublish]) -> None:
        """Stores all of `group` or nothing. The ack names the last message; the others have the numbers before it."""
        name = next(self._batch_names)
        if frames.can_write(self._client):
            batch = frames.lines({names.BATCH_ID: name, names.EXPECTED_STREAM: self._stream})
            frames.write(self._client, [_framed(message, batch, n) for n, message in enumerate(group[:-1], 1)])
        else:
            for number, message in enumerate(group[:-1], 1):
                batch_headers = _of_batch(name, number) | {names.EXPECTED_STREAM: self._stream}
                await self._client.publish(message.subject, message.body, headers=message.all_headers() | batch_headers)
        last = await self._stored(group[-1], _of_batch(name, len(group)) | {names.BATCH_COMMIT: "1"})
        for behind, message in enumerate(reversed(group)):
            _resolve(message, PubAck(stream=last.stream, seq=last.seq - behind))

    async def _stored(self, message: _PendingPublish, trace_headers: dict[str, str]) -> PubAck:
        headers = message.all_headers() | trace_headers
        return await self._jetstream.publish(message.subject, message.body, self._timeout_s, self._stream, headers)


def _framed(message: _PendingPublish, batch: bytes, number: int) -> tuple[bytes, bytes]:
    own = frames.lines(message.headers)
    lines = b"%s%s%s%s: %d\r\n" % (message.shared.lines, own, batch, names.BATCH_SEQUENCE.encode(), number)
    return frames.frame(message.subject, message.body, lines), message.body


def _of_batch(name: str, number: int) -> dict[str, str]:
    return {names.BATCH_ID: name, names.BATCH_SEQUENCE: str(number)}


def _resolve(message: _PendingPublish, ack: PubAck) -> None:
    if not message.stored.done():
        message.stored.set_result(ack)


def _fail(group: list[_PendingPublish], error: Exception) -> None:
    for message in group:
        if not message.stored.done():
            message.stored.set_exception(error)
