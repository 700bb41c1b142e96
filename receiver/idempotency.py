"""What was answered first to an idempotency key, kept in a bucket that all receivers share. Who asks is native.py.

The claim is written before the body is published: it fixes the message id and the time of arrival, and from these the
row. So two senders of one key, on two receivers or a day apart, can only make the same row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Protocol

import nats.errors
import orjson
from nats.aio.client import Client
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from receiver.publish import Unavailable
from schemas import subjects

# A key may expire, or a lagging replica may not know it yet, between the refusal to make it and the look at it.
CLAIM_ATTEMPTS: Final = 3
CLAIM_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class First:
    """The first body under a key. `seq` is its place in RAW once it is known to be stored there.

    `fingerprint` is schemas.native.fingerprint of its events; the rest is what a later answer repeats.
    """

    received_at_ns: int
    environment: str
    identifier: str
    fingerprint: str
    seq: int | None = None

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> First:
        """The reverse of encode; raises ValueError for what is none."""
        try:
            return cls(**orjson.loads(data))
        except TypeError as error:
            raise ValueError(f"expected an entry of the bucket {subjects.IDEMPOTENCY_BUCKET}: {error}") from error


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as RAW keeps it."""

    headers: Mapping[str, str]
    body: bytes


class FirstAnswers(Protocol):
    """The seam over the bucket. Every method raises Unavailable when the broker cannot be asked."""

    async def claim(self, name: str, mine: First) -> First | None:
        """None if the key was free and is `mine` now, else what came first."""
        ...

    async def mark(self, name: str, stored: First) -> None:
        """Notes where the body is stored."""
        ...

    async def kept(self, seq: int) -> Kept | None:
        """The first body itself, None if RAW has it no more."""
        ...


class BucketFirstAnswers:
    """FirstAnswers in the bucket that `axonpush migrate` makes; entries expire there by themselves."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._stream = client.jetstream(timeout=timeout_s)
        self._timeout_s = timeout_s
        self._bucket: KeyValue | None = None

    async def claim(self, name: str, mine: First) -> First | None:
        for _ in range(CLAIM_ATTEMPTS):
            found = await self._claim(name, mine.encode())
            if found is None:
                return None
            if found:
                return _decoded(found)
            await asyncio.sleep(CLAIM_PAUSE_S)
        raise Unavailable("idempotency_contended")

    async def _claim(self, name: str, value: bytes) -> bytes | None:
        """None: ours. Bytes: another's; empty where it is gone again."""
        try:
            async with asyncio.timeout(self._timeout_s):
                bucket = await self._opened()
                try:
                    await bucket.create(name, value)
                except KeyWrongLastSequenceError:
                    return (await bucket.get(name)).value or b""
        except KeyNotFoundError:
            return b""
        except (APIError, NotFoundError, nats.errors.Error, OSError, TimeoutError) as error:
            raise Unavailable("idempotency_bucket") from error
        return None

    async def mark(self, name: str, stored: First) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await (await self._opened()).put(name, stored.encode())
        except (APIError, nats.errors.Error, OSError, TimeoutError) as error:
            raise Unavailable("idempotency_bucket") from error

    async def kept(self, seq: int) -> Kept | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._stream.get_msg(subjects.RAW, seq)
        except NotFoundError:
            return None
        except (APIError, nats.errors.Error, OSError, TimeoutError) as error:
            raise Unavailable("idempotency_body") from error
        return Kept(found.headers or {}, found.data or b"")

    async def _opened(self) -> KeyValue:
        if not self._client.is_connected:
            raise Unavailable("disconnected")
        if self._bucket is None:
            self._bucket = await self._stream.key_value(subjects.IDEMPOTENCY_BUCKET)
        return self._bucket


def _decoded(data: bytes) -> First:
    try:
        return First.decode(data)
    except ValueError as error:
        raise Unavailable("idempotency_entry") from error
