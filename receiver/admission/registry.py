"""Keys and channels in memory, updated from the broker's bucket. Requests read a dict and wait for nothing.

A few times a second the broker is asked for the next change after the last one that is known here. After every
reconnect and every `resync_s`, all of it is read again. While the broker is away the last known entries serve on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import nats.errors
import structlog
from nats.aio.client import Client

from receiver import metrics
from receiver.admission.registry_log import RegistryEntryChange, RegistryLog
from schemas import subjects
from schemas.registry import Channel, Entry, Key, Organisation, decode

LOOKUP_TIMEOUT_S: Final = 2.0
SNAPSHOT_TIMEOUT_S: Final = 30.0
# A change reaches us within a second: this, and one question to the broker for it and each one before it.
PAUSE_S: Final = 0.25
RETRY_S: Final = 0.5
MAX_LOOKUPS: Final = 32  # at once; somebody who tries keys must not become a load on the broker
MAX_UNKNOWN: Final = 10_000

log = structlog.get_logger()


class RegistryUnavailable(Exception):
    """Whether the entry exists cannot be told now: 503, since a new key must not be refused for good."""


class Registry(Protocol):
    """Who may send what where."""

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
class _Held:
    """An entry as of `revision` of the bucket; None is one that was deleted or cannot be read."""

    revision: int
    entry: Entry | None


class Directory:
    """The entries held, and the names known not to exist. No I/O; `clock` is seconds, monotonic.

    `revision` is the newest of the bucket that is known here.
    """

    def __init__(self, unknown_ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._held: dict[str, _Held] = {}
        self._changed: dict[str, _Held] = {}
        self._unknown: dict[str, float] = {}
        self._unknown_ttl_s = unknown_ttl_s
        self._clock = clock
        self._followed = 0
        self.revision = 0

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, name: str) -> bool:
        """Whether `get` is the broker's own word: the entry, or None for one that was deleted."""
        return name in self._held

    def knows(self, name: str) -> bool:
        """Whether `get` is the answer: it is held, it was deleted, or it was looked up in vain a short while ago."""
        return name in self._held or self._clock() < self._unknown.get(name, 0.0)

    def get(self, name: str) -> Entry | None:
        """The entry of this bucket key, None when it is not held."""
        held = self._held.get(name)
        return held.entry if held else None

    def put(self, name: str, revision: int, entry: Entry | None) -> None:
        """Takes the next change of the bucket: all up to `revision` are known then."""
        self.revision = max(self.revision, revision)
        self._followed = max(self._followed, revision)
        self.learn(name, _Held(revision, entry))

    def learn(self, name: str, found: _Held) -> None:
        """Takes an entry that was looked up, unless a newer one is held; of changes before it nothing is known."""
        self._unknown.pop(name, None)
        held = self._held.get(name)
        if held is None or held.revision <= found.revision:
            self._held[name] = self._changed[name] = found

    def begin(self) -> None:
        """A snapshot is about to be read."""
        self._changed = {}
        self._followed = 0

    def replace(self, snapshot: dict[str, _Held]) -> None:
        """Takes a whole snapshot, and what was put since `begin` where that is newer."""
        # A bucket that was made anew counts from the beginning again.
        self.revision = max((self._followed, *(held.revision for held in snapshot.values())))
        self._held = snapshot
        for name, held in self._changed.items():
            if name not in snapshot or snapshot[name].revision < held.revision:
                snapshot[name] = held
        self._unknown.clear()

    def mark_unknown(self, name: str) -> None:
        """Remembers a look-up in vain; the oldest goes when there are too many."""
        self._unknown.pop(name, None)
        while len(self._unknown) >= MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[name] = self._clock() + self._unknown_ttl_s


class WatchedRegistry:
    """The registry as the broker keeps it. `run` follows it; it never ends by itself."""

    def __init__(
        self,
        client: Client,
        *,
        resync_s: float,
        unknown_ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._directory = Directory(unknown_ttl_s, clock)
        self._resync_s = resync_s
        self._clock = clock
        self._in_step_at: float | None = None
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self._log = RegistryLog(client, LOOKUP_TIMEOUT_S)
        self._again = asyncio.Event()
        self._loaded = asyncio.Event()
        metrics.REGISTRY_AGE_SECONDS.set_function(self.age_s)
        metrics.REGISTRY_ENTRIES.set_function(lambda: len(self._directory))

    @property
    def ready(self) -> bool:
        return self._in_step_at is not None

    def age_s(self) -> float:
        """Seconds since we were last sure to know every change; infinite before the first time. Healthy: about one."""
        return float("inf") if self._in_step_at is None else self._clock() - self._in_step_at

    def resync(self) -> None:
        """Read everything again now: the connection is new, and the bucket may be, too."""
        self._again.set()

    async def wait_ready(self) -> None:
        """Returns after the first snapshot."""
        await self._loaded.wait()

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

    async def run(self) -> None:
        """Follows the bucket for ever; what is held serves on until a new snapshot is complete."""
        while True:
            self._again.clear()
            await self._snapshot_at_last()
            await self._follow_until(self._clock() + self._resync_s)

    async def _snapshot_at_last(self) -> None:
        reported = ""
        while True:
            try:
                await self._snapshot()
            except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
                text = str(error) or type(error).__name__
                if text != reported:
                    log.warning("registry_unreachable", error=text, bucket=subjects.REGISTRY_BUCKET)
                reported = text
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _snapshot(self) -> None:
        async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
            self._directory.begin()
            found = await self._log.read_all()
        self._directory.replace({change.name: _held(change) for change in found})
        self._in_step_at = self._clock()
        self._loaded.set()

    async def _follow_until(self, end_s: float) -> None:
        """Takes every change; returns at `end_s`, or when all is to be read again."""
        while not self._again.is_set() and self._clock() < end_s:
            if not await self._take_next():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), PAUSE_S)

    async def _take_next(self) -> bool:
        """Whether there was a change that is not held yet."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                change = await self._log.after(self._directory.revision)
        except (nats.errors.Error, OSError, TimeoutError):
            return False  # away: `age_s` grows, and a reconnect reads everything anyway
        if change is None:
            self._in_step_at = self._clock()
            return False
        held = _held(change)
        self._directory.put(change.name, held.revision, held.entry)
        return True

    async def _find(self, name: str) -> Entry | None:
        if self._directory.holds(name):
            return self._directory.get(name)
        if not self._client.is_connected:  # it may have been made meanwhile, whatever we were told before
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
            if not self._directory.holds(name):  # a replica may lag behind what was followed
                self._directory.mark_unknown(name)
            return self._directory.get(name)
        metrics.REGISTRY_LOOKUPS.labels("yes").inc()
        held = _held(change)
        self._directory.learn(name, held)
        return held.entry


def _held(change: RegistryEntryChange) -> _Held:
    if not change.value:
        return _Held(change.revision, None)
    try:
        return _Held(change.revision, decode(change.name, change.value))
    except ValueError:
        # The name of a key is its hash: safe to log. The value may hold anything.
        log.error("registry_entry_unreadable", name=change.name, revision=change.revision)
        return _Held(change.revision, None)
