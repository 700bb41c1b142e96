"""Keys and channels in memory, updated from the broker's bucket. Requests read a dict and wait for nothing.

ops/runtime/registry/follow.py says how. A name that is not in memory is looked up in the bucket.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import nats.errors
from nats.aio.client import Client

from ops.runtime.registry.follow import RegistryFollower, entry_of
from ops.runtime.registry.registry_log import RegistryEntryChange, RegistryLog
from receiver import metrics
from schemas.registry import Channel, Entry, Key, Organisation

LOOKUP_TIMEOUT_S: Final = 2.0
MAX_LOOKUPS: Final = 32  # at once, so that a sender that tries keys does not load the broker
MAX_UNKNOWN: Final = 10_000


class RegistryUnavailable(Exception):
    """The broker cannot be asked whether the entry exists: 503, because a refusal for good could hit a new key."""


class Registry(Protocol):
    """Keys and channels by name."""

    @property
    def ready(self) -> bool:
        """Whether every entry was read once."""
        ...

    async def key(self, sha256: str) -> Key | None:
        """The key of this hash (revoked ones too). Raises RegistryUnavailable."""
        ...

    async def channel(self, channel_id: int) -> Channel | None:
        """The channel of this number. Raises RegistryUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _KnownEntry:
    """An entry at `revision` of the bucket; None if it was deleted or cannot be read."""

    revision: int
    entry: Entry | None


class Directory:
    """The entries in memory, and the names that do not exist. No I/O; `clock` is seconds, monotonic.

    `revision` is the newest revision of the bucket that is known here.
    """

    def __init__(self, unknown_ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: dict[str, _KnownEntry] = {}
        self._changed: dict[str, _KnownEntry] = {}
        self._unknown: dict[str, float] = {}
        self._unknown_ttl_s = unknown_ttl_s
        self._clock = clock
        self._followed = 0
        self.revision = 0

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, name: str) -> bool:
        """Whether the broker sent this entry, or its deletion: then `get` is right without a look-up."""
        return name in self._entries

    def knows(self, name: str) -> bool:
        """Whether `get` needs no look-up: the entry is in memory, was deleted, or was not found a short while ago."""
        return name in self._entries or self._clock() < self._unknown.get(name, 0.0)

    def get(self, name: str) -> Entry | None:
        """The entry of this name, None if it is not in memory."""
        known = self._entries.get(name)
        return known.entry if known else None

    def store(self, name: str, revision: int, entry: Entry | None) -> None:
        """Stores the next change of the bucket: all changes up to `revision` are known then."""
        self.revision = max(self.revision, revision)
        self._followed = max(self._followed, revision)
        self.learn(name, _KnownEntry(revision, entry))

    def learn(self, name: str, looked_up: _KnownEntry) -> None:
        """Stores an entry that was looked up, unless a newer one is in memory. Earlier changes may still be missing."""
        self._unknown.pop(name, None)
        known = self._entries.get(name)
        if known is None or known.revision <= looked_up.revision:
            self._entries[name] = self._changed[name] = looked_up

    def begin(self) -> None:
        """A snapshot is about to be read."""
        self._changed = {}
        self._followed = 0

    def store_all(self, snapshot: dict[str, _KnownEntry]) -> None:
        """Replaces all entries by a snapshot, except those that have become newer since `begin`."""
        # A bucket that was created again counts its revisions from 1.
        self.revision = max((self._followed, *(known.revision for known in snapshot.values())))
        self._entries = snapshot
        for name, known in self._changed.items():
            if name not in snapshot or snapshot[name].revision < known.revision:
                snapshot[name] = known
        self._unknown.clear()

    def put(self, change: RegistryEntryChange) -> None:
        """As `store`, with the entry as it stands in the bucket."""
        self.store(change.name, change.revision, entry_of(change))

    def replace(self, changes: list[RegistryEntryChange]) -> None:
        """As `store_all`, with the entries as they stand in the bucket."""
        self.store_all({change.name: _known_entry(change) for change in changes})

    def mark_unknown(self, name: str) -> None:
        """Remembers that a name does not exist; with too many, the oldest is forgotten."""
        self._unknown.pop(name, None)
        while len(self._unknown) >= MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[name] = self._clock() + self._unknown_ttl_s


class WatchedRegistry:
    """A copy of the broker's registry. `run` keeps it up to date until it is cancelled."""

    def __init__(
        self,
        client: Client,
        *,
        directory: Directory,
        resync_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._directory = directory
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self._log = RegistryLog(client, LOOKUP_TIMEOUT_S)
        self._follower = RegistryFollower(self._log, directory, resync_s, clock)
        metrics.REGISTRY_AGE_SECONDS.set_function(self.age_s)
        metrics.REGISTRY_ENTRIES.set_function(lambda: len(self._directory))

    @property
    def ready(self) -> bool:
        return self._follower.ready

    def age_s(self) -> float:
        """Seconds since every change was known; infinite before the first time. Healthy: about one."""
        return self._follower.age_s()

    def resync(self) -> None:
        """Reads everything again now: the connection is new, and the bucket may be new too."""
        self._follower.resync()

    async def wait_ready(self) -> None:
        """Returns after the first snapshot."""
        await self._follower.wait_ready()

    async def run(self) -> None:
        """Follows the bucket until cancelled. The entries in memory are used until a new snapshot is complete."""
        await self._follower.run()

    async def key(self, sha256: str) -> Key | None:
        entry = await self._find(f"key.{sha256}")
        return entry if isinstance(entry, Key) else None

    async def channel(self, channel_id: int) -> Channel | None:
        entry = await self._find(f"channel.{channel_id}")
        return entry if isinstance(entry, Channel) else None

    def owner_of(self, channel_id: int) -> str:
        """The organisation of a channel; empty if it is not held. Never asks the broker."""
        entry = self._directory.get(f"channel.{channel_id}")
        return entry.organisation if isinstance(entry, Channel) else ""

    def organisation(self, slug: str) -> Organisation | None:
        """The entry with an organisation's quotas, the same object until it changes; None where it has none.

        Never asks the broker: most organisations have no entry.
        """
        entry = self._directory.get(f"organisation.{slug}")
        return entry if isinstance(entry, Organisation) else None

    async def _find(self, name: str) -> Entry | None:
        if self._directory.has(name):
            return self._directory.get(name)
        if not self._client.is_connected:  # the entry may have been created meanwhile
            raise RegistryUnavailable
        if self._directory.knows(name):
            return None
        if self._lookups.locked():
            raise RegistryUnavailable
        async with self._lookups:
            return await self._look_up(name)

    async def _look_up(self, name: str) -> Entry | None:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                change = await self._log.find(name)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise RegistryUnavailable from error
        if change is None:
            metrics.REGISTRY_LOOKUPS.labels("no").inc()
            if not self._directory.has(name):  # a replica may lag behind what was followed
                self._directory.mark_unknown(name)
            return self._directory.get(name)
        metrics.REGISTRY_LOOKUPS.labels("yes").inc()
        known = _known_entry(change)
        self._directory.learn(name, known)
        return known.entry


def _known_entry(change: RegistryEntryChange) -> _KnownEntry:
    return _KnownEntry(change.revision, entry_of(change))
