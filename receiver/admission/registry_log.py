"""The registry's bucket as a log of changes: what it holds, and what came after a revision.

It is read with direct requests and never with a consumer: whoever may make one may have the entries delivered to any
subject. What an entry means is registry.py's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from ops.runtime.stream_config import stream_config
from schemas import headers, subjects

REGISTRY_STREAM: Final = f"KV_{subjects.REGISTRY_BUCKET}"
BATCH: Final = 500

_PREFIX: Final = f"$KV.{subjects.REGISTRY_BUCKET}."
_ALL: Final = f"{_PREFIX}>"
_DELETED: Final = frozenset({"DEL", "PURGE"})
_END: Final = "204"
_NOTHING: Final = "404"


@dataclass(frozen=True, slots=True)
class RegistryEntryChange:
    """One entry as of `revision` of the bucket; `value` is empty for one that was deleted."""

    name: str
    revision: int
    value: bytes


class RegistryLog:
    """Reads the bucket. Every method raises nats.errors.Error, OSError or TimeoutError when that is not possible."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._js = client.jetstream(timeout=timeout_s)
        self._timeout_s = timeout_s
        self._is_direct: bool | None = None

    async def read_all(self) -> list[RegistryEntryChange]:
        """Every entry there is, in the order they were written."""
        found: list[RegistryEntryChange] = []
        while batch := await self._batch(found[-1].revision + 1 if found else 1):
            found += batch
        return found

    async def after(self, revision: int) -> RegistryEntryChange | None:
        """The first change after `revision`, None when there is none."""
        try:
            found = await self._js.get_msg(
                REGISTRY_STREAM, seq=revision + 1, subject=_ALL, direct=await self._direct(), next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        return _change(found)

    async def find(self, name: str) -> RegistryEntryChange | None:
        """The entry of this name, None if there is none or it was deleted."""
        try:
            found = await self._js.get_last_msg(REGISTRY_STREAM, _PREFIX + name, direct=await self._direct())
        except nats.js.errors.NotFoundError:
            return None
        change = _change(found)
        return change if change.value else None

    async def _direct(self) -> bool:
        """Whether any replica answers, as in every bucket that `axonpush migrate` has made; else the leader does."""
        if self._is_direct is None:
            config = await stream_config(self._client, REGISTRY_STREAM, self._timeout_s)
            self._is_direct = bool(config.allow_direct)
        return self._is_direct

    async def _batch(self, seq: int) -> list[RegistryEntryChange]:
        """At most BATCH entries from `seq` on."""
        if not await self._direct():
            one = await self.after(seq - 1)
            return [one] if one else []
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        try:
            asked = {"seq": seq, "batch": BATCH, "next_by_subj": _ALL}
            await self._client.publish(f"$JS.API.DIRECT.GET.{REGISTRY_STREAM}", json.dumps(asked).encode(), inbox)
            return await self._collected(answers)
        finally:
            await answers.unsubscribe()

    async def _collected(self, answers: Any) -> list[RegistryEntryChange]:
        found: list[RegistryEntryChange] = []
        while True:
            message: Msg = await answers.next_msg(self._timeout_s)
            told = message.headers or {}
            status = told.get("Status", "") if not message.data else ""
            if status in (_END, _NOTHING):
                return found
            if status:
                raise nats.errors.NoRespondersError
            found.append(_named(told[headers.STORED_SUBJECT], int(told[headers.STORED_SEQ]), told, message.data))


def _change(found: RawStreamMsg) -> RegistryEntryChange:
    return _named(found.subject or "", found.seq or 0, found.headers or {}, found.data or b"")


def _named(subject: str, seq: int, told: dict[str, str], data: bytes) -> RegistryEntryChange:
    is_deleted = told.get("KV-Operation") in _DELETED
    return RegistryEntryChange(subject.removeprefix(_PREFIX), seq, b"" if is_deleted else data)
