"""Reads a range of a stream in order and without gaps, without affecting other consumers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerInfo
from nats.js.errors import APIError

from ops.runtime.stream_state import open_reader
from schemas import headers as names

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

# Messages per fetch. With the largest bodies that is 192 MB; nats-py discards data above 256 MB.
FETCH_BODIES: Final = 32
FETCH_HEADERS: Final = 500
FETCH_TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 5
_DELETE_FAILED: Final = 10057


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a stream. With headers only, `body` is empty and `size_bytes` still gives the body's size."""

    seq: int
    subject: str
    headers: Mapping[str, str]
    body: bytes
    size_bytes: int
    stored_at_ns: int


async def read_messages(
    js: JetStreamContext,
    stream: str,
    seqs: range,
    *,
    subjects: Sequence[str] = (),
    headers_only: bool = False,
) -> AsyncIterator[StoredMessage]:
    """Yields the messages on `subjects` with sequences in `seqs`. Raises NatsError when the broker stays away.

    Nothing is acknowledged. If a fetch is interrupted, its messages are lost, so the consumer is recreated after the
    last message that came in order.
    """
    next_seq, failures = seqs.start, 0
    while next_seq < seqs.stop:
        reader = await open_reader(js, stream, next_seq, headers_only=headers_only, subjects=subjects)
        try:
            async for message in _until_gap(js, stream, reader, FETCH_HEADERS if headers_only else FETCH_BODIES):
                if message.seq >= seqs.stop:
                    return
                next_seq, failures = message.seq + 1, 0
                yield message
            if await _is_done(js, stream, next_seq, subjects):
                return
        except NatsError:
            if failures == ATTEMPTS:
                raise
        finally:
            with contextlib.suppress(NatsError):
                await js.delete_consumer(stream, reader.name)
        failures += 1
        if failures > ATTEMPTS:
            raise NatsTimeout


async def delete(js: JetStreamContext, stream: str, seq: int) -> None:
    """Deletes one message. A missing message is no error: REFUSED discards its oldest messages itself."""
    try:
        await js.delete_msg(stream, seq)
    except APIError as error:
        if error.err_code != _DELETE_FAILED or "no message found" not in (error.description or ""):
            raise


async def count(js: JetStreamContext, stream: str, seqs: range, subjects: Sequence[str] = ()) -> int:
    """The number of messages that `read` would yield."""
    if not seqs:
        return 0
    return await _pending(js, stream, seqs.start, subjects) - await _pending(js, stream, seqs.stop, subjects)


async def _is_done(js: JetStreamContext, stream: str, next_seq: int, subjects: Sequence[str]) -> bool:
    return await _pending(js, stream, next_seq, subjects) == 0


async def _pending(js: JetStreamContext, stream: str, first_seq: int, subjects: Sequence[str]) -> int:
    reader = await open_reader(js, stream, first_seq, headers_only=True, subjects=subjects)
    await js.delete_consumer(stream, reader.name)
    return reader.num_pending or 0


async def _until_gap(
    js: JetStreamContext, stream: str, reader: ConsumerInfo, fetch_messages: int
) -> AsyncIterator[StoredMessage]:
    """Yields messages until the end, the first gap, or a timeout."""
    subscription = await js.pull_subscribe_bind(consumer=reader.name, stream=stream)
    expected, pending = 1, reader.num_pending or 0
    try:
        while pending > 0:
            try:
                batch = await subscription.fetch(min(fetch_messages, pending), timeout=FETCH_TIMEOUT_S)
            except NatsTimeout:
                return
            for message in batch:
                number, stored, pending = _read(message)
                if number != expected:
                    return
                expected += 1
                yield stored
    finally:
        with contextlib.suppress(NatsError):
            await subscription.unsubscribe()


def _read(message: Msg) -> tuple[int, StoredMessage, int]:
    """Returns (number of this delivery, the message, messages still pending)."""
    tokens = message.reply.split(".")
    first = 2 if len(tokens) == 9 else 4  # as in workers/consume/message.py: two more tokens with a JetStream domain
    headers = message.headers or {}
    size_bytes = int(headers.get(names.STORED_SIZE, len(message.data)))
    stored = StoredMessage(
        int(tokens[first + 3]), message.subject, headers, message.data, size_bytes, int(tokens[first + 5])
    )
    return int(tokens[first + 4]), stored, int(tokens[first + 6])
