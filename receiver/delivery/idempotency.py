"""The first answer to each idempotency key, and which bodies were refused: stored in buckets that all receivers read.

The claim is written before the body is published: it fixes the message id and the time of arrival, and from these the
row. So two senders of one key, on two receivers or a day apart, can only make the same row.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from nats.aio.client import Client

from receiver.delivery.publish import Unavailable
from receiver.delivery.record_sets import MAX_VALUE_BYTES, BucketMissing, Record, RecordKind, RecordSets
from schemas import subjects
from schemas.registry import Key

_NS_PER_S: Final = 10**9
# How long a repeat under the same key is recognised.
_CLAIMS: Final = RecordKind("key", share=0.75, kept_ns=24 * 3600 * _NS_PER_S)
# Longer than the broker's duplicate window (ops/provisioning/streams.py: two minutes).
_REFUSED: Final = RecordKind("refused", share=0.25, kept_ns=600 * _NS_PER_S)
_VALUE: Final = struct.Struct(">16sQB")
_MAX_IDENTIFIER_BYTES: Final = MAX_VALUE_BYTES - _VALUE.size


class BodyResult(IntEnum):
    """The result of a stored body: not known yet, rows, refused, or rows of some of its events only."""

    UNKNOWN = 0
    ROWS = 1
    REFUSED = 2
    PARTLY = 3


@dataclass(frozen=True, slots=True)
class RecordOwner:
    """The owner of records: an organisation, and one class of its keys."""

    organisation: str
    key_class: str

    @classmethod
    def of(cls, key: Key) -> RecordOwner:
        return cls(key.organisation, key.kind)


@dataclass(frozen=True, slots=True)
class FirstBody:
    """The first body under a key. `seq` is its place in RAW, 0 until it is known to be stored there.

    `fingerprint` is schemas.native_event.fingerprint of its events. `identifier` is what a later answer repeats, ''
    where that of the repeat says the same.
    """

    received_at_ns: int
    fingerprint: bytes
    identifier: str = ""
    seq: int = 0
    result: BodyResult = BodyResult.UNKNOWN

    def record(self, name: bytes) -> Record:
        """As it is stored. An identifier that is too long is left out: the answer then repeats the later one's."""
        text = self.identifier.encode("utf-8", "replace")
        text = text if len(text) <= _MAX_IDENTIFIER_BYTES else b""
        return Record(name, self.received_at_ns, _VALUE.pack(self.fingerprint, self.seq, self.result) + text)

    @classmethod
    def of(cls, record: Record) -> FirstBody:
        """The reverse of `record`; raises ValueError for what is none."""
        try:
            fingerprint, seq, result = _VALUE.unpack_from(record.value)
            identifier = record.value[_VALUE.size :].decode()
        except struct.error as error:
            raise ValueError(f"expected the record of an idempotency key: {error}") from error
        return cls(record.made_at_ns, fingerprint, identifier, seq, BodyResult(result))


class FirstAnswers(Protocol):
    """The seam over the buckets. Every method raises Unavailable when the broker cannot be asked."""

    async def claim(self, owner: RecordOwner, name: bytes, claimed: FirstBody) -> FirstBody | None:
        """None if the key was free and is `claimed` now, else what came first."""
        ...

    async def find(self, owner: RecordOwner, name: bytes) -> FirstBody | None:
        """What came first under the key, None if that is not known any more."""
        ...

    async def mark(self, owner: RecordOwner, name: bytes, stored: FirstBody) -> None:
        """Notes where the body is stored, or what became of it."""
        ...

    async def release(self, owner: RecordOwner, name: bytes, claimed: FirstBody) -> None:
        """Gives back a key that `claimed` holds and whose body was refused."""
        ...

    async def refuse(self, owner: RecordOwner, message_id: str) -> None:
        """Notes that the body of this message was refused: the broker takes equal bytes for a duplicate."""
        ...

    async def was_refused(self, owner: RecordOwner, message_id: str) -> bool:
        """Whether the body of this message was refused a short while ago, by whichever receiver."""
        ...


class BucketFirstAnswers:
    """FirstAnswers in the two buckets that `axonpush migrate` makes; records expire there by themselves."""

    def __init__(self, client: Client, timeout_s: float, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._secret = RecordSets(client, subjects.IDEMPOTENCY_BUCKET, timeout_s, clock_ns)
        self._public = RecordSets(client, subjects.PUBLIC_IDEMPOTENCY_BUCKET, timeout_s, clock_ns)

    async def claim(self, owner: RecordOwner, name: bytes, claimed: FirstBody) -> FirstBody | None:
        return _first(await self._of(owner).add(owner.organisation, _CLAIMS, claimed.record(name)))

    async def find(self, owner: RecordOwner, name: bytes) -> FirstBody | None:
        return _first(await self._of(owner).find(owner.organisation, _CLAIMS, name))

    async def mark(self, owner: RecordOwner, name: bytes, stored: FirstBody) -> None:
        await self._of(owner).put(owner.organisation, _CLAIMS, stored.record(name))

    async def release(self, owner: RecordOwner, name: bytes, claimed: FirstBody) -> None:
        await self._of(owner).remove(owner.organisation, _CLAIMS, claimed.record(name))

    async def refuse(self, owner: RecordOwner, message_id: str) -> None:
        record = Record(bytes.fromhex(message_id), self._clock_ns(), b"")
        await self._of(owner).put(owner.organisation, _REFUSED, record)

    async def was_refused(self, owner: RecordOwner, message_id: str) -> bool:
        try:
            return await self._of(owner).find(owner.organisation, _REFUSED, bytes.fromhex(message_id)) is not None
        except BucketMissing:
            return False

    def _of(self, owner: RecordOwner) -> RecordSets:
        return self._public if owner.key_class == "public" else self._secret


def _first(record: Record | None) -> FirstBody | None:
    try:
        return None if record is None else FirstBody.of(record)
    except ValueError as error:
        raise Unavailable("idempotency_entry") from error
