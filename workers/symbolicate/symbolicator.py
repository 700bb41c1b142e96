"""Gives an event the frames of its source, where artifacts for it were uploaded; the frames as sent stay beside them.

Normalising stays pure: it gets an event whose frames are resolved. What could not be resolved is named in the item's
header, from where it comes into the row's `repairs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from schemas import headers
from schemas.envelope import body as envelope
from schemas.tolerant_json import dumps_text, loads_with_text
from workers import metrics
from workers.normalise.envelope_item import PAYLOAD_REWRITTEN, SYMBOLICATED
from workers.normalise.scalars import as_list
from workers.symbolicate import java, javascript, words
from workers.symbolicate.event_traces import MAX_FRAMES, EventTraces, named_debug_ids, named_releases, read_traces
from workers.symbolicate.map_service import MapService, NamedElsewhere, Unresolvable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.headers import Origin
    from workers.consume.message import Message
    from workers.symbolicate.find_maps import MapFiles, MapFinder
    from workers.symbolicate.known import KnownArtifacts

# Different minified files of one event that are looked for.
MAX_FILES: Final = 40
# A message delivered this often is stored as it came if the object store still does not answer.
LAST_TRY: Final = 3
ALL, SOME, NONE = "all", "some", "none"

log = structlog.get_logger()


@dataclass(slots=True)
class _Progress:
    """What became of the frames of one event."""

    has_resolved: bool = False
    has_unresolved: bool = False
    repairs: dict[str, None] = field(default_factory=dict)

    def fail(self, word: str) -> None:
        self.repairs[word] = None

    @property
    def state(self) -> str:
        if not self.has_resolved:
            return NONE
        return SOME if self.has_unresolved or self.repairs else ALL


class Symbolicator:
    """Resolves frames of the events of one process."""

    def __init__(self, known: KnownArtifacts, finder: MapFinder, maps: MapService) -> None:
        self._known = known
        self._finder = finder
        self._maps = maps

    def concerns(self, message: Message) -> bool:
        """True if the event names an uploaded debug id or release.

        Only searches the raw bytes; returns at once if the organisation has no artifacts.
        """
        known, organisation = self._known, message.headers.get(headers.ORGANISATION, "")
        if not known.has_organisation(organisation):
            return False
        return any(known.by_debug_id(organisation, debug_id) for debug_id in named_debug_ids(message.body)) or any(
            known.has_release(organisation, release) for release in named_releases(message.body)
        )

    async def resolve(self, message: Message, origin: Origin) -> Message:
        """The message with resolved frames; the same message if there are none. Raises nats.errors.Error."""
        if not self.concerns(message):
            return message
        try:
            return await self._resolved(message, origin)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if message.deliveries < LAST_TRY:
                raise nats.errors.TimeoutError from error
            return _with_repair(message, words.SOURCE_MAP_UNREACHABLE)
        except Exception:
            # A fault of ours must not cost the event.
            log.exception("symbolication_failed", channel=origin.channel_id, seq=message.seq)
            return _with_repair(message, words.FAILED)

    async def _resolved(self, message: Message, origin: Origin) -> Message:
        opened = _open(message.body)
        if opened is None:
            return message
        header, item, payload, rewritten = opened
        event, progress = read_traces(payload), _Progress()
        await self._resolve_javascript(origin, event, progress)
        await self._resolve_java(origin, event, payload, progress)
        if not progress.has_resolved and not progress.repairs:
            return message
        metrics.SYMBOLICATED.labels(progress.state).inc()
        if not progress.has_resolved:
            return replace(message, body=_write_envelope(header, item, item.payload, progress.state, progress.repairs))
        # The normaliser gets strict JSON from here on, and cannot see any more that what was sent was none.
        repairs = [*progress.repairs, PAYLOAD_REWRITTEN] if rewritten else progress.repairs
        resolved = dumps_text(payload).encode()
        return replace(message, body=_write_envelope(header, item, resolved, progress.state, repairs))

    async def _resolve_javascript(self, origin: Origin, event: EventTraces, progress: _Progress) -> None:
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
        progress: _Progress,
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

    async def _resolve_java(
        self, origin: Origin, event: EventTraces, payload: dict[str, Any], progress: _Progress
    ) -> None:
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
    progress: _Progress,
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
    progress: _Progress,
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


def _open(body: bytes) -> tuple[envelope.EnvelopeHeader, envelope.Item, dict[str, Any], bool] | None:
    """The event in the envelope; None where normalising will refuse it."""
    try:
        header, items = envelope.read(body)
        payload, _, rewritten = loads_with_text(items[0].payload) if len(items) == 1 else (None, "", False)
    except (envelope.EnvelopeError, ValueError):
        return None
    return (header, items[0], payload, rewritten) if payload.__class__ is dict else None


def _with_repair(message: Message, word: str) -> Message:
    """The message as it came, with a word for its repairs."""
    opened = _open(message.body)
    if opened is None:
        return message
    header, item, *_ = opened
    return replace(message, body=_write_envelope(header, item, item.payload, NONE, [word]))


def _write_envelope(
    header: envelope.EnvelopeHeader,
    item: envelope.Item,
    payload: bytes | memoryview,
    state: str,
    repairs: Iterable[str],
) -> bytes:
    item_header = {**item.header, "repairs": [*as_list(item.header.get("repairs")), *repairs], SYMBOLICATED: state}
    return envelope.write_single(header.raw, item_header, payload)
