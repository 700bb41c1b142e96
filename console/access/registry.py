"""Organisations, projects and tokens in memory, updated from the broker's bucket. A request waits for nothing.

A few times a second the broker is asked for the next change. While it is away the last known entries serve on.
Entries of sender keys are kept too, as hashes: `/projects/…/keys/` lists them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog

from console import metrics
from ops.runtime.registry.registry_log import RegistryEntryChange, RegistryLog
from schemas.registry import Channel, Environment, Key, Organisation, Token, decode

if TYPE_CHECKING:
    from nats.aio.client import Client

TIMEOUT_S: Final = 2.0
SNAPSHOT_TIMEOUT_S: Final = 30.0
# Pause between two requests for changes, so that a change arrives within a second.
PAUSE_S: Final = 0.25
RETRY_S: Final = 0.5
RESYNC_S: Final = 60.0

KnownEntry = Channel | Environment | Organisation | Token | Key

log = structlog.get_logger()


class ConsoleRegistry:
    """The entries by name. No I/O."""

    def __init__(self) -> None:
        self._entries: dict[str, KnownEntry] = {}
        self.revision = 0

    def replace(self, changes: Iterable[RegistryEntryChange]) -> None:
        """Everything again, from a snapshot."""
        self._entries, self.revision = {}, 0
        for change in changes:
            self.put(change)

    def put(self, change: RegistryEntryChange) -> None:
        """One change of the bucket."""
        self.revision = max(self.revision, change.revision)
        self._entries.pop(change.name, None)
        if not change.value:
            return
        try:
            entry = decode(change.name, change.value)
        except ValueError:
            # The name of a token is its hash: safe to log. The value may hold anything.
            log.error("registry_entry_unreadable", name=change.name, revision=change.revision)
            return
        if isinstance(entry, Channel | Environment | Organisation | Token | Key):
            self._entries[change.name] = entry

    def token(self, sha256: str) -> Token | None:
        """The token of this hash, revoked ones too."""
        entry = self._entries.get(f"token.{sha256}")
        return entry if isinstance(entry, Token) else None

    def organisation(self, slug: str) -> Organisation:
        """Its entry; organisations of older registries have none and exist by what they own."""
        entry = self._entries.get(f"organisation.{slug}")
        return entry if isinstance(entry, Organisation) else Organisation(slug=slug)

    def projects(self, organisation: str) -> list[Channel]:
        """The channels of an organisation, by number."""
        own = (one for one in self._entries.values() if isinstance(one, Channel) and one.organisation == organisation)
        return sorted(own, key=lambda channel: channel.id)

    def project(self, organisation: str, slug_or_number: str) -> Channel | None:
        """A channel by its slug or number; None if this organisation has no such one."""
        for channel in self.projects(organisation):
            if slug_or_number in (channel.project_slug, str(channel.id)):
                return channel
        return None

    def environments(self, organisation: str) -> list[Environment]:
        """The environments of an organisation, by name."""
        own = (one for one in self._entries.values() if isinstance(one, Environment))
        return sorted((one for one in own if one.organisation == organisation), key=lambda one: one.slug)

    def keys(self, organisation: str, channel: int) -> list[Key]:
        """The keys that may send to a channel, oldest first."""
        own = (one for one in self._entries.values() if isinstance(one, Key) and one.organisation == organisation)
        usable = (one for one in own if one.channels is None or channel in one.channels)
        return sorted(usable, key=lambda key: (key.created_at, key.sha256))


class FollowedRegistry:
    """A copy of the broker's registry. `run` keeps it up to date until it is cancelled."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = ConsoleRegistry()
        self._log = RegistryLog(client, TIMEOUT_S)
        self._clock = clock
        self._current_at_s: float | None = None
        self._again = asyncio.Event()
        metrics.REGISTRY_AGE_SECONDS.set_function(self.age_s)

    @property
    def ready(self) -> bool:
        """Whether every entry was read once."""
        return self._current_at_s is not None

    def age_s(self) -> float:
        """Seconds since every change was known; infinite before the first time."""
        return float("inf") if self._current_at_s is None else self._clock() - self._current_at_s

    def resync(self) -> None:
        """Reads everything again now: the connection is new, and the bucket may be new too."""
        self._again.set()

    async def run(self) -> None:
        """Follows the bucket until cancelled."""
        while True:
            self._again.clear()
            await self._snapshot_at_last()
            end_s = self._clock() + RESYNC_S
            while not self._again.is_set() and self._clock() < end_s:
                if not await self._take_next():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._again.wait(), PAUSE_S)

    async def _snapshot_at_last(self) -> None:
        reported = ""
        while True:
            try:
                async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
                    changes = await self._log.read_all()
            except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
                text = str(error) or type(error).__name__
                if text != reported:
                    log.warning("registry_unreachable", error=text)
                reported = text
                await asyncio.sleep(RETRY_S)
            else:
                self.directory.replace(changes)
                self._current_at_s = self._clock()
                return

    async def _take_next(self) -> bool:
        """Stores the next change; False if there is none, or the broker is away."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                change = await self._log.after(self.directory.revision)
        except (nats.errors.Error, OSError, TimeoutError):
            return False
        self._current_at_s = self._clock()
        if change is None:
            return False
        self.directory.put(change)
        return True
