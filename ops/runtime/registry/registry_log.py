"""The registry's bucket as a log of changes: what it holds, and what came after a revision.

It is read with direct requests and never with a consumer: with the right to create consumers, a receiver could have the
entries delivered to any subject. receiver/admission/registry.py and console/access/registry.py know what an entry
means.
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
    """One entry at `revision` of the bucket; `value` is empty if it was deleted."""

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
        """Every entry, in the order they were written."""
        entries: list[RegistryEntryChange] = []
        while batch := await self._batch(entries[-1].revision + 1 if entries else 1):
            entries += batch
        return entries

    async def after(self, revision: int) -> RegistryEntryChange | None:
        """The first change after `revision`, None when there is none."""
        try:
            message = await self._js.get_msg(
                REGISTRY_STREAM, seq=revision + 1, subject=_ALL, direct=await self._direct(), next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        return _change(message)

    async def find(self, name: str) -> RegistryEntryChange | None:
        """The entry of this name, None if there is none or it was deleted."""
        try:
            message = await self._js.get_last_msg(REGISTRY_STREAM, _PREFIX + name, direct=await self._direct())
        except nats.js.errors.NotFoundError:
            return None
        change = _change(message)
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
            change = await self.after(seq - 1)
            return [change] if change else []
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        try:
            batch_request = {"seq": seq, "batch": BATCH, "next_by_subj": _ALL}
            await self._client.publish(
                f"$JS.API.DIRECT.GET.{REGISTRY_STREAM}", json.dumps(batch_request).encode(), inbox
            )
            return await self._collect(answers)
        finally:
            await answers.unsubscribe()

    async def _collect(self, answers: Any) -> list[RegistryEntryChange]:
        changes: list[RegistryEntryChange] = []
        while True:
            message: Msg = await answers.next_msg(self._timeout_s)
            broker_headers = message.headers or {}
            status = broker_headers.get("Status", "") if not message.data else ""
            if status in (_END, _NOTHING):
                return changes
            if status:
                raise nats.errors.NoRespondersError
            changes.append(
                _entry_change(
                    broker_headers[headers.STORED_SUBJECT],
                    int(broker_headers[headers.STORED_SEQ]),
                    broker_headers,
                    message.data,
                )
            )


def _change(message: RawStreamMsg) -> RegistryEntryChange:
    return _entry_change(message.subject or "", message.seq or 0, message.headers or {}, message.data or b"")


def _entry_change(subject: str, seq: int, broker_headers: dict[str, str], data: bytes) -> RegistryEntryChange:
    is_deleted = broker_headers.get("KV-Operation") in _DELETED
    return RegistryEntryChange(subject.removeprefix(_PREFIX), seq, b"" if is_deleted else data)
