"""Keeps a copy of the registry up to date: receivers and consoles follow its bucket the same way.

A few times a second the broker is asked for the next change after the last one that is known here. After every
reconnect and every `resync_s`, all of it is read again. While the broker is away the last known entries serve on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import nats.errors
import structlog

from ops.runtime.registry.registry_log import RegistryEntryChange, RegistryLog
from schemas import subjects
from schemas.registry import Entry, decode

CHANGE_TIMEOUT_S: Final = 2.0
SNAPSHOT_TIMEOUT_S: Final = 30.0
# Pause between two requests for changes, so that a change arrives within a second.
PAUSE_S: Final = 0.25
RETRY_S: Final = 0.5

log = structlog.get_logger()


class FollowedEntries(Protocol):
    """The entries in memory."""

    @property
    def revision(self) -> int:
        """The newest revision of the bucket that is known here."""
        ...

    def begin(self) -> None:
        """A snapshot is about to be read."""
        ...

    def replace(self, changes: list[RegistryEntryChange]) -> None:
        """Everything again, from a snapshot."""
        ...

    def put(self, change: RegistryEntryChange) -> None:
        """The next change of the bucket."""
        ...


class RegistryFollower:
    """`run` keeps `copy` up to date until it is cancelled."""

    def __init__(
        self, bucket: RegistryLog, copy: FollowedEntries, resync_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = bucket
        self._copy = copy
        self._resync_s = resync_s
        self._clock = clock
        self._current_at_s: float | None = None
        self._again = asyncio.Event()
        self._loaded = asyncio.Event()
        # Set, and replaced by another one, whenever no change was left.
        self._caught_up = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether every entry was read once."""
        return self._current_at_s is not None

    def age_s(self) -> float:
        """Seconds since every change was known; infinite before the first time. Healthy: about one."""
        return float("inf") if self._current_at_s is None else self._clock() - self._current_at_s

    def resync(self) -> None:
        """Reads everything again now: the connection is new, and the bucket may be new too."""
        self._again.set()

    async def wait_ready(self) -> None:
        """Returns after the first snapshot."""
        await self._loaded.wait()

    async def caught_up(self) -> None:
        """Returns when everything that was written before this call is known; with the broker away, never."""
        # The first look may have begun before the call.
        await self._caught_up.wait()
        await self._caught_up.wait()

    async def run(self) -> None:
        """Follows the bucket until cancelled. The entries in memory are used until a new snapshot is complete."""
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
            self._copy.begin()
            changes = await self._log.read_all()
        self._copy.replace(changes)
        self._current_at_s = self._clock()
        self._loaded.set()

    async def _follow_until(self, end_s: float) -> None:
        """Stores every change; returns at `end_s`, or when everything must be read again."""
        while not self._again.is_set() and self._clock() < end_s:
            if not await self._take_next():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), PAUSE_S)

    async def _take_next(self) -> bool:
        """Stores the next change; False if there is none."""
        try:
            async with asyncio.timeout(CHANGE_TIMEOUT_S):
                change = await self._log.after(self._copy.revision)
        except (nats.errors.Error, OSError, TimeoutError):
            return False  # the broker is away: `age_s` grows, and a reconnect reads everything
        if change is None:
            self._current_at_s = self._clock()
            self._caught_up.set()
            self._caught_up = asyncio.Event()
            return False
        self._copy.put(change)
        return True


def entry_of(change: RegistryEntryChange) -> Entry | None:
    """The entry after a change; None if it was deleted or cannot be read."""
    if not change.value:
        return None
    try:
        return decode(change.name, change.value)
    except ValueError:
        # The name of a key or token is its hash: safe to log. The value may hold anything.
        log.error("registry_entry_unreadable", name=change.name, revision=change.revision)
        return None
