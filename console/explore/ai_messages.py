"""Messages of model calls in one shape, whatever convention they were sent in: OpenTelemetry's parts, OpenAI's content
and tool calls, the AI SDK's parts, or plain text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

MAX_TEXT: Final = 8_000
MAX_PARTS: Final = 20
Part = dict[str, Any]
_CALLS: Final = frozenset({"tool_call", "tool-call", "tool_use", "function_call"})
_RESULTS: Final = frozenset({"tool_call_response", "tool-result", "tool_result", "function_call_output"})


def message_of(raw: str, role: str) -> dict[str, Any]:
    """`role` is meant where the message says none. Each part is a text, a call of a tool or a result of one."""
    parsed = _parsed(raw)
    if isinstance(parsed, Mapping):
        parts = [*_parts(parsed.get("parts", parsed.get("content"))), *_tool_calls(parsed.get("tool_calls"))]
        return {"role": str(parsed.get("role") or role)[:40], "parts": parts[:MAX_PARTS]}
    return {"role": role, "parts": [_part("text", parsed if parsed is not None else raw)]}


def text_part(given: object) -> Part:
    """Arguments or a result: the text of a JSON string, everything else as it was sent."""
    parsed = _parsed(given) if isinstance(given, str) else given
    return _part("text", parsed if isinstance(parsed, str) else given)


def _parts(content: object) -> Iterator[Part]:
    if content is None or content == "":
        return
    if not isinstance(content, list):
        yield _part("text", content)
        return
    for part in content[:MAX_PARTS]:
        yield _one(part) if isinstance(part, Mapping) else _part("text", part)


def _one(part: Mapping[str, Any]) -> Part:
    kind = str(part.get("type") or "")
    name = str(part.get("name") or part.get("toolName") or "")
    if kind in _CALLS:
        return _part("call", _first(part, "arguments", "input", "args"), name)
    if kind in _RESULTS:
        return _part("result", _first(part, "response", "result", "output", "content"), name)
    text = _first(part, "text", "content")
    # Of pictures and the like only the kind is said.
    return _part("text", text) if text is not None else _part("other", "", kind or "part")


def _tool_calls(calls: object) -> Iterator[Part]:
    for call in calls[:MAX_PARTS] if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        parsed = function if isinstance(function, Mapping) else call
        if isinstance(parsed, Mapping):
            yield _part("call", _first(parsed, "arguments", "args", "input"), str(parsed.get("name") or ""))


def _first(part: Mapping[str, Any], *names: str) -> object:
    return next((part[name] for name in names if part.get(name) is not None), None)


def _part(kind: str, given: object, name: str = "") -> Part:
    text = given if isinstance(given, str) else _json(given)
    return {"kind": kind, "name": name[:200], "text": text[:MAX_TEXT], "length": len(text)}


def _json(given: object) -> str:
    try:
        return "" if given is None else orjson.dumps(given).decode()
    except TypeError:
        return "(nested too deeply to be shown)"


def _parsed(raw: str) -> object:
    """None for what is no JSON, as a text that was cut."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
