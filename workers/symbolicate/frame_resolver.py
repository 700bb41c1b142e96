"""Resolves the frames of stack traces by uploaded source maps and mappings, wherever the traces came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from workers.symbolicate import java, javascript, words
from workers.symbolicate.event_traces import MAX_FRAMES, EventTraces
from workers.symbolicate.maps.service import MapService, NamedElsewhere, Unresolvable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.headers import Origin
    from workers.symbolicate.find_maps import MapFiles, MapFinder

# Different minified files of one event that are looked for.
MAX_FILES: Final = 40
ALL, SOME, NONE = "all", "some", "none"


@dataclass(slots=True)
class Progress:
    """What became of the frames of one event or stack trace."""

    has_resolved: bool = False
    has_unresolved: bool = False
    repairs: dict[str, None] = field(default_factory=dict)

    def fail(self, word: str) -> None:
        """Notes why frames stay as they are: one of words.py."""
        self.repairs[word] = None

    @property
    def state(self) -> str:
        """How many of the frames were resolved: ALL, SOME or NONE."""
        if not self.has_resolved:
            return NONE
        return SOME if self.has_unresolved or self.repairs else ALL


class FrameResolver:
    """Resolves the frames of an event in place. Methods raise what the object store raises."""

    def __init__(self, finder: MapFinder, maps: MapService) -> None:
        self._finder = finder
        self._maps = maps

    async def resolve_javascript(self, origin: Origin, event: EventTraces, progress: Progress) -> None:
        """Frames of JavaScript, by source maps."""
        wanted: dict[str, dict[javascript.MinifiedPosition, None]] = {}
        for trace in event.traces:
            for frame in trace.frames[-MAX_FRAMES:]:
                if position := javascript.position_of(frame, event.platform):
                    wanted.setdefault(position.abs_path, {})[position] = None
        looked_up: dict[javascript.MinifiedPosition, tuple[tuple[Any, ...], str]] = {}
        for abs_path, positions in list(wanted.items())[:MAX_FILES]:
            looked_up |= await self._look_up(origin, event, abs_path, list(positions), progress)
        if looked_up:
            for trace in event.traces:
                _put_frames(trace.owner, _javascript_frames(trace.frames, event.platform, looked_up, progress))

    async def _look_up(
        self,
        origin: Origin,
        event: EventTraces,
        abs_path: str,
        positions: list[javascript.MinifiedPosition],
        progress: Progress,
    ) -> dict[javascript.MinifiedPosition, tuple[tuple[Any, ...], str]]:
        """What the map of one file says about positions in it."""
        try:
            files = await self._finder.find(origin, event, abs_path)
            if files is None:
                if javascript.is_served(abs_path):
                    progress.fail(words.SOURCE_MAP_MISSING)
                return {}
            lines = [(position.line, position.column) for position in positions]
            files, tokens = await self._look_up_frames(origin, event, files, lines)
        except Unresolvable as error:
            progress.fail(str(error))
            return {}
        return {at: (token, files.url) for at, token in zip(positions, tokens, strict=True) if token is not None}

    async def _look_up_frames(
        self, origin: Origin, event: EventTraces, files: MapFiles, positions: list[tuple[int, int]]
    ) -> tuple[MapFiles, list[tuple[Any, ...] | None]]:
        """Asks the map; where the minified file names another file as its map, that one."""
        try:
            return files, await self._maps.frames(files, positions)
        except NamedElsewhere as reference:
            assert files.minified is not None
            elsewhere = await self._finder.named(origin, event, files.minified, str(reference))
            if elsewhere is None:
                raise Unresolvable(words.SOURCE_MAP_MISSING) from reference
            return elsewhere, await self._maps.frames(elsewhere, positions)

    async def resolve_java(
        self, origin: Origin, event: EventTraces, payload: dict[str, Any], progress: Progress
    ) -> None:
        """Frames and exceptions of Java, by the mapping that the event names."""
        if not event.mappings:
            return
        mapping = await self._finder.mapping(origin, event.mappings[0])
        if mapping is None:
            progress.fail(words.MAPPING_MISSING)
            return
        classes, methods = _java_request(event, payload)
        try:
            names, frames = await self._maps.java(mapping, classes, methods)
        except Unresolvable as error:
            progress.fail(str(error))
            return
        by_method = {method: lines for method, lines in zip(methods, frames, strict=True) if lines}
        _apply_java(event, payload, dict(zip(classes, names, strict=True)), by_method, progress)


def _java_request(event: EventTraces, payload: dict[str, Any]) -> tuple[list[str], list[java.MethodLine]]:
    """(classes, methods with their lines) that the mapping is asked about, each once."""
    frames = [frame for trace in event.traces for frame in trace.frames[-MAX_FRAMES:]]
    methods = list(dict.fromkeys(method for frame in frames if (method := java.method_line_of(frame))))
    of_exceptions = [name for exception in java.exceptions_of(payload) if (name := java.class_of(exception))]
    return list(dict.fromkeys([*of_exceptions, *(method[0] for method in methods)])), methods


def _apply_java(
    event: EventTraces,
    payload: dict[str, Any],
    class_names: dict[str, str | None],
    frames: Mapping[java.MethodLine, Sequence[java.JavaFrame]],
    progress: Progress,
) -> None:
    """Gives exceptions and frames their names in the source."""
    for exception in java.exceptions_of(payload):
        if (name := java.class_of(exception)) and java.rename(exception, class_names.get(name)):
            progress.has_resolved = True
    for trace in event.traces:
        resolved = java.resolved_frames(trace, frames, class_names)
        if resolved != trace.frames:
            progress.has_resolved = True
            _put_frames(trace.owner, resolved)


def _javascript_frames(
    frames: list[Any],
    platform: str,
    looked_up: dict[javascript.MinifiedPosition, tuple[tuple[Any, ...], str]],
    progress: Progress,
) -> list[Any] | None:
    """The frames with those that were looked up resolved; None if there are none."""
    resolved, called_as, changed = [], "", False
    for frame in frames:
        position = javascript.position_of(frame, platform)
        if position is None or position not in looked_up:
            if position is not None and javascript.is_served(position.abs_path):
                progress.has_unresolved = True
            resolved.append(frame)
            called_as = ""
            continue
        token, map_url = looked_up[position]
        resolved.append(javascript.resolved(frame, token, map_url, called_as))
        called_as, changed = token[3] or "", True
        progress.has_resolved = True
    return resolved if changed else None


def _put_frames(owner: dict[str, Any], frames: list[Any] | None) -> None:
    """Gives the stack trace its new frames; what was sent becomes `raw_stacktrace`."""
    if frames is not None:
        owner["raw_stacktrace"] = owner["stacktrace"]
        owner["stacktrace"] = {**owner["stacktrace"], "frames": frames}
