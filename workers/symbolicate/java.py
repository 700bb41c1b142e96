"""Java and Android: exceptions and frames that ProGuard or R8 renamed. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.normalise.scalars import as_list, whole
from workers.symbolicate.event_traces import MAX_TRACES, StackTrace

# (class, method, line)
MethodLine = tuple[str, str, int]
# (class, method, line, file)
JavaFrame = tuple[str, str, int, str | None]


def method_line_of(frame: Any) -> MethodLine | None:
    """What a mapping is asked about; None for frames of other languages."""
    if frame.__class__ is not dict or frame.get("platform") not in {None, "java"}:
        return None
    module, function = frame.get("module"), frame.get("function")
    if module.__class__ is not str or function.__class__ is not str or not module or not function:
        return None
    line = whole(frame.get("lineno")) or 0
    return module, function, line if 0 <= line < 2**31 else 0


def class_of(exception: Any) -> str:
    """The class of an exception, with its package; '' if it has none."""
    if exception.__class__ is not dict:
        return ""
    kind, module = exception.get("type"), exception.get("module")
    if kind.__class__ is not str or not kind:
        return ""
    return f"{module}.{kind}" if module.__class__ is str and module else kind


def exceptions_of(payload: dict[str, Any]) -> list[Any]:
    """The exceptions of an event, in the form that Java SDKs send."""
    exception = payload.get("exception")
    values = exception.get("values") if exception.__class__ is dict else exception
    return as_list(values)[:MAX_TRACES]


def rename(exception: dict[str, Any], name: str | None) -> bool:
    """Gives an exception its class in the source; whether that changed something."""
    if not name or name == class_of(exception):
        return False
    module, _, kind = name.rpartition(".")
    exception["raw_type"], exception["type"] = exception.get("type"), kind
    if module:
        exception["module"] = module
    return True


def resolved_frames(
    trace: StackTrace, remapped: Mapping[MethodLine, Sequence[JavaFrame]], classes: Mapping[str, str | None]
) -> list[Any]:
    """The frames of the source: one may become several, where a method was inlined. The oldest call stays first."""
    resolved: list[Any] = []
    for frame in trace.frames:
        minified = method_line_of(frame)
        inlined = remapped.get(minified, ()) if minified else ()
        if minified and inlined:
            resolved += [_resolved(frame, java_frame, inlined[-1][0]) for java_frame in reversed(inlined)]
        elif minified and (name := classes.get(minified[0])):
            resolved.append({**frame, "module": name})
        else:
            resolved.append(frame)
    return resolved


def _resolved(frame: dict[str, Any], java_frame: JavaFrame, outermost: str) -> dict[str, Any]:
    name, method, line, file = java_frame
    resolved = {**frame, "module": name, "function": method}
    if line:
        resolved["lineno"] = line
    if file:
        resolved["filename"] = file
    elif name != outermost or name != frame.get("module"):
        # The minified name of the file says nothing; Java's files are called after their outermost class.
        resolved["filename"] = f"{name.rpartition('.')[2].partition('$')[0]}.java"
    return resolved
