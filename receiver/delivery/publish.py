"""Publishes a body and waits for the acknowledgement. Nothing is buffered: a body without one was not accepted.

PublishError
|- Unavailable   the broker is away, full or slow: 503, the sender should repeat the same bytes
|  `- Unconfirmed   as above, but the broker may have stored the body
`- BodyTooLarge  the broker will never take this body: 413
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Final, Protocol

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError

from ops.runtime.frames import NOTHING_SHARED, Block
from ops.runtime.group_commit import GroupCommit
from receiver import metrics
from schemas import subjects

RETRY_AFTER_S: Final = 2
SALT_BYTES: Final = 16
# A full stream needs seconds to drain. OTLP exporters drop data at once if they must wait longer than about 10 s.
RETRY_AFTER_FULL_S: Final = 5

# JetStream API error codes: what they mean for the sender.
_FULL_CODES: Final = frozenset({10047, 10077, 10122, 10123, 10023})  # storage, stream or account limit reached
_TOO_LARGE_CODES: Final = frozenset({10054})  # message larger than the stream takes
_BUSY_CODES: Final = frozenset({10167})  # too many requests queued in the server


class PublishError(Exception):
    """The broker did not take the body; `reason` labels the metric."""

    def __init__(self, reason: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Unavailable(PublishError):
    """Not now: the sender should repeat the same bytes."""


class Unconfirmed(Unavailable):
    """No acknowledgement came: the body may be stored or not."""


class BodyTooLarge(PublishError):
    """Never: larger than the broker's limit."""


@dataclass(slots=True)
class StoredBody:
    """The acknowledgement: the body is on disk as number `seq`; `duplicate` if the same message was stored before."""

    seq: int
    duplicate: bool


class BodyPublisher(Protocol):
    """Publishes bodies into RAW. Tests use a fake; StreamPublisher groups requests into batches."""

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached at this moment."""
        ...

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block = NOTHING_SHARED
    ) -> StoredBody:
        """Returns once the body is stored, with `headers` and those it shares with others. Raises PublishError."""
        ...


def fresh_salt() -> bytes:
    """A random salt, so that equal bytes of two requests are two messages."""
    return secrets.token_bytes(SALT_BYTES)


class StreamPublisher:
    """Publishes into RAW and waits for each ack, at most `timeout_s`."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._group = GroupCommit(client, subjects.RAW, timeout_s, metrics.PUBLISH_GROUP.observe)

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    def connection_lost(self) -> None:
        """Ends every wait: nats-py does not, and an ack cannot come over a new connection."""
        self._group.connection_lost()

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block = NOTHING_SHARED
    ) -> StoredBody:
        if not self._client.is_connected:
            raise _failure("disconnected")
        started = time.perf_counter()
        try:
            ack = await self._group.publish(subject, body, headers, shared)
        except nats.errors.MaxPayloadError as error:
            raise _failure("max_payload", BodyTooLarge) from error
        except NoStreamResponseError as error:
            raise _failure("no_stream") from error
        except APIError as error:
            raise _failure_of(error) from error
        except TimeoutError as error:  # nats.errors.TimeoutError is one too
            reason = "timeout" if self._client.is_connected else "disconnected"
            raise _failure(reason, Unconfirmed) from error
        except (nats.errors.Error, OSError, ValueError) as error:
            raise _failure("connection", Unconfirmed) from error
        metrics.PUBLISH_SECONDS.observe(time.perf_counter() - started)
        return StoredBody(ack.seq, bool(ack.duplicate))


def _failure(reason: str, kind: type[PublishError] = Unavailable, retry_after_s: int = RETRY_AFTER_S) -> PublishError:
    metrics.PUBLISH_FAILURES.labels(reason).inc()
    return kind(reason, retry_after_s)


def _failure_of(error: APIError) -> PublishError:
    if error.err_code in _FULL_CODES:
        return _failure("stream_full", retry_after_s=RETRY_AFTER_FULL_S)
    if error.err_code in _TOO_LARGE_CODES:
        return _failure("max_payload", BodyTooLarge)
    if error.err_code in _BUSY_CODES or error.code == 429:
        return _failure("busy")
    return _failure(f"api_{error.err_code}", Unconfirmed)
