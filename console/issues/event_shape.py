"""An event as tools of Sentry read it: from the row, and from what was sent (`payload`), which may be anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.api.answers import iso_time
from console.issues.shapes import level_of

if TYPE_CHECKING:
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

MAX_TAGS: Final = 200
MAX_FRAMES: Final = 250
MAX_EXCEPTIONS: Final = 50
MAX_BREADCRUMBS: Final = 100
# Whole numbers that JavaScript knows exactly; a few more can be counted from them in every reader.
MAX_LINE_NUMBER: Final = 2**53 - 1_000_000
_REQUEST_FIELDS: Final = ("url", "method", "headers", "cookies", "env")


def event_shape(row: Row, project: Channel, *, full: bool = True) -> dict[str, Any]:
    """The event; with `full`, its entries (exceptions, breadcrumbs, request) and contexts."""
    event_id = str(row["event_id"]).replace("-", "")
    shape = {
        "id": event_id,
        "eventID": event_id,
        "projectID": str(project.id),
        "groupID": str(row["issue_id"]) if row["is_error"] else None,
        "title": row["title"],
        "message": row["body"],
        "dateCreated": iso_time(row["timestamp"]),
        "dateReceived": iso_time(row["received_at"]),
        "type": "error" if row["exception_type"] or row["exception_message"] else "default",
        "event.type": "error" if row["is_error"] else "default",
        "platform": row["platform"] or "other",
        "location": None,
        "culprit": row["attributes"].get("culprit") or row["attributes"].get("transaction") or "",
        "user": _user(row),
        "tags": [{"key": key, "value": value} for key, value in _tags(row)],
        "metadata": {"type": row["exception_type"], "value": row["exception_message"], "title": row["title"]},
    }
    return shape | _details(row) if full else shape


def payload_of(row: Row) -> dict[str, Any]:
    """What was sent, as an object; empty if it is none."""
    try:
        document = orjson.loads(row["payload"] or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _details(row: Row) -> dict[str, Any]:
    payload = payload_of(row)
    contexts = payload.get("contexts")
    contexts = dict(contexts) if isinstance(contexts, dict) else {}
    if row["trace_id"]:
        contexts.setdefault("trace", {"trace_id": row["trace_id"], "span_id": row["span_id"], "type": "trace"})
    return {
        "entries": list(_entries(row, payload)),
        "contexts": contexts,
        "context": payload.get("extra") if isinstance(payload.get("extra"), dict) else {},
        "packages": payload.get("modules") if isinstance(payload.get("modules"), dict) else {},
        "sdk": {"name": row["sdk_name"], "version": row["sdk_version"]} if row["sdk_name"] else None,
        "release": {"version": row["release"]} if row["release"] else None,
        "fingerprints": row["fingerprint"] or [row["group_hash"]],
        "errors": [{"type": repair, "data": {}, "message": repair} for repair in row["repairs"]],
        "occurrence": None,
        "measurements": None,
        "dist": payload.get("dist") if isinstance(payload.get("dist"), str) else None,
    }


def _tags(row: Row) -> Iterable[tuple[str, str]]:
    own = {
        "environment": row["environment"],
        "level": level_of(int(row["severity_number"])),
        "release": row["release"],
        "server_name": row["host_name"],
        "service": row["service_name"],
        "user": f"id:{row['user_id']}" if row["user_id"] else "",
    }
    yield from ((key, str(value)) for key, value in own.items() if value)
    others = ((key, value) for key, value in row["attributes"].items() if key not in own)
    for number, (key, value) in enumerate(others):
        if number >= MAX_TAGS:
            return
        yield key, str(value)


def _user(row: Row) -> dict[str, Any] | None:
    address = row["attributes"].get("client.address")
    user = {"id": row["user_id"], "email": row["user_email"], "username": row["user_name"], "ip_address": address}
    return {key: value or None for key, value in user.items()} if any(user.values()) else None


def _entries(row: Row, payload: dict[str, Any]) -> Iterable[dict[str, Any]]:
    values = [_exception(value) for value in _values(payload.get("exception"))[-MAX_EXCEPTIONS:]]
    if not values and (row["exception_type"] or row["exception_message"]):
        values = [_plain_exception(row)]
    if values:
        yield {"type": "exception", "data": {"values": values, "hasSystemFrames": True, "excOmitted": None}}
    threads = [_thread(value) for value in _values(payload.get("threads"))]
    if threads:
        yield {"type": "threads", "data": {"values": threads}}
    if row["body"] and not values:
        yield {"type": "message", "data": {"formatted": row["body"], "message": row["body"]}}
    crumbs = [_breadcrumb(value) for value in _values(payload.get("breadcrumbs"))[-MAX_BREADCRUMBS:]]
    if crumbs:
        yield {"type": "breadcrumbs", "data": {"values": crumbs}}
    request = payload.get("request")
    if isinstance(request, dict) and request:
        yield {"type": "request", "data": _request(request)}


def _values(interface: Any) -> list[dict[str, Any]]:
    """Exceptions, threads and breadcrumbs come as a list, or as an object with `values`; one exception also alone."""
    if isinstance(interface, dict):
        interface = interface.get("values", [interface])
    return [value for value in interface if isinstance(value, dict)] if isinstance(interface, list) else []


def _exception(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": value.get("type"),
        "value": value.get("value"),
        "module": value.get("module"),
        "mechanism": value.get("mechanism"),
        "threadId": value.get("thread_id"),
        "stacktrace": _stacktrace(value.get("stacktrace")),
        "rawStacktrace": _stacktrace(value.get("raw_stacktrace")),
    }


def _plain_exception(row: Row) -> dict[str, Any]:
    """Of OpenTelemetry: its stack trace is a text."""
    return {
        "type": row["exception_type"],
        "value": row["exception_message"],
        "module": None,
        "mechanism": None,
        "threadId": None,
        "stacktrace": None,
        "rawStacktrace": None,
        "stacktraceText": row["exception_stacktrace"],
    }


def _thread(value: dict[str, Any]) -> dict[str, Any]:
    names = {"id": "id", "name": "name", "crashed": "crashed", "current": "current"}
    shown = {shown: value.get(name) for name, shown in names.items()}
    return {**shown, "stacktrace": _stacktrace(value.get("stacktrace")), "rawStacktrace": None}


def _stacktrace(value: Any) -> dict[str, Any] | None:
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not frames:
        return None
    shown = [_frame(frame) for frame in frames[-MAX_FRAMES:] if isinstance(frame, dict)]
    return {"frames": shown, "framesOmitted": None, "registers": None, "hasSystemFrames": True}


def _frame(frame: dict[str, Any]) -> dict[str, Any]:
    return {
        "filename": frame.get("filename"),
        "absPath": frame.get("abs_path"),
        "module": frame.get("module"),
        "package": frame.get("package"),
        "platform": frame.get("platform"),
        "function": frame.get("function"),
        "rawFunction": frame.get("raw_function"),
        "lineNo": _line_number(frame.get("lineno")),
        "colNo": _line_number(frame.get("colno")),
        "inApp": bool(frame.get("in_app")),
        "context": _source_lines(frame),
        "vars": frame.get("vars") if isinstance(frame.get("vars"), dict) else None,
        "instructionAddr": frame.get("instruction_addr"),
        "symbol": frame.get("symbol"),
    }


def _source_lines(frame: dict[str, Any]) -> list[list[Any]]:
    """Numbers and texts of the lines around the line of the frame."""
    line, number = frame.get("context_line"), _line_number(frame.get("lineno"))
    if not isinstance(line, str) or number is None:
        return []
    before, after = (_texts(frame.get(name)) for name in ("pre_context", "post_context"))
    lines = [*before, line, *after]
    return [[number - len(before) + index, text] for index, text in enumerate(lines)]


def _line_number(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= MAX_LINE_NUMBER else None


def _texts(value: Any) -> list[str]:
    return [member for member in value if isinstance(member, str)] if isinstance(value, list) else []


def _breadcrumb(value: dict[str, Any]) -> dict[str, Any]:
    names = ("timestamp", "type", "category", "level", "message", "data")
    return {**{name: value.get(name) for name in names}, "event_id": None}


def _request(request: dict[str, Any]) -> dict[str, Any]:
    shown = {name: _pairs(request.get(name)) for name in _REQUEST_FIELDS}
    return {**shown, "query": request.get("query_string"), "data": request.get("data"), "fragment": None}


def _pairs(value: Any) -> Any:
    """Headers and cookies as pairs; other values as they are."""
    return [[key, member] for key, member in value.items()] if isinstance(value, dict) else value
