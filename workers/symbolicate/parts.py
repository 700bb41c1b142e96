"""Puts the parts of symbolication together for one worker process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ops.runtime.artifacts.library import ArtifactLibrary
from ops.runtime.artifacts.object_store import ObjectStore
from schemas.subjects import ARTIFACTS_BUCKET
from workers.symbolicate.entries import EntryCache
from workers.symbolicate.event_symbolicator import EventSymbolicator
from workers.symbolicate.find_maps import MapFinder
from workers.symbolicate.follow import ArtifactFollower
from workers.symbolicate.frame_resolver import FrameResolver
from workers.symbolicate.known import KnownArtifacts
from workers.symbolicate.maps.process import MapProcess
from workers.symbolicate.maps.service import MapService
from workers.symbolicate.otlp_symbolicator import OtlpSymbolicator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client

    from schemas.headers import Origin
    from workers.consume.message import Message
    from workers.settings import WorkerSettings

# Workers whose messages have stack traces of minified code.
SYMBOLICATED_WORKERS: Final = frozenset({"event", "otlp_log", "otlp_span"})


class Symbolicator(Protocol):
    """Resolves stack traces of the messages of one worker."""

    def concerns(self, message: Message) -> bool:
        """Whether the message may have stack traces for which artifacts were uploaded."""
        ...

    async def resolve(self, message: Message, origin: Origin) -> Message:
        """The message with resolved frames; the same message if there are none. Raises nats.errors.Error."""
        ...


@dataclass(frozen=True, slots=True)
class SymbolicationParts:
    """What process.py starts and ends: the follower is a task, the process a child."""

    symbolicators: Mapping[str, Symbolicator]
    follower: ArtifactFollower
    process: MapProcess

    @classmethod
    def open(cls, client: Client, settings: WorkerSettings) -> SymbolicationParts:
        """Connects the parts; nothing is read or started yet."""
        library, known = ArtifactLibrary(ObjectStore(client, ARTIFACTS_BUCKET)), KnownArtifacts()
        process = MapProcess(settings.worker_symbols_memory_bytes, settings.worker_symbols_cpu_s)
        finder = MapFinder(known, EntryCache(library))
        frames = FrameResolver(finder, MapService(library, process))
        otlp = {name: OtlpSymbolicator(known, frames, is_logs=name == "otlp_log") for name in ("otlp_log", "otlp_span")}
        return cls(
            {"event": EventSymbolicator(known, frames), **otlp},
            ArtifactFollower(library, known, time.monotonic),
            process,
        )
