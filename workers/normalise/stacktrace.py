"""Stack traces as readable text and as the parts that identify them. Exceptions are not known here."""

from __future__ import annotations

from typing import Any, Final

from workers.normalise.scalars import as_dict, as_list, as_text

# What Sentry keeps of a long trace: where it began, and where it broke.
FIRST_FRAMES: Final = 50
LAST_FRAMES: Final = 200

_MAX_TEXT: Final = 1_000


def frames_of(value: Any) -> list[Any]:
    """The frames of a stack trace, oldest call first; `value` is the interface or any other JSON."""
    return as_list(value.get("frames")) if value.__class__ is dict else []


def describe(frames: list[Any]) -> tuple[list[str], list[str]]:
    """(lines "  file:line in function", identity of each in-app frame), the most recent call last.

    Without a single in-app frame all of them identify the trace. Line numbers do not: they move with every release.
    """
    omitted = len(frames) - FIRST_FRAMES - LAST_FRAMES
    if omitted > 0:
        first, _ = describe(frames[:FIRST_FRAMES])
        last, parts = describe(frames[-LAST_FRAMES:])
        return [*first, f"  ... {omitted} frames ...", *last], parts
    known = [frame for frame in frames if frame.__class__ is dict]
    in_app = [frame for frame in known if frame.get("in_app") is True]
    return [_line(frame) for frame in known], [_identity(frame) for frame in in_app or known]


def _line(frame: dict[str, Any]) -> str:
    get = frame.get
    file, function, number = get("filename"), get("function"), get("lineno")
    if file.__class__ is str and function.__class__ is str and number.__class__ is int and "colno" not in frame:
        return f"  {file}:{number} in {function}"
    place = ":".join([_place(frame), *(str(part) for part in (number, get("colno")) if part.__class__ is int)])
    return f"  {place} in {_function(frame)}"


def _identity(frame: dict[str, Any]) -> str:
    module, function = frame.get("module"), frame.get("function")
    if module.__class__ is str and function.__class__ is str:
        return f"{module}|{function}"
    return f"{_text(module) or _place(frame)}|{_function(frame)}"


def _place(frame: dict[str, Any]) -> str:
    names = ("filename", "abs_path", "module", "package", "instruction_addr")
    return next((text for name in names if (text := _text(frame.get(name)))), "<unknown>")


def _function(frame: dict[str, Any]) -> str:
    return _text(frame.get("function")) or _text(frame.get("raw_function")) or "<unknown>"


def _text(value: Any) -> str:
    return value if value.__class__ is str else as_text(value)[:_MAX_TEXT]


def thread_frames(payload: dict[str, Any]) -> list[Any]:
    """The frames of the thread that crashed, else of the current one, else of the only one."""
    threads = payload.get("threads")
    values = as_list(threads.get("values")) if threads.__class__ is dict else as_list(threads)
    known = [thread for thread in values if thread.__class__ is dict]
    for mark in ("crashed", "current"):
        for thread in known:
            if thread.get(mark) is True:
                return frames_of(thread.get("stacktrace"))
    return frames_of(as_dict(known[0]).get("stacktrace")) if len(known) == 1 else []
