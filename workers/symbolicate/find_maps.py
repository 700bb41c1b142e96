"""Finds the source map of a minified file: by debug id, else by release, dist and address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.artifacts.urls import candidates, joined

if TYPE_CHECKING:
    from schemas.artifacts.bundle import BundledFile
    from schemas.artifacts.entry import Artifact
    from schemas.headers import Origin
    from workers.symbolicate.entries import EntryCache, IndexedArtifact
    from workers.symbolicate.event_traces import EventTraces
    from workers.symbolicate.known import KnownArtifacts


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file and the artifact that it lies in."""

    artifact: Artifact
    file: BundledFile

    @property
    def key(self) -> str:
        """Names these bytes, for ever."""
        return f"{self.artifact.object_name}/{self.file.member.name}"


@dataclass(frozen=True, slots=True)
class MapFiles:
    """What a map is built of. Without `source_map` the minified file has it inside, or names it."""

    minified: StoredFile | None
    source_map: StoredFile | None

    @property
    def key(self) -> str:
        """Names the built map."""
        return "\n".join(stored.key for stored in (self.minified, self.source_map) if stored)

    @property
    def url(self) -> str:
        """The address of the source map, or of the file that has it inside."""
        stored = self.source_map or self.minified
        return stored.file.url if stored else ""


class MapFinder:
    """Finds maps for the events of one release. Methods raise what the object store raises."""

    def __init__(self, known: KnownArtifacts, entries: EntryCache) -> None:
        self._known = known
        self._entries = entries

    async def find(self, origin: Origin, event: EventTraces, abs_path: str) -> MapFiles | None:
        """The files for frames of the minified file `abs_path`; None if nobody uploaded them."""
        debug_id = event.source_maps.get(abs_path)
        if debug_id and (files := await self._by_debug_id(origin, debug_id)):
            return files
        return await self._by_url(origin, event, abs_path)

    async def named(self, origin: Origin, event: EventTraces, minified: StoredFile, reference: str) -> MapFiles | None:
        """The files where the minified one names its map."""
        url = joined(minified.file.url, reference)
        source_map = await self._file(origin, event, url) or await self._beside(minified, url) if url else None
        return MapFiles(minified, source_map) if source_map else None

    async def _beside(self, minified: StoredFile, url: str) -> StoredFile | None:
        """The file at `url` in the same artifact, which may be of no release."""
        entry = await self._entry(minified.artifact.object_name)
        file = entry.by_url.get(url) if entry else None
        return StoredFile(minified.artifact, file) if file else None

    async def mapping(self, origin: Origin, debug_id: str) -> StoredFile | None:
        """A ProGuard mapping."""
        entry = await self._entry(self._known.by_debug_id(origin.organisation, debug_id))
        file = entry.other_files.get(debug_id) if entry else None
        return StoredFile(entry.artifact, file) if entry and file else None

    async def _by_debug_id(self, origin: Origin, debug_id: str) -> MapFiles | None:
        entry = await self._entry(self._known.by_debug_id(origin.organisation, debug_id))
        if entry is None:
            return None
        minified, source_map = entry.other_files.get(debug_id), entry.source_maps.get(debug_id)
        if minified is None and source_map is None:
            return None
        return MapFiles(
            StoredFile(entry.artifact, minified) if minified else None,
            StoredFile(entry.artifact, source_map) if source_map else None,
        )

    async def _by_url(self, origin: Origin, event: EventTraces, abs_path: str) -> MapFiles | None:
        if not self._known.has_release(origin.organisation, event.release):
            return None
        for url in candidates(abs_path):
            minified = await self._file(origin, event, url)
            if minified is None:
                continue
            if reference := minified.file.source_map:
                return await self.named(origin, event, minified, reference) or MapFiles(minified, None)
            return MapFiles(minified, None)
        return None

    async def _file(self, origin: Origin, event: EventTraces, url: str) -> StoredFile | None:
        release = (event.release, event.dist)
        entry = await self._entry(self._known.by_url(origin.organisation, origin.channel_id, release, url))
        file = entry.by_url.get(url) if entry else None
        return StoredFile(entry.artifact, file) if entry and file else None

    async def _entry(self, name: str) -> IndexedArtifact | None:
        return await self._entries.get(name) if name else None
