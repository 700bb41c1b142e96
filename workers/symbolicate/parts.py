"""Puts the parts of symbolication together for one worker process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.runtime.artifacts.library import ArtifactLibrary
from ops.runtime.artifacts.object_store import ObjectStore
from schemas.subjects import ARTIFACTS_BUCKET
from workers.symbolicate.entries import EntryCache
from workers.symbolicate.find_maps import MapFinder
from workers.symbolicate.follow import ArtifactFollower
from workers.symbolicate.known import KnownArtifacts
from workers.symbolicate.map_process import MapProcess
from workers.symbolicate.map_service import MapService
from workers.symbolicate.symbolicator import Symbolicator

if TYPE_CHECKING:
    from nats.aio.client import Client

    from workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class SymbolicationParts:
    """What process.py starts and ends: the follower is a task, the process a child."""

    symbolicator: Symbolicator
    follower: ArtifactFollower
    process: MapProcess

    @classmethod
    def open(cls, client: Client, settings: WorkerSettings) -> SymbolicationParts:
        """Connects the parts; nothing is read or started yet."""
        library, known = ArtifactLibrary(ObjectStore(client, ARTIFACTS_BUCKET)), KnownArtifacts()
        process = MapProcess(settings.worker_symbols_memory_bytes, settings.worker_symbols_cpu_s)
        finder = MapFinder(known, EntryCache(library))
        return cls(
            Symbolicator(known, finder, MapService(library, process)),
            ArtifactFollower(library, known, time.monotonic),
            process,
        )
