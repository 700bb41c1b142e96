"""A worker's symbolication with an object store in memory and the real process that builds maps."""

from __future__ import annotations

import hashlib
import zlib

import orjson

from ops.runtime.artifacts.library import ArtifactLibrary
from schemas import headers, subjects
from schemas.artifacts.bundle import BundledFile
from schemas.artifacts.entry import Artifact, chunk_name, encode_artifact
from schemas.artifacts.zip_directory import STORED, Member
from schemas.envelope import body as envelope
from tests.unit.worker_fakes import RECEIVED_AT_NS, FakeReceipt, origin
from workers.consume.message import Message
from workers.symbolicate.entries import EntryCache
from workers.symbolicate.event_symbolicator import EventSymbolicator
from workers.symbolicate.find_maps import MapFinder
from workers.symbolicate.frame_resolver import FrameResolver
from workers.symbolicate.known import KnownArtifacts
from workers.symbolicate.maps.process import MapProcess
from workers.symbolicate.maps.service import MapService

ORIGIN = origin(organisation="default")


class StoreInMemory:
    """Of an object store, what reading artifacts needs; counts what is read."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []
        self.error: Exception | None = None

    async def get(self, name: str) -> bytes | None:
        self.reads.append(name)
        if self.error is not None:
            raise self.error
        return self.objects.get(name)


class SymbolicationHarness:
    """Artifacts, and events that are resolved with them."""

    def __init__(self, process: MapProcess) -> None:
        self.store = StoreInMemory()
        self.known = KnownArtifacts()
        library = ArtifactLibrary(self.store)  # type: ignore[arg-type]
        self.finder = MapFinder(self.known, EntryCache(library))
        self.frames = FrameResolver(self.finder, MapService(library, process))
        self.symbolicator = EventSymbolicator(self.known, self.frames)

    def upload(self, data: bytes, artifact: Artifact) -> Artifact:
        """Stores an artifact of one chunk and makes it known."""
        self.store.objects[chunk_name(artifact.organisation, artifact.sha1)] = data
        self.store.objects[artifact.object_name] = encode_artifact(artifact)
        self.known.add(artifact)
        return artifact

    async def resolve(self, event: object, **header: object) -> tuple[dict, dict]:  # type: ignore[type-arg]
        """(payload, item header) of the event after resolving."""
        resolved = await self.symbolicator.resolve(message_of(event, **header), ORIGIN)
        _, [item] = envelope.read(resolved.body)
        return orjson.loads(item.payload), item.header


def message_of(event: object, deliveries: int = 1, **header: object) -> Message:
    """The event as unpack hands it over."""
    payload = event if isinstance(event, bytes) else orjson.dumps(event)
    body = envelope.write_single(b"{}", {"type": "event", **header}, payload)
    named = {headers.ORGANISATION: "default"}
    receipt = FakeReceipt([], "event")
    return Message("item.event.7", named, body, subjects.ITEMS, 1, deliveries, RECEIVED_AT_NS, receipt)


def upload_file(
    harness: SymbolicationHarness, data: bytes, kind: str, *, release: str = "", file_kind: str = "", **file: str
) -> None:
    """An artifact of one file that is stored as it is: a file of a release, a mapping."""
    member = Member("file", 0, len(data), len(data), STORED, zlib.crc32(data))
    stored = BundledFile(
        file.get("url", ""), file_kind or kind, file.get("debug_id", ""), file.get("source_map", ""), member
    )
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    chunks = ((sha1, len(data)),)
    harness.upload(data, Artifact("default", sha1, kind, release, "", (), "", len(data), 1, chunks, (stored,)))
