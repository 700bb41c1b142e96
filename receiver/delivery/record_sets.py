"""Small records that all receivers share, in a bucket that gives each organisation a bounded share of its own.

An organisation's share is a fixed number of sets. A record belongs to the set that its name hashes to; a set is one
message of the bucket and holds a few dozen records. A full set drops its oldest record, so a flood of records removes
only older records of the same organisation. Two receivers that change one set at once are kept apart by the broker:
the second write is refused and done again on what the first one wrote.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from ops.runtime.stream_config import stream_config
from receiver.delivery.publish import Unavailable
from schemas import headers

# The records of one set, together: one read and one write move no more than this.
SET_BYTES: Final = 2048
# What the broker adds to a set when it counts its bytes: record header, subject and headers. Measured: 143 to 158.
SET_OVERHEAD_BYTES: Final = 192
# This many organisations can fill their shares before the bucket drops its oldest sets.
SHARES: Final = 8
MAX_VALUE_BYTES: Final = 255
# For a bucket without a limit of its own.
UNLIMITED_BUCKET_BYTES: Final = 512 * 1024**2
# Each failed attempt means that another receiver's write succeeded.
ATTEMPTS: Final = 10
PAUSE_S: Final = 0.02

_HEAD: Final = struct.Struct(">16sQB")
_WRONG_SEQ: Final = 10071

T = TypeVar("T")
# The result of a change, and the records after it; None changes nothing.
Changed: TypeAlias = tuple[T, "list[Record] | None"]


class BucketMissing(Unavailable):
    """The bucket does not exist: it has no records, and takes none until `axonpush migrate` has created it."""


class Record(NamedTuple):
    """One record: 16 bytes of name, its time, and a value of at most 255 bytes."""

    name: bytes
    made_at_ns: int
    value: bytes


@dataclass(frozen=True, slots=True)
class RecordKind:
    """One kind of records in a bucket: the token of its subjects, its part of each share, and how long it is kept."""

    token: str
    share: float
    kept_ns: int


def encode(records: Sequence[Record]) -> bytes:
    """A set as the broker stores it, without its oldest records if they are more than a set holds."""
    parts: list[bytes] = []
    size_bytes = 0
    for record in reversed(records):
        size_bytes += _HEAD.size + len(record.value)
        if size_bytes > SET_BYTES:
            break
        parts.append(_HEAD.pack(record.name, record.made_at_ns, len(record.value)) + record.value)
    return b"".join(reversed(parts))


def decode(data: bytes) -> list[Record]:
    """The reverse of `encode`, oldest first. Raises ValueError for what is no set."""
    records, at = [], 0
    while at < len(data):
        try:
            name, made_at_ns, length = _HEAD.unpack_from(data, at)
        except struct.error as error:
            raise ValueError(f"expected whole records, found {len(data) - at} bytes after the last one") from error
        at += _HEAD.size + length
        records.append(Record(name, made_at_ns, data[at - length : at]))
    if at > len(data):
        raise ValueError(f"expected {at} bytes, found {len(data)}")
    return records


def sets_in_share(bucket_bytes: int, share: float) -> int:
    """How many sets one organisation may have in a bucket of this size."""
    size_bytes = bucket_bytes if bucket_bytes > 0 else UNLIMITED_BUCKET_BYTES
    return max(1, int(size_bytes / SHARES * share) // (SET_BYTES + SET_OVERHEAD_BYTES))


class RecordSets:
    """The records of one bucket. Every method raises Unavailable when the broker cannot be asked."""

    def __init__(self, client: Client, bucket: str, timeout_s: float, clock_ns: Callable[[], int]) -> None:
        self._client = client
        self._bucket = bucket
        self._stream = f"KV_{bucket}"
        self._js = client.jetstream(timeout=timeout_s)
        self._timeout_s = timeout_s
        self._clock_ns = clock_ns
        self._bucket_bytes: int | None = None
        self._is_direct = True
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def find(self, organisation: str, kind: RecordKind, name: bytes) -> Record | None:
        """The record of this name, None if there is none or it was dropped."""
        async with self._asking():
            _, records = await self._read(await self._subject(organisation, kind, name), kind)
        return next((existing for existing in records if existing.name == name), None)

    async def add(self, organisation: str, kind: RecordKind, record: Record) -> Record | None:
        """None if the name was free and `record` is stored under it now, else the record that was there before."""

        def change(records: list[Record]) -> Changed[Record | None]:
            same_name = next((existing for existing in records if existing.name == record.name), None)
            return same_name, None if same_name else [*records, record]

        return await self._change(organisation, kind, record.name, change)

    async def put(self, organisation: str, kind: RecordKind, record: Record) -> None:
        """Stores `record` in the place of the one of its name, or as a new one."""

        def change(records: list[Record]) -> Changed[None]:
            if any(existing.name == record.name for existing in records):
                return None, [record if existing.name == record.name else existing for existing in records]
            return None, [*records, record]

        await self._change(organisation, kind, record.name, change)

    async def remove(self, organisation: str, kind: RecordKind, record: Record) -> None:
        """Removes exactly this record; another one of its name stays."""

        def change(records: list[Record]) -> Changed[None]:
            return None, [existing for existing in records if existing != record] if record in records else None

        await self._change(organisation, kind, record.name, change)

    async def _change(
        self, organisation: str, kind: RecordKind, name: bytes, change: Callable[[list[Record]], Changed[T]]
    ) -> T:
        async with self._asking():
            subject = await self._subject(organisation, kind, name)
        lock = self._locks.get(subject)
        if lock is None:
            lock = self._locks[subject] = asyncio.Lock()
        async with lock:  # requests of one process take turns, so conflicts come from other processes only
            for _ in range(ATTEMPTS):
                async with self._asking():
                    seq, records = await self._read(subject, kind)
                    result, changed = change(records)
                    if changed is None or await self._write(subject, seq, changed):
                        return result
                await asyncio.sleep(random.uniform(0, PAUSE_S))
        raise Unavailable("idempotency_contended")

    async def _read(self, subject: str, kind: RecordKind) -> tuple[int, list[Record]]:
        """(sequence of the set's last write or 0, its records that are not too old)."""
        try:
            message = await self._js.get_last_msg(self._stream, subject, direct=self._is_direct)
        except NotFoundError:
            return 0, []
        oldest_ns = self._clock_ns() - kind.kept_ns
        try:
            records = decode(message.data or b"")
        except ValueError:  # not written by this version; it is replaced by the next write
            records = []
        return message.seq or 0, [record for record in records if record.made_at_ns > oldest_ns]

    async def _write(self, subject: str, seq: int, records: list[Record]) -> bool:
        try:
            await self._js.publish(
                subject,
                encode(records),
                self._timeout_s,
                self._stream,
                headers={headers.EXPECTED_SUBJECT_SEQ: str(seq)},
            )
        except APIError as error:
            if error.err_code != _WRONG_SEQ:
                raise
            return False
        return True

    async def _subject(self, organisation: str, kind: RecordKind, name: bytes) -> str:
        if self._bucket_bytes is None:
            try:
                config = await stream_config(self._client, self._stream, self._timeout_s)
            except NotFoundError as error:
                raise BucketMissing("idempotency_bucket_missing") from error
            self._bucket_bytes, self._is_direct = config.max_bytes or 0, bool(config.allow_direct)
        number = int.from_bytes(name, "big") % sets_in_share(self._bucket_bytes, kind.share)
        owner = blake2b(organisation.encode(), digest_size=8).hexdigest()
        return f"$KV.{self._bucket}.{owner}.{kind.token}.{number:x}"

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """One exchange with the broker, with a deadline. Every error in it becomes Unavailable."""
        if not self._client.is_connected:
            raise Unavailable("disconnected")
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (APIError, nats.errors.Error, OSError, TimeoutError) as error:
            raise Unavailable("idempotency_bucket") from error
