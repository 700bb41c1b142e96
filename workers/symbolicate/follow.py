"""Follows the object store of artifacts, as a receiver follows the registry: what changed since the last look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog

from ops.runtime.artifacts.object_store import DamagedObject, ObjectInfo
from schemas.artifacts.entry import InvalidEntry, is_entry
from workers import metrics

if TYPE_CHECKING:
    from ops.runtime.artifacts.library import ArtifactLibrary
    from workers.symbolicate.known import KnownArtifacts

# Pause between two looks, so that an upload is known within a second.
PAUSE_S: Final = 0.5
RETRY_S: Final = 2.0
# After a deletion all is read again, because the deleted artifact may have covered up an older one; seldom, because
# pruning deletes many.
RESYNC_S: Final = 30.0

log = structlog.get_logger()


class ArtifactFollower:
    """Keeps `known` as the object store is. `run` ends when it is cancelled."""

    def __init__(self, library: ArtifactLibrary, known: KnownArtifacts, clock: Callable[[], float]) -> None:
        self._library = library
        self._known = known
        self._clock = clock
        self._revision = 0
        self._resync_due_s: float | None = None

    async def run(self) -> None:
        """Looks for changes until cancelled. A broker without the bucket (`migrate` is older) has no artifacts."""
        while True:
            try:
                await self.look()
                pause_s = PAUSE_S
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.debug("artifacts_not_followed", error=repr(error))
                pause_s = RETRY_S
            metrics.KNOWN_ARTIFACTS.set(len(self._known))
            await asyncio.sleep(pause_s)

    async def look(self) -> None:
        """Reads everything that changed. Raises nats.errors.Error, OSError, TimeoutError."""
        if self._resync_due_s is not None and self._clock() >= self._resync_due_s:
            self._resync_due_s, self._revision = None, 0
            self._known.clear()
        while changes := await self._library.store.changes(self._revision):
            for info in changes:
                if is_entry(info.name):
                    await self._apply(info)
                self._revision = info.revision

    async def _apply(self, info: ObjectInfo) -> None:
        if info.is_deleted:
            if self._known.remove(info.name) and self._resync_due_s is None:
                self._resync_due_s = self._clock() + RESYNC_S
            return
        try:
            artifact = await self._library.entry_of(info)
        except (InvalidEntry, DamagedObject) as error:
            log.error("artifact_unreadable", name=info.name, error=str(error))
            return
        if artifact is not None:
            self._known.add(artifact)
        await asyncio.sleep(0)  # an entry of thousands of files takes milliseconds
