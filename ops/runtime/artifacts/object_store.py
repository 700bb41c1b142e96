"""Files in a bucket of the broker's object store (ADR-20): put, get, delete, and what came after a revision.

Not nats-py's: that one creates consumers to read, and whoever may create consumers may have data delivered to any
subject. This one reads with direct requests only, which any replica answers, so a reader needs two subjects.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import nats.js.errors
from nats.nuid import NUID

from ops.runtime.stream_config import api_answer, stream_config
from schemas import headers

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

# Bytes of one message, a piece of an object; on the wire, `chunks` counts them. Larger ones are fewer writes to disk;
# the broker takes 8 MB.
PIECE_BYTES: Final = 1024 * 1024
# Messages of one answer; of whole pieces so many that nats-py's buffer of 64 MB holds them.
BATCH: Final = 250
BATCH_BYTES: Final = 16 * 1024 * 1024
_END: Final = "204"
_NOTHING: Final = "404"
_TOO_LARGE_FOR_STREAM: Final = 10077


class StoreFull(Exception):
    """The bucket's size budget is used up."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object at `revision` of the bucket. `is_deleted`: it was there, and is not any more."""

    name: str
    revision: int
    nuid: str
    size_bytes: int
    pieces: int
    digest: str
    changed_at: str
    is_deleted: bool


class DamagedObject(Exception):
    """The bytes in the store are not those that were put there."""


class ObjectStore:
    """One bucket. Methods raise nats.errors.Error, OSError or TimeoutError when the broker does not answer."""

    def __init__(self, client: Client, bucket: str, timeout_s: float = 10.0) -> None:
        self._client = client
        self._js = client.jetstream(timeout=timeout_s)
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"
        self._timeout_s = timeout_s

    async def put(self, name: str, data: bytes) -> ObjectInfo:
        """Stores an object, in place of an older one of this name. Raises StoreFull."""
        before = await self.info(name)
        nuid = NUID().next().decode()
        pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
        try:
            for piece in pieces:
                await self._js.publish(f"$O.{self._bucket}.C.{nuid}", piece, stream=self._stream)
            info = self._description(name, nuid, data, len(pieces))
            ack = await self._js.publish(self._meta_subject(name), info, stream=self._stream, headers=_rollup())
        except nats.js.errors.APIError as error:
            await self._purge(nuid)
            if error.err_code == _TOO_LARGE_FOR_STREAM or "maximum bytes" in (error.description or ""):
                raise StoreFull from error
            raise
        if before is not None and not before.is_deleted:
            await self._purge(before.nuid)
        return _info(info, ack.seq)

    async def get(self, name: str) -> bytes | None:
        """The object's bytes, None if there is none. Raises DamagedObject."""
        info = await self.info(name)
        return None if info is None or info.is_deleted else await self.content(info)

    async def content(self, info: ObjectInfo) -> bytes | None:
        """The bytes of an object that is known; None if it was replaced or deleted meanwhile. Raises DamagedObject."""
        pieces: list[bytes] = []
        seq, subject = 1, f"$O.{self._bucket}.C.{info.nuid}"
        while len(pieces) < info.pieces:
            batch = await self._batch(seq, subject, info.pieces - len(pieces))
            if not batch:
                return None
            pieces += [message.data for message in batch]
            seq = _seq(batch[-1]) + 1
        data = b"".join(pieces)
        if info.digest and _digest(data) != info.digest:
            raise DamagedObject(f"object {info.name}: expected its bytes, found others")
        return data

    async def info(self, name: str) -> ObjectInfo | None:
        """What is known of an object; of a deleted one too."""
        try:
            message = await self._js.get_last_msg(self._stream, self._meta_subject(name), direct=True)
        except nats.js.errors.NotFoundError:
            return None
        return _info(message.data or b"{}", message.seq or 0)

    async def delete(self, name: str) -> bool:
        """Whether there was an object. Its name stays known as deleted, so that followers hear of it."""
        info = await self.info(name)
        if info is None or info.is_deleted:
            return False
        gone = self._description(name, info.nuid, None, 0)
        await self._js.publish(self._meta_subject(name), gone, stream=self._stream, headers=_rollup())
        await self._purge(info.nuid)
        return True

    async def forget(self, info: ObjectInfo) -> None:
        """Removes the name of a deleted object."""
        if info.is_deleted:
            await self.purge_subject(self._meta_subject(info.name))

    async def changes(self, after_revision: int) -> list[ObjectInfo]:
        """The next objects that were put or deleted after a revision, oldest first; empty if there are none."""
        batch = await self._batch(after_revision + 1, f"$O.{self._bucket}.M.>", BATCH)
        return [_info(message.data, _seq(message)) for message in batch]

    async def objects(self) -> list[ObjectInfo]:
        """Every object, also deleted ones whose names are still known."""
        known: list[ObjectInfo] = []
        while batch := await self.changes(known[-1].revision if known else 0):
            known += batch
        return known

    async def used_bytes(self) -> tuple[int, int]:
        """(bytes in the bucket, its size budget; -1 = none)."""
        answer = await self._ask(f"$JS.API.STREAM.INFO.{self._stream}", {})
        return int(answer["state"]["bytes"]), int(answer["config"].get("max_bytes") or -1)

    async def exists(self) -> bool:
        """Whether `axonpush migrate` has made the bucket."""
        try:
            await stream_config(self._client, self._stream, self._timeout_s)
        except nats.js.errors.NotFoundError:
            return False
        return True

    async def orphans(self, known: set[str]) -> list[str]:
        """Subjects of pieces that no object of `known` (nuids) owns: their writers did not finish."""
        pieces = {"subjects_filter": f"$O.{self._bucket}.C.>"}
        subjects = (await self._ask(f"$JS.API.STREAM.INFO.{self._stream}", pieces))["state"].get("subjects") or {}
        return [subject for subject in subjects if subject.rpartition(".")[2] not in known]

    async def purge_subject(self, subject: str) -> None:
        """Removes the pieces on a subject."""
        await self._ask(f"$JS.API.STREAM.PURGE.{self._stream}", {"filter": subject})

    def _meta_subject(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def _description(self, name: str, nuid: str, data: bytes | None, pieces: int) -> bytes:
        """An object's description as every client of the object store reads it; without `data`, of a deleted one."""
        description: dict[str, Any] = {
            "name": name,
            "options": {"max_chunk_size": PIECE_BYTES},
            "bucket": self._bucket,
            "nuid": nuid,
            "size": len(data or b""),
            "mtime": dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z"),
            "chunks": pieces,
            "digest": "" if data is None else _digest(data),
        }
        return json.dumps(description | ({"deleted": True} if data is None else {})).encode()

    async def _purge(self, nuid: str) -> None:
        await self.purge_subject(f"$O.{self._bucket}.C.{nuid}")

    async def _ask(self, subject: str, request: dict[str, Any]) -> dict[str, Any]:
        return await api_answer(self._client, subject, json.dumps(request).encode(), self._timeout_s)

    async def _batch(self, seq: int, subject: str, messages: int) -> list[Msg]:
        """At most `messages` of the subject from `seq` on."""
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        request = {"seq": seq, "batch": min(messages, BATCH), "max_bytes": BATCH_BYTES, "next_by_subj": subject}
        try:
            await self._client.publish(f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(request).encode(), inbox)
            return await self._collect(answers)
        finally:
            await answers.unsubscribe()

    async def _collect(self, answers: Any) -> list[Msg]:
        batch: list[Msg] = []
        while True:
            async with asyncio.timeout(self._timeout_s):
                message: Msg = await answers.next_msg(self._timeout_s)
            broker_headers = message.headers or {}
            status = broker_headers.get("Status", "") if not message.data else ""
            if status in (_END, _NOTHING):
                return batch
            if status:
                raise nats.errors.NoRespondersError
            batch.append(message)


def _seq(message: Msg) -> int:
    return int((message.headers or {})[headers.STORED_SEQ])


def _rollup() -> dict[str, Any]:
    return {headers.ROLLUP: "sub"}


def _digest(data: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()


def _info(data: bytes, revision: int) -> ObjectInfo:
    try:
        fields = json.loads(data)
        return ObjectInfo(
            str(fields["name"]),
            revision,
            str(fields.get("nuid", "")),
            int(fields.get("size", 0)),
            int(fields.get("chunks", 0)),
            str(fields.get("digest", "")),
            str(fields.get("mtime", "")),
            bool(fields.get("deleted", False)),
        )
    except (ValueError, KeyError, TypeError):
        # Written by something else; it counts as deleted, so that nobody reads it.
        return ObjectInfo("", revision, "", 0, 0, "", "", is_deleted=True)
