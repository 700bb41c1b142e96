"""Reads and writes entries of the registry bucket. Every write is compare-and-swap."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nats.js import JetStreamContext
from nats.js.errors import KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from ops.runtime.failures import Conflict, Failed
from ops.runtime.registry.registry_log import RegistryEntryChange, newest
from schemas.registry import Channel, Environment, Key, Organisation, Token, decode
from schemas.subjects import REGISTRY_BUCKET

if TYPE_CHECKING:
    from pydantic import BaseModel

LIST_TIMEOUT_S: Final = 10.0
READS_AT_ONCE: Final = 64
CAS_ATTEMPTS: Final = 20

Listed = TypeVar("Listed", Channel, Environment, Key, Organisation, Token)


class RegistryEntries:
    """The entries of all organisations. Methods raise Failed or Conflict with what to do, and NatsError."""

    def __init__(self, jetstream: JetStreamContext, bucket: KeyValue) -> None:
        self._jetstream = jetstream
        self._bucket = bucket
        self._reading = asyncio.Semaphore(READS_AT_ONCE)

    async def create(self, kv_key: str, entry: BaseModel) -> bool:
        """Stores a new entry; returns False if there is one already."""
        try:
            await self._bucket.create(kv_key, _encode(entry))
        except KeyWrongLastSequenceError:
            return False
        return True

    async def get(self, kv_key: str, model: type[Listed]) -> Listed | None:
        """The entry with this name, None if there is none or this version cannot read it."""
        entry = await self._entry(kv_key)
        return self._decoded(entry, model) if entry else None

    async def every(self, pattern: str, model: type[Listed]) -> list[Listed]:
        """Every entry whose name matches. Reads by subject, not with a watch: on a busy machine nats-py's watch may
        report its end before the first entry.
        """
        prefix = f"$KV.{REGISTRY_BUCKET}."
        async with asyncio.timeout(LIST_TIMEOUT_S):
            info = await self._jetstream.stream_info(f"KV_{REGISTRY_BUCKET}", subjects_filter=prefix + pattern)
            names = [subject.removeprefix(prefix) for subject in info.state.subjects or {}]
            entries = await asyncio.gather(*(self._entry(name) for name in names))
        return [decoded for entry in entries if entry and (decoded := self._decoded(entry, model)) is not None]

    async def change(self, entry: Listed, fields: Mapping[str, Any]) -> Listed:
        """Changes fields of a stored entry; others stay, also those that another command changes meanwhile."""
        return await self.change_by(entry, lambda _stored: fields)

    async def change_by(self, entry: Listed, fields_of: Callable[[Listed], Mapping[str, Any]]) -> Listed:
        """The same with fields that depend on what is stored. A missing entry is created from `entry`."""
        for _ in range(CAS_ATTEMPTS):
            stored = await self._entry(entry.kv_key)
            present = self._decoded(stored, type(entry)) if stored else None
            if stored and present is None:
                raise Failed(f"the entry {entry.kv_key} cannot be read by this version: upgrade axonpush-ingest")
            changed = (present or entry).model_copy(update=dict(fields_of(present or entry)))
            if changed == present:
                return changed
            with contextlib.suppress(KeyWrongLastSequenceError):
                if stored is None:
                    await self._bucket.create(entry.kv_key, _encode(changed))
                else:
                    await self._bucket.update(entry.kv_key, _encode(changed), last=stored.revision)
                return changed
        raise Conflict(f"other commands kept changing this {type(entry).__name__.lower()}: run this command again")

    async def _entry(self, name: str) -> RegistryEntryChange | None:
        async with self._reading:
            return await newest(self._jetstream, name)

    @staticmethod
    def _decoded(entry: RegistryEntryChange, model: type[Listed]) -> Listed | None:
        try:
            decoded = decode(entry.name, entry.value)
        except ValueError:
            return None
        return decoded if isinstance(decoded, model) else None


def _encode(entry: BaseModel) -> bytes:
    return entry.model_dump_json().encode()
