"""Asks the map process: loads what it does not have, and remembers what cannot be built."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from ops.runtime.artifacts.library import MissingChunk
from ops.runtime.artifacts.object_store import DamagedObject
from workers import metrics
from workers.symbolicate import words
from workers.symbolicate.find_maps import MapFiles, StoredFile
from workers.symbolicate.maps.builder import (
    ABSENT,
    DONE,
    INVALID,
    NOT_INSTALLED,
    REFERENCE,
    TOO_LARGE,
    Part,
    packed_part,
)
from workers.symbolicate.maps.process import MapTooCostly

if TYPE_CHECKING:
    from ops.runtime.artifacts.library import ArtifactLibrary
    from workers.symbolicate.maps.process import MapProcess

# Maps that cannot be built are not tried again: each try could cost seconds.
MAX_REMEMBERED: Final = 10_000


class Unresolvable(Exception):
    """No frame of this file can be resolved; the text is a word for `repairs`."""


class NamedElsewhere(Exception):
    """The minified file names its source map, which is another file; the text is the name."""


class MapService:
    """Looks frames up. Methods raise Unresolvable, and what the object store raises."""

    def __init__(self, library: ArtifactLibrary, process: MapProcess) -> None:
        self._library = library
        self._process = process
        self._unbuildable: OrderedDict[str, str] = OrderedDict()

    async def frames(self, files: MapFiles, positions: list[tuple[int, int]]) -> list[tuple[Any, ...] | None]:
        """For each (line, column) what the map says. Raises NamedElsewhere."""
        key = files.key
        answer = await self._ask(key, words.SOURCE_MAP_INVALID, "frames", key, positions)
        if answer[0] == ABSENT:
            parts = await self._part(files.minified), await self._part(files.source_map)
            loaded = await self._ask(key, words.SOURCE_MAP_INVALID, "load_map", key, *parts)
            if loaded[0] == REFERENCE:
                if loaded[1]:
                    raise NamedElsewhere(loaded[1])
                raise Unresolvable(words.SOURCE_MAP_MISSING)
            answer = await self._ask(key, words.SOURCE_MAP_INVALID, "frames", key, positions)
        return answer[1] if answer[0] == DONE else [None] * len(positions)

    async def java(
        self, mapping: StoredFile, classes: list[str], methods: list[tuple[str, str, int]]
    ) -> tuple[list[str | None], list[list[tuple[Any, ...]]]]:
        """For each class its name, for each (class, method, line) its frames."""
        key = mapping.key
        answer = await self._ask(key, words.MAPPING_INVALID, "java", key, classes, methods)
        if answer[0] == ABSENT:
            part = await self._part(mapping)
            await self._ask(key, words.MAPPING_INVALID, "load_mapping", key, part)
            answer = await self._ask(key, words.MAPPING_INVALID, "java", key, classes, methods)
        return answer[1] if answer[0] == DONE else ([None] * len(classes), [[] for _ in methods])

    async def _ask(self, key: str, invalid: str, *job: Any) -> tuple[Any, ...]:
        if key in self._unbuildable:
            raise Unresolvable(self._unbuildable[key])
        try:
            answer = await self._process.ask(*job)
        except MapTooCostly as error:
            self._remember_unbuildable(key, words.SOURCE_MAP_TOO_COSTLY)
            raise Unresolvable(words.SOURCE_MAP_TOO_COSTLY) from error
        if answer[0] == NOT_INSTALLED:
            raise Unresolvable(words.NOT_INSTALLED)
        if answer[0] in {INVALID, TOO_LARGE}:
            self._remember_unbuildable(key, invalid if answer[0] == INVALID else words.SOURCE_MAP_TOO_COSTLY)
            raise Unresolvable(self._unbuildable[key])
        return answer

    def _remember_unbuildable(self, key: str, word: str) -> None:
        metrics.MAPS_UNBUILDABLE.labels(word).inc()
        self._unbuildable[key] = word
        if len(self._unbuildable) > MAX_REMEMBERED:
            self._unbuildable.popitem(last=False)

    async def _part(self, stored: StoredFile | None) -> Part | None:
        if stored is None:
            return None
        try:
            packed = await self._library.packed(stored.artifact, stored.file.member)
        except MissingChunk as error:  # deleted a moment ago
            raise Unresolvable(words.SOURCE_MAP_MISSING) from error
        except DamagedObject as error:
            raise Unresolvable(words.SOURCE_MAP_INVALID) from error
        return packed_part(packed, stored.file.member)
