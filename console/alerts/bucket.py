"""Entries of the broker's buckets `alerts` and `alert_secrets`. Writes compare revisions."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, Protocol

import nats.errors
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError

from schemas.headers import MESSAGE_TTL
from schemas.subjects import ALERTS_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client

TIMEOUT_S: Final = 5.0
_WRONG_LAST_SEQUENCE: Final = 10071
_NO_ROOM: Final = 10077
# The broker forgets a removed entry after this time; nobody names its revision any more.
_REMOVED: Final = {"KV-Operation": "DEL", MESSAGE_TTL: "1h"}
_DELETED: Final = ("DEL", "PURGE")


class EntryChanged(Exception):
    """Another process wrote the entry since it was read."""


class BucketUnavailable(Exception):
    """The broker does not answer, or has no such bucket."""


class EntryTooLarge(BucketUnavailable):
    """The broker does not take a value of this size, or has no more room for it. Smaller ones go on."""


class Entries(Protocol):
    """Entries by name, each with its revision; b"" and 0 for one that does not exist."""

    async def get(self, name: str) -> tuple[bytes, int]:
        """Raises BucketUnavailable."""

    async def put(self, name: str, value: bytes, revision: int) -> int:
        """The new revision. Raises EntryChanged unless it still has `revision`, EntryTooLarge, BucketUnavailable."""

    async def names(self, prefix: str) -> list[str]:
        """The names of all entries that begin so. Raises BucketUnavailable."""

    async def remove(self, name: str) -> None:
        """Removes an entry, and what it was. Raises BucketUnavailable."""


class Bucket:
    """The entries on the broker."""

    def __init__(self, client: Client, name: str = ALERTS_BUCKET) -> None:
        self._client = client
        self._name = name
        self._stream = f"KV_{name}"
        self._subject = f"$KV.{name}."

    async def get(self, name: str) -> tuple[bytes, int]:
        """Value and revision. A removed entry is empty but has a revision, which the next `put` has to name."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                result = await self._client.jetstream().get_last_msg(self._stream, self._subject + name, direct=True)
        except NotFoundError:
            return b"", 0
        except (TimeoutError, APIError, nats.errors.Error) as error:
            raise BucketUnavailable(str(error)) from error
        is_deleted = (result.headers or {}).get("KV-Operation") in _DELETED
        return b"" if is_deleted else result.data or b"", result.seq or 0

    async def put(self, name: str, value: bytes, revision: int) -> int:
        """Writes if nobody has written since."""
        headers = {str(Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): str(revision)}
        return await self._publish(name, value, headers)

    async def write(self, name: str, value: bytes) -> None:
        """Writes whatever was there."""
        await self._publish(name, value, {})

    async def remove(self, name: str) -> None:
        """A marker takes the place of the entry; what it held is gone."""
        await self._publish(name, b"", _REMOVED)

    async def names(self, prefix: str) -> list[str]:
        """All of them; the broker answers in pages."""
        subjects: dict[str, int] = {}
        while True:
            options = {"subjects_filter": f"{self._subject}{prefix}>", "offset": len(subjects)}
            try:
                reply = await self._client.request(
                    f"$JS.API.STREAM.INFO.{self._stream}", json.dumps(options).encode(), timeout=TIMEOUT_S
                )
            except (TimeoutError, nats.errors.Error) as error:
                raise BucketUnavailable(str(error)) from error
            answer = json.loads(reply.data)
            if "error" in answer:
                raise BucketUnavailable(str(answer["error"].get("description", "")))
            page = answer["state"].get("subjects") or {}
            subjects |= page
            if not page or len(subjects) >= answer["state"].get("num_subjects", 0):
                return [subject.removeprefix(self._subject) for subject in subjects]

    async def _publish(self, name: str, value: bytes, headers: dict[str, str]) -> int:
        try:
            stored = await self._client.jetstream().publish(
                self._subject + name, value, timeout=TIMEOUT_S, headers=headers or None
            )
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                raise EntryChanged(name) from error
            if error.err_code == _NO_ROOM:
                text = f"the broker's bucket {self._name} has no room for what is remembered of this rule"
                raise EntryTooLarge(text) from error
            raise BucketUnavailable(str(error)) from error
        except nats.errors.MaxPayloadError as error:
            raise EntryTooLarge("what is remembered of this rule is too large for the broker") from error
        except (TimeoutError, nats.errors.Error) as error:
            raise BucketUnavailable(str(error)) from error
        return stored.seq
