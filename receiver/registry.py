"""Keys and channels in memory, kept in step with the broker's bucket. The hot path reads a dict and waits for nothing.

The bucket is watched. Because a watch may fall silent without an error (its consumer is gone, its broker was away), the
broker is asked twice a second whether there is a change the watch has not told; then, after every reconnect and every
`resync_s`, all of it is read again. While the broker is away the last known entries serve on.
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

from ops.runtime.tasks import end
from receiver import metrics
from schemas import subjects
from schemas.registry import Channel, Entry, Key, Organisation, decode

LOOKUP_TIMEOUT_S: Final = 2.0
SNAPSHOT_TIMEOUT_S: Final = 30.0
# A watch that begins while the bucket's leader changes may never say anything.
UPDATE_TIMEOUT_S: Final = 5.0
# A change reaches us within a second even when the watch is dead: these two, and one reading of the bucket.
AUDIT_S: Final = 0.5
AUDIT_GRACE_S: Final = 0.2
RETRY_S: Final = 0.5
WATCH_INACTIVE_S: Final = 30.0  # the server drops a watch that nobody listens to; one is left at every resync
MAX_LOOKUPS: Final = 32  # at once; somebody who tries keys must not become a load on the broker
MAX_UNKNOWN: Final = 10_000

REGISTRY_STREAM: Final = f"KV_{subjects.REGISTRY_BUCKET}"

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
        """Takes an entry unless a newer one is held: two watches may overlap."""
        self._unknown.pop(name, None)
        self.revision = max(self.revision, revision)
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
        # A bucket that was made anew counts from the beginning again.
        self.revision = max((held.revision for held in snapshot.values()), default=0)
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
        self._bucket: KeyValue | None = None
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

    def organisation(self, slug: str) -> Organisation | None:
        """The entry with an organisation's quotas, the same object until it changes; None where it has none.

        Never asks the broker: most organisations have no entry.
        """
        entry = self._directory.get(f"organisation.{slug}")
        return entry if isinstance(entry, Organisation) else None

    async def run(self) -> None:
        """Follows the bucket for ever; a new watch takes over only when its snapshot is complete."""
        follower: asyncio.Task[None] | None = None
        try:
            while True:
                self._again.clear()
                watcher = await self._snapshot_at_last()
                await end(follower)
                follower = asyncio.create_task(self._follow(watcher))
                await self._until_next_resync(follower)
        finally:
            await end(follower)

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
        audit = asyncio.create_task(self._audit())
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({follower, again, audit}, timeout=self._resync_s, return_when=first)
        finally:
            await end(again, audit)

    async def _audit(self) -> None:
        """Returns when the broker has a change that the watch did not tell."""
        while True:
            await asyncio.sleep(AUDIT_S)
            try:
                missed = await self._change_after(self._directory.revision)
            except (nats.errors.Error, OSError, TimeoutError):
                continue  # away: `age_s` grows, and a reconnect reads everything anyway
            if missed is not None:
                await asyncio.sleep(AUDIT_GRACE_S)
            if missed is None or self._directory.revision >= missed:
                self._in_step_at = self._clock()
                continue
            metrics.REGISTRY_WATCHES_LOST.inc()
            log.warning("registry_watch_silent", known=self._directory.revision, found=missed)
            return

    async def _change_after(self, revision: int) -> int | None:
        """The next revision the bucket has, None when there is none."""
        stream = self._client.jetstream(timeout=LOOKUP_TIMEOUT_S)
        try:
            found = await stream.get_msg(REGISTRY_STREAM, seq=revision + 1, subject=">", direct=True, next=True)
        except nats.js.errors.NotFoundError:
            return None
        return found.seq

    async def _snapshot(self) -> Any:
        """A watcher (which nats-py leaves untyped) whose snapshot has been taken."""
        async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
            bucket = await self._open_bucket()
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

    async def _open_bucket(self) -> KeyValue:
        """The bucket; asking for it is a question to the cluster's leader, so it is asked once."""
        if self._bucket is None:
            stream = self._client.jetstream(timeout=LOOKUP_TIMEOUT_S)
            self._bucket = await stream.key_value(subjects.REGISTRY_BUCKET)
        return self._bucket

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
                bucket = await self._open_bucket()
                update = await bucket.get(name)
        except nats.js.errors.KeyNotFoundError:
            metrics.REGISTRY_LOOKUPS.labels("no").inc()
            if not self._directory.holds(name):  # the watch may have been faster than a replica that lags
                self._directory.mark_unknown(name)
            return self._directory.get(name)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise RegistryUnavailable from error
        metrics.REGISTRY_LOOKUPS.labels("yes").inc()
        held = _held(update)
        self._directory.put(name, held.revision, held.entry)
        return held.entry


async def _read_all(watcher: Any) -> dict[str, _Held]:
    """Every entry up to the mark (None) that says: from here on there are only changes."""
    snapshot: dict[str, _Held] = {}
    while (update := await watcher.updates(UPDATE_TIMEOUT_S)) is not None:
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
