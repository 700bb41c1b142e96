"""Stack traces as readable text and as the parts that identify them. Exceptions are not known here."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from workers.normalise.scalars import as_dict, as_list, as_text, whole

# What Sentry keeps of a long trace: where it began, and where it broke.
FIRST_FRAMES: Final = 50
LAST_FRAMES: Final = 200

_MAX_TEXT: Final = 1_000
_MAX_NAME: Final = 200
# main.5f3a9c01.js is called something else after the next build
_BUNDLE_HASH: Final = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b")


def frames_of(value: Any) -> list[Any]:
    """The frames of a stack trace, oldest call first; `value` is the interface or any other JSON."""
    return as_list(value.get("frames")) if value.__class__ is dict else []


def describe(frames: list[Any]) -> tuple[list[str], list[str]]:
    """(lines "  file:line in function", identity of each in-app frame), the most recent call last.

    Without a single in-app frame all of them identify the trace. Line numbers do not: they move with every release.
    """
    omitted = len(frames) - FIRST_FRAMES - LAST_FRAMES
    if omitted > 0:
        first, last = frames[:FIRST_FRAMES], frames[-LAST_FRAMES:]
        _, identity = describe(first + last)
        return [*describe(first)[0], f"  ... {omitted} frames ...", *describe(last)[0]], identity
    lines, identity, in_app = [], [], []
    for frame in frames:
        if frame.__class__ is not dict:
            continue
        get = frame.get
        file, function, module, number = get("filename"), get("function"), get("module"), get("lineno")
        # as most SDKs send it, and twice as fast as the functions that take anything
        if (
            file.__class__ is str is function.__class__ is module.__class__
            and file
            and function
            and module
            and number.__class__ is int
            and "colno" not in frame
        ):
            line, part = f"  {file}:{number} in {function}", f"{module}|{function}"
        else:
            line, part = _line(frame), _identity(frame)
        lines.append(line)
        identity.append(part)
        if get("in_app") is True:
            in_app.append(part)
    return lines, in_app or identity


def blamed(frames: list[Any]) -> str:
    """'module in function' of the innermost in-app frame, else of the innermost one; '' without frames."""
    frame = crash_frame(frames)
    if frame is None:
        return ""
    location = _text(frame.get("module")) or _location(frame)
    return f"{location[:_MAX_NAME]} in {_function(frame)[:_MAX_NAME]}"


def crash_frame(frames: list[Any]) -> dict[str, Any] | None:
    """The innermost in-app frame, else the innermost one; None without frames."""
    frame: dict[str, Any] | None = None
    for candidate in reversed(frames):
        if candidate.__class__ is dict:
            frame = frame or candidate
            if candidate.get("in_app") is True:
                return candidate
    return frame


def function_of(frames: list[Any]) -> str:
    """The function of the crash frame, '' if it is not known."""
    frame = crash_frame(frames) or {}
    return (_text(frame.get("function")) or _text(frame.get("raw_function")))[:_MAX_NAME]


def _line(frame: dict[str, Any]) -> str:
    get = frame.get
    file, function, number, column = get("filename"), get("function"), get("lineno"), get("colno")
    if file.__class__ is not str or not file:
        file = _location(frame)
    if function.__class__ is not str or not function:
        function = _function(frame)
    line, place = whole(number), whole(column)
    if line is None:
        return f"  {file} in {function}"
    return f"  {file}:{line} in {function}" if place is None else f"  {file}:{line}:{place} in {function}"


def _identity(frame: dict[str, Any]) -> str:
    get = frame.get
    place, function = get("module"), get("function")
    if place.__class__ is not str or not place:
        place = _text(place) or _without_build(_location(frame))
    if function.__class__ is not str or not function:
        function = _function(frame)
    return f"{place}|{function}"


def _without_build(place: str) -> str:
    return _bundle(place) if len(place) <= _MAX_TEXT else place


@lru_cache(1024)  # an application has few bundles, and each frame names one
def _bundle(place: str) -> str:
    return _BUNDLE_HASH.sub("#", place.partition("?")[0])


def _location(frame: dict[str, Any]) -> str:
    for name in ("filename", "abs_path", "module", "package", "instruction_addr"):
        text = _text(frame.get(name))
        if text:
            return text
    return "<unknown>"


def _function(frame: dict[str, Any]) -> str:
    return _text(frame.get("function")) or _text(frame.get("raw_function")) or "<unknown>"


def _text(value: Any) -> str:
    return value if value.__class__ is str else as_text(value)[:_MAX_TEXT]


def thread_frames(payload: dict[str, Any], thread_id: Any = None) -> list[Any]:
    """The frames of the thread `thread_id`, else of the one that crashed, the current one, the main one, the only one.

    Only threads that have frames count: a crashed thread without any does not hide the current one.
    """
    threads = payload.get("threads")
    if threads is None:
        threads = payload.get("sentry.interfaces.threads")
    values = as_list(threads.get("values")) if threads.__class__ is dict else as_list(threads)
    known = [(thread, frames) for thread in values if (frames := frames_of(as_dict(thread).get("stacktrace")))]
    if thread_id is not None:
        for thread, frames in known:
            if as_text(thread.get("id")) == as_text(thread_id):
                return frames
    for mark in ("crashed", "current", "main"):
        for thread, frames in known:
            if thread.get(mark) is True:
                return frames
    return known[0][1] if len(known) == 1 else []
