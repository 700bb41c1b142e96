"""The exceptions of a Sentry event in every form SDKs send them. How a trace reads is the matter of stacktrace."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from workers.normalise.scalars import as_dict, as_list, as_text
from workers.normalise.sentry.payload.masking import masked
from workers.normalise.sentry.payload.stacktrace import (
    FIRST_FRAMES,
    LAST_FRAMES,
    describe,
    frames_of,
    function_of,
    thread_frames,
)

EXCEPTION_DROPPED: Final = "exception_dropped"
EXCEPTION_INVALID: Final = "exception_invalid"
FRAMES_DROPPED: Final = "frames_dropped"
TYPE_CUT: Final = "exception_type_cut"

MAX_TYPE_LENGTH: Final = 256
# Chains have a handful; of a body of nothing but exceptions, those nearest to what was thrown.
MAX_EXCEPTIONS: Final = 1_000
# Frames of all exceptions of a chain together, those of the thrown one first. Ten long traces have 2,500.
MAX_CHAIN_FRAMES: Final = 10_000
_TYPE_AND_VALUE: Final = re.compile(r"(?P<type>[A-Za-z_][\w.$]{0,255}):\s*(?P<value>.*)", re.DOTALL)


@dataclass(slots=True)
class Raised:
    """One exception of a chain. `frames` are as sent, the oldest call first; `module` is where its type is defined."""

    type: str
    value: str
    frames: list[Any]
    mechanism: dict[str, Any]
    module: str = ""
    thread_id: Any = None


@dataclass(slots=True)
class Trace:
    """Text of all stack traces of an event, and what identifies each exception of the chain."""

    text: str
    identity: list[str]


def read_exceptions(payload: dict[str, Any], repairs: list[str]) -> list[Raised]:
    """Oldest cause first, the thrown one last (Sentry event payload, Exception Interface); [] if there is none.

    Entries that are null, or without type and value, are left out. Where no exception has frames, the event's own stack
    trace or that of its thread is the thrown one's (Rust, Cocoa, Java: stacks are sent as threads).
    """
    value = payload.get("exception")
    if value is None:
        value = payload.get("sentry.interfaces.Exception")
    raised = [exception for entry in _entries(value, repairs) if (exception := _read(entry, repairs))]
    _bound_frames(raised, repairs)
    if raised and not any(exception.frames for exception in raised):
        raised[-1] = replace(raised[-1], frames=frames_without_exception(payload, raised[-1].thread_id))
    return raised


def _bound_frames(raised: list[Raised], repairs: list[str]) -> None:
    """Drops the frames of the oldest causes where the whole chain has more than MAX_CHAIN_FRAMES."""
    if sum(len(exception.frames) for exception in raised) <= MAX_CHAIN_FRAMES:
        return
    left = MAX_CHAIN_FRAMES
    for exception in reversed(raised):
        read = min(len(exception.frames), FIRST_FRAMES + LAST_FRAMES)
        if read > left:
            exception.frames = []
            repairs.append(FRAMES_DROPPED)
        left -= read


def _entries(value: Any, repairs: list[str]) -> list[Any]:
    if value.__class__ is dict:
        if "values" not in value:
            return [value] if value else []
        value = value["values"]
    if value.__class__ is dict or value.__class__ is str:
        return [value]
    if value is not None and value.__class__ is not list:
        repairs.append(EXCEPTION_INVALID)
    entries = as_list(value)
    is_pair = len(entries) > 1 and all(part.__class__ is str for part in entries[:2])
    if len(entries) > MAX_EXCEPTIONS and not is_pair:
        repairs.append(EXCEPTION_DROPPED)
        return entries[-MAX_EXCEPTIONS:]
    return [entries] if is_pair else entries


def _read(entry: Any, repairs: list[str]) -> Raised | None:
    if entry is None:
        return None
    if entry.__class__ is not dict:
        repairs.append(EXCEPTION_INVALID)
        entry = _fields(entry)
    name, value = as_text(entry.get("type")), as_text(entry.get("value"))
    if not name:
        split = _TYPE_AND_VALUE.fullmatch(value)
        name, value = (split["type"], split["value"]) if split else ("", value)
    if not name and not value:
        repairs.append(EXCEPTION_DROPPED)
        return None
    if len(name) > MAX_TYPE_LENGTH:
        repairs.append(TYPE_CUT)
    return Raised(
        type=name[:MAX_TYPE_LENGTH],
        value=value,
        frames=frames_of(entry.get("stacktrace")),
        mechanism=as_dict(entry.get("mechanism")),
        module=as_text(entry.get("module"))[:MAX_TYPE_LENGTH],
        thread_id=entry.get("thread_id"),
    )


def _fields(entry: Any) -> dict[str, Any]:
    """The fields of an entry that is no object: [type, value, …] as the first clients wrote it, else a bare text."""
    if entry.__class__ is list:
        return dict(zip(("type", "value"), entry, strict=False))
    return {"value": entry} if entry.__class__ is str else {}


def _top_level_frames(payload: dict[str, Any]) -> list[Any]:
    value = payload.get("stacktrace")
    return frames_of(payload.get("sentry.interfaces.Stacktrace") if value is None else value)


def headline(raised: Raised) -> str:
    """'Type: value', or whichever of the two there is."""
    return f"{raised.type}: {raised.value}" if raised.type and raised.value else raised.type or raised.value


def label(raised: Raised) -> str:
    """What titles an event: the headline, but of an exception that the SDK made up, the function it happened in.

    Mechanism interface, `synthetic`: the type is a signal's name or the like, equal for unrelated crashes.
    """
    return (function_of(raised.frames) if _is_synthetic(raised) else "") or headline(raised)


def identity_of(raised: Raised) -> list[str]:
    """What makes two exceptions the same: type and frames, or masked value without frames. Synthetic types do not."""
    return _identity(raised, describe(raised.frames)[1])


def read_trace_of(raised: list[Raised], about: list[Raised] | None = None) -> Trace:
    """All stack traces below their exceptions, in the order of the chain; what identifies the exceptions in `about`."""
    text: list[str] = []
    identities: dict[int, list[str]] = {}
    for exception in raised:
        lines, parts = describe(exception.frames)
        if lines:
            text.append(headline(exception))
            text += lines
        identities[id(exception)] = _identity(exception, parts)
    chain = raised if about is None else about
    kept = [identities[id(exception)] for exception in chain]
    if any(exception.mechanism.get("is_exception_group") is True for exception in chain):
        # how many tasks failed, and which of them first, is another each time
        kept = sorted({tuple(identity): identity for identity in kept}.values())
    return Trace("\n".join(text), [part for identity in kept for part in identity])


def _identity(raised: Raised, parts: list[str]) -> list[str]:
    name = "" if _is_synthetic(raised) else raised.type
    # how deep a recursion got is chance: each part once, and where it ended
    return [name, *dict.fromkeys(parts), *parts[-1:]] if parts else [name, masked(raised.value)]


def _is_synthetic(raised: Raised) -> bool:
    return raised.mechanism.get("synthetic") is True


def frames_without_exception(payload: dict[str, Any], thread_id: Any = None) -> list[Any]:
    """The frames of an event's own stack trace or of its thread, [] if none was attached."""
    return _top_level_frames(payload) or thread_frames(payload, thread_id)
