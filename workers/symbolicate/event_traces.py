"""What of an event can be resolved: names in its bytes, its stack traces and debug ids. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import orjson

from schemas.artifacts.debug_ids import debug_id
from workers.normalise.scalars import as_dict, as_list, as_text

# Of one event: its last frames are what people read.
MAX_TRACES: Final = 50
MAX_FRAMES: Final = 250
MAX_IMAGES: Final = 5_000
# Looked at in the bytes of an event, before it is parsed.
_MAX_NAMED: Final = 64

# Looked for by `find`, which takes a tenth of the time of a regular expression.
_ID_NAMES: Final = (b'"debug_id"', b'"uuid"')
_RELEASE_NAMES: Final = (b'"release"',)
_ID: Final = re.compile(rb'\s{0,8}:\s{0,8}"([0-9A-Fa-f-]{32,45})"')
_RELEASE: Final = re.compile(rb'\s{0,8}:\s{0,8}("(?:[^"\\]|\\.){1,250}")')


@dataclass(slots=True)
class StackTrace:
    """One stack trace: the object that has it under "stacktrace", and its frames, oldest call first."""

    owner: dict[str, Any]
    frames: list[Any]


@dataclass(slots=True)
class EventTraces:
    """The stack traces of one event, and what names their files.

    `source_maps` are debug ids by the address of a minified file, `mappings` those of ProGuard mappings.
    """

    traces: list[StackTrace]
    release: str
    dist: str
    platform: str
    source_maps: dict[str, str] = field(default_factory=dict)
    mappings: list[str] = field(default_factory=list)


def named_debug_ids(body: bytes) -> Iterator[str]:
    """Debug ids in the bytes of an event; of many, the first ones."""
    for value in _values(body, _ID_NAMES, _ID):
        if normalised_id := debug_id(value.decode()):
            yield normalised_id


def named_releases(body: bytes) -> Iterator[str]:
    """Releases in the bytes of an event."""
    for value in _values(body, _RELEASE_NAMES, _RELEASE):
        try:
            yield orjson.loads(value)
        except orjson.JSONDecodeError:
            continue


def _values(body: bytes, names: tuple[bytes, ...], value: re.Pattern[bytes]) -> Iterator[bytes]:
    for name in names:
        offset = body.find(name)
        for _ in range(_MAX_NAMED):
            if offset < 0:
                break
            offset += len(name)
            if match := value.match(body, offset):
                yield match[1]
            offset = body.find(name, offset)


def read_stack_traces(payload: dict[str, Any]) -> EventTraces:
    """Every stack trace of an event, and the debug ids that it names."""
    event = EventTraces(
        list(islice(_traces(payload), MAX_TRACES)),
        as_text(payload.get("release")),
        as_text(payload.get("dist")),
        as_text(payload.get("platform")),
    )
    for image in as_list(as_dict(payload.get("debug_meta")).get("images"))[:MAX_IMAGES]:
        if image.__class__ is dict:
            _read_image(event, image)
    return event


def _traces(payload: dict[str, Any]) -> Iterator[StackTrace]:
    exception = payload.get("exception")
    values = exception.get("values", [exception]) if exception.__class__ is dict else exception
    threads = payload.get("threads")
    of_threads = threads.get("values") if threads.__class__ is dict else threads
    for owner in (*as_list(values), payload, *as_list(of_threads)):
        if owner.__class__ is not dict:
            continue
        frames = as_dict(owner.get("stacktrace")).get("frames")
        if frames.__class__ is list and frames:
            yield StackTrace(owner, frames)


def _read_image(event: EventTraces, image: dict[str, Any]) -> None:
    kind = image.get("type")
    if kind == "sourcemap":
        code_file, map_id = image.get("code_file"), debug_id(image.get("debug_id"))
        if map_id and code_file.__class__ is str:
            event.source_maps.setdefault(code_file, map_id)
    elif kind == "proguard" and (mapping_id := debug_id(image.get("uuid") or image.get("debug_id"))):
        event.mappings.append(mapping_id)
