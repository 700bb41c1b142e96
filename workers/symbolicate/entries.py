"""Entries of artifacts in memory, those used last: which file of an artifact has a debug id, or was served at a URL."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.artifacts.bundle import SOURCE_MAP, BundledFile
from schemas.artifacts.entry import Artifact, InvalidEntry, decode_artifact

if TYPE_CHECKING:
    from ops.runtime.artifacts.library import ArtifactLibrary

# Files of all entries in memory together; each takes about 1 kB.
MAX_FILES: Final = 50_000


@dataclass(slots=True)
class IndexedArtifact:
    """An artifact with its files by what asks for them."""

    artifact: Artifact
    source_maps: dict[str, BundledFile] = field(default_factory=dict)
    # Files that are no source maps (minified sources, mappings), by debug id.
    other_files: dict[str, BundledFile] = field(default_factory=dict)
    by_url: dict[str, BundledFile] = field(default_factory=dict)

    @classmethod
    def of(cls, artifact: Artifact) -> IndexedArtifact:
        """Indexes the files of an artifact by debug id and URL."""
        entry = cls(artifact)
        for file in artifact.files:
            if file.debug_id:
                (entry.source_maps if file.kind == SOURCE_MAP else entry.other_files)[file.debug_id] = file
            if file.url:
                entry.by_url[file.url] = file
        return entry


class EntryCache:
    """Reads entries from the object store and holds the last ones."""

    def __init__(self, library: ArtifactLibrary, max_files: int = MAX_FILES) -> None:
        self._library = library
        self._max_files = max_files
        self._entries: OrderedDict[str, IndexedArtifact] = OrderedDict()
        self._files = 0

    async def get(self, name: str) -> IndexedArtifact | None:
        """The entry of this object name; None if it was deleted or cannot be read. Raises what the store raises."""
        if name in self._entries:
            self._entries.move_to_end(name)
            return self._entries[name]
        data = await self._library.store.get(name)
        if data is None:
            return None
        try:
            entry = IndexedArtifact.of(decode_artifact(data))
        except InvalidEntry:
            return None
        if name not in self._entries:
            self._put(name, entry)
        return entry

    def _put(self, name: str, entry: IndexedArtifact) -> None:
        self._entries[name] = entry
        self._files += len(entry.artifact.files)
        while self._files > self._max_files and len(self._entries) > 1:
            _, dropped = self._entries.popitem(last=False)
            self._files -= len(dropped.artifact.files)
