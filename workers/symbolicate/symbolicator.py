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

    resolved: int = 0
    left: int = 0
    repairs: dict[str, None] = field(default_factory=dict)

    def fail(self, word: str) -> None:
        self.repairs[word] = None

    @property
    def state(self) -> str:
        if not self.resolved:
            return NONE
        return SOME if self.left or self.repairs else ALL


class Symbolicator:
    """Resolves frames of the events of one process."""

    def __init__(self, known: KnownArtifacts, finder: MapFinder, maps: MapService) -> None:
        self._known = known
        self._finder = finder
        self._maps = maps

    def concerns(self, message: Message) -> bool:
        """Whether artifacts are known for what the event names. A look at its bytes; without artifacts, at nothing."""
        known, organisation = self._known, message.headers.get(headers.ORGANISATION, "")
        if not known.has_organisation(organisation):
            return False
        return any(known.by_debug_id(organisation, named) for named in named_debug_ids(message.body)) or any(
            known.has_release(organisation, named) for named in named_releases(message.body)
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
            return _noted(message, words.SOURCE_MAP_UNREACHABLE)
        except Exception:
            # A fault of ours must not cost the event.
            log.exception("symbolication_failed", channel=origin.channel_id, seq=message.seq)
            return _noted(message, words.FAILED)

    async def _resolved(self, message: Message, origin: Origin) -> Message:
        opened = _open(message.body)
        if opened is None:
            return message
        header, item, payload, rewritten = opened
        event, progress = read_traces(payload), _Progress()
        await self._resolve_javascript(origin, event, progress)
        await self._resolve_java(origin, event, payload, progress)
        if not progress.resolved and not progress.repairs:
            return message
        metrics.SYMBOLICATED.labels(progress.state).inc()
        if rewritten:
            progress.fail(PAYLOAD_REWRITTEN)
        body = _written(header, item, dumps_text(payload).encode() if progress.resolved else item.payload, progress)
        return replace(message, body=body)

    async def _resolve_javascript(self, origin: Origin, event: EventTraces, progress: _Progress) -> None:
        wanted: dict[str, dict[javascript.MinifiedPlace, None]] = {}
        for trace in event.traces:
            for frame in trace.frames[-MAX_FRAMES:]:
                if place := javascript.place_of(frame, event.platform):
                    wanted.setdefault(place.abs_path, {})[place] = None
        looked_up: dict[javascript.MinifiedPlace, tuple[tuple[Any, ...], str]] = {}
        for abs_path, places in list(wanted.items())[:MAX_FILES]:
            looked_up |= await self._look_up(origin, event, abs_path, list(places), progress)
        if looked_up:
            for trace in event.traces:
                _put_frames(trace.owner, _javascript_frames(trace.frames, event.platform, looked_up, progress))

    async def _look_up(
        self,
        origin: Origin,
        event: EventTraces,
        abs_path: str,
        places: list[javascript.MinifiedPlace],
        progress: _Progress,
    ) -> dict[javascript.MinifiedPlace, tuple[tuple[Any, ...], str]]:
        """What the map of one file says about places in it."""
        try:
            files = await self._finder.find(origin, event, abs_path)
            if files is None:
                if javascript.is_served(abs_path):
                    progress.fail(words.SOURCE_MAP_MISSING)
                return {}
            files, found = await self._asked(origin, event, files, [(place.line, place.column) for place in places])
        except Unresolvable as error:
            progress.fail(str(error))
            return {}
        return {place: (token, files.url) for place, token in zip(places, found, strict=True) if token is not None}

    async def _asked(
        self, origin: Origin, event: EventTraces, files: MapFiles, places: list[tuple[int, int]]
    ) -> tuple[MapFiles, list[tuple[Any, ...] | None]]:
        """Asks the map; where the minified file names another file as its map, that one."""
        try:
            return files, await self._maps.frames(files, places)
        except NamedElsewhere as named:
            assert files.minified is not None
            elsewhere = await self._finder.named(origin, event, files.minified, str(named))
            if elsewhere is None:
                raise Unresolvable(words.SOURCE_MAP_MISSING) from named
            return elsewhere, await self._maps.frames(elsewhere, places)

    async def _resolve_java(
        self, origin: Origin, event: EventTraces, payload: dict[str, Any], progress: _Progress
    ) -> None:
        for debug_id in event.mappings[:1]:
            mapping = await self._finder.mapping(origin, debug_id)
            if mapping is None:
                progress.fail(words.MAPPING_MISSING)
                continue
            frames = [frame for trace in event.traces for frame in trace.frames[-MAX_FRAMES:]]
            places = list(dict.fromkeys(place for frame in frames if (place := java.place_of(frame))))
            exceptions = java.exceptions_of(payload)
            of_exceptions = [name for one in exceptions if (name := java.class_of(one))]
            classes = list(dict.fromkeys([*of_exceptions, *(place[0] for place in places)]))
            try:
                names, remapped = await self._maps.java(mapping, classes, places)
            except Unresolvable as error:
                progress.fail(str(error))
                continue
            renamed = dict(zip(classes, names, strict=True))
            by_place = {place: found for place, found in zip(places, remapped, strict=True) if found}
            for one in exceptions:
                progress.resolved += java.rename(one, renamed.get(java.class_of(one))) if java.class_of(one) else 0
            for trace in event.traces:
                made = java.resolved_frames(trace, by_place, renamed)
                progress.resolved += made != trace.frames
                if made != trace.frames:
                    _put_frames(trace.owner, made)


def _javascript_frames(
    frames: list[Any],
    platform: str,
    looked_up: dict[javascript.MinifiedPlace, tuple[tuple[Any, ...], str]],
    progress: _Progress,
) -> list[Any] | None:
    """The frames with those that were looked up resolved; None if there are none."""
    made, called_as, changed = [], "", False
    for frame in frames:
        place = javascript.place_of(frame, platform)
        if place is None or place not in looked_up:
            progress.left += place is not None and javascript.is_served(place.abs_path)
            made.append(frame)
            called_as = ""
            continue
        token, map_url = looked_up[place]
        made.append(javascript.resolved(frame, token, map_url, called_as))
        called_as, changed = token[3] or "", True
        progress.resolved += 1
    return made if changed else None


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


def _noted(message: Message, word: str) -> Message:
    """The message as it came, with a word for its repairs."""
    opened = _open(message.body)
    if opened is None:
        return message
    header, item, *_ = opened
    progress = _Progress(repairs={word: None})
    return replace(message, body=_written(header, item, item.payload, progress))


def _written(
    header: envelope.EnvelopeHeader, item: envelope.Item, payload: bytes | memoryview, progress: _Progress
) -> bytes:
    item_header = {
        **item.header,
        "repairs": [*as_list(item.header.get("repairs")), *progress.repairs],
        SYMBOLICATED: progress.state,
    }
    return envelope.write_single(header.raw, item_header, payload)
