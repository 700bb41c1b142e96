"""Keys and channels in memory, kept in step with the broker's bucket. The hot path reads a dict and waits for nothing.

The bucket is watched; the whole of it is read again every `resync_s` and after every reconnect, because a watch may
stay silent for long after the broker was away. While the broker is away the last known entries serve on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js.kv import KV_DEL, KV_PURGE, KeyValue

from receiver import metrics
from schemas import subjects
from schemas.registry import Channel, Entry, Key, decode

LOOKUP_TIMEOUT_S: Final = 2.0
SNAPSHOT_TIMEOUT_S: Final = 30.0
RETRY_S: Final = 0.5
WATCH_INACTIVE_S: Final = 30.0  # the server drops a watch that nobody listens to; one is left at every resync
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
    """The entries held, and the names known not to exist. No I/O; `clock` is seconds, monotonic."""

    def __init__(self, unknown_ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._held: dict[str, _Held] = {}
        self._changed: dict[str, _Held] = {}
        self._unknown: dict[str, float] = {}
        self._unknown_ttl_s = unknown_ttl_s
        self._clock = clock

    def __len__(self) -> int:
        return len(self._held)

    def knows(self, name: str) -> bool:
        """Whether `get` is the answer: it is held, it was deleted, or it was looked up in vain a short while ago."""
        return name in self._held or self._clock() < self._unknown.get(name, 0.0)

    def get(self, name: str) -> Entry | None:
        """The entry of this bucket key, None when it is not held."""
        held = self._held.get(name)
        return held.entry if held else None

    def put(self, name: str, revision: int, entry: Entry | None) -> None:
        """Takes an entry unless a newer one is held: two watches may overlap."""
        self._unknown.pop(name, None)
        held = self._held.get(name)
        if held is None or held.revision <= revision:
            self._held[name] = self._changed[name] = _Held(revision, entry)

    def begin(self) -> None:
        """A snapshot is about to be read."""
        self._changed = {}

    def replace(self, snapshot: dict[str, _Held]) -> None:
        """Takes a whole snapshot, and what was put since `begin` where that is newer."""
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
    """The registry as the broker keeps it. `run` does the watching; it never ends by itself."""

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
        self._again = asyncio.Event()
        self._loaded = asyncio.Event()
        metrics.REGISTRY_AGE_SECONDS.set_function(self.age_s)
        metrics.REGISTRY_ENTRIES.set_function(lambda: len(self._directory))

    @property
    def ready(self) -> bool:
        return self._in_step_at is not None

    def age_s(self) -> float:
        """Seconds since the last full reading or update; infinite before the first. Healthy: under `resync_s`."""
        return float("inf") if self._in_step_at is None else self._clock() - self._in_step_at

    def resync(self) -> None:
        """Read everything again now: the connection is new, and the old watch may be deaf."""
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

    async def run(self) -> None:
        """Follows the bucket for ever; a new watch takes over only when its snapshot is complete."""
        follower: asyncio.Task[None] | None = None
        try:
            while True:
                self._again.clear()
                watcher = await self._snapshot_at_last()
                await _cancel(follower)
                follower = asyncio.create_task(self._follow(watcher))
                await self._until_next_resync(follower)
        finally:
            await _cancel(follower)

    async def _snapshot_at_last(self) -> Any:
        reported = ""
        while True:
            try:
                return await self._snapshot()
            except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
                text = str(error) or type(error).__name__
                if text != reported:
                    log.warning("registry_unreachable", error=text, bucket=subjects.REGISTRY_BUCKET)
                reported = text
                await asyncio.sleep(RETRY_S)

    async def _until_next_resync(self, follower: asyncio.Task[None]) -> None:
        again = asyncio.create_task(self._again.wait())
        await asyncio.wait({follower, again}, timeout=self._resync_s, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()

    async def _snapshot(self) -> Any:
        """A watcher (which nats-py leaves untyped) whose snapshot has been taken."""
        async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
            bucket = await self._client.jetstream().key_value(subjects.REGISTRY_BUCKET)
            self._directory.begin()
            watcher: Any = await bucket.watchall(inactive_threshold=WATCH_INACTIVE_S)
            try:
                snapshot = await _read_all(watcher)
            except BaseException:
                await self._stop(watcher)
                raise
        self._directory.replace(snapshot)
        self._in_step_at = self._clock()
        self._loaded.set()
        return watcher

    async def _follow(self, watcher: Any) -> None:
        try:
            async for update in watcher:
                if update is not None:
                    held = _held(update)
                    self._directory.put(update.key, held.revision, held.entry)
                self._in_step_at = self._clock()
        finally:
            await self._stop(watcher)

    async def _stop(self, watcher: Any) -> None:
        with suppress(nats.errors.Error, OSError):  # the broker may be away, and its watch with it
            await watcher.stop()

    async def _find(self, name: str) -> Entry | None:
        if self._directory.knows(name):
            return self._directory.get(name)
        if self._lookups.locked():
            raise RegistryUnavailable
        async with self._lookups:
            return await self._look_up(name)

    async def _look_up(self, name: str) -> Entry | None:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                bucket = await self._client.jetstream().key_value(subjects.REGISTRY_BUCKET)
                update = await bucket.get(name)
        except nats.js.errors.KeyNotFoundError:
            metrics.REGISTRY_LOOKUPS.labels("no").inc()
            self._directory.mark_unknown(name)
            return None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise RegistryUnavailable from error
        metrics.REGISTRY_LOOKUPS.labels("yes").inc()
        held = _held(update)
        self._directory.put(name, held.revision, held.entry)
        return held.entry


async def _read_all(watcher: Any) -> dict[str, _Held]:
    """Every entry up to the mark (None) that says: from here on there are only changes."""
    snapshot: dict[str, _Held] = {}
    while (update := await watcher.updates(SNAPSHOT_TIMEOUT_S)) is not None:
        snapshot[update.key] = _held(update)
    return snapshot


def _held(update: KeyValue.Entry) -> _Held:
    revision = update.revision or 0
    if update.operation in (KV_DEL, KV_PURGE) or not update.value:
        return _Held(revision, None)
    try:
        return _Held(revision, decode(update.key, update.value))
    except ValueError:
        # The name of a key is its hash: safe to log. The value may hold anything.
        log.error("registry_entry_unreadable", name=update.key, revision=revision)
        return _Held(revision, None)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is None:
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
