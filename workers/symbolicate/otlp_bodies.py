"""Replaces stack traces in an OTLP body, in protobuf and in JSON, and leaves everything else as it is. Pure functions.

A body is walked twice by the same function: first to see its stack traces, then to replace them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas.otlp.http_bodies import Encoding
from schemas.otlp.protobuf_wire import LENGTH, WireError, fields, length_field, value_at, varint_at

STACKTRACE: Final = "exception.stacktrace"
RAW_STACKTRACE: Final = "exception.raw_stacktrace"
SYMBOLICATED: Final = "symbolicated"
SYMBOLICATION_REPAIRS: Final = "symbolication_repairs"
# Stack traces of one body; those behind stay as they are.
MAX_REPLACED: Final = 1_000

_NEEDLE: Final = STACKTRACE.encode()
_RELEASE: Final = "service.version"
_SERVICE: Final = "service.name"
# Field numbers of opentelemetry/proto/{trace,logs}/v1: ResourceSpans and ResourceLogs have the same ones.
_RESOURCES, _RESOURCE, _SCOPES, _RECORDS, _RESOURCE_ATTRIBUTES = 1, 1, 2, 2, 1
_SPAN_ATTRIBUTES, _SPAN_EVENTS, _EVENT_ATTRIBUTES = 9, 11, 3
_LOG_ATTRIBUTES: Final = 6
_KEY, _VALUE, _STRING_VALUE = 1, 2, 1


@dataclass(frozen=True, slots=True)
class NewTrace:
    """What replaces a stack trace: its text, how much of it is resolved, and why not all of it (words.py)."""

    text: str
    state: str
    repairs: tuple[str, ...] = ()

    def attributes(self, sent: str) -> list[tuple[str, str]]:
        """Names and values that stand in place of the attribute STACKTRACE."""
        raw = [(RAW_STACKTRACE, sent)] if self.text != sent else []
        return [(STACKTRACE, self.text), *raw, *self.of_record()]

    def of_record(self) -> list[tuple[str, str]]:
        """Names and values for the span or log record."""
        repairs = [(SYMBOLICATION_REPAIRS, " ".join(self.repairs))] if self.repairs else []
        return [(SYMBOLICATED, self.state), *repairs]


@dataclass(frozen=True, slots=True)
class Service:
    """What names the release of a resource; '' where it is not said."""

    name: str = ""
    version: str = ""


# (service, text of a stack trace) -> what replaces it, None to leave it.
Replace = Callable[[Service, str], NewTrace | None]


def has_stacktrace(body: bytes) -> bool:
    """Whether an inflated body may have a stack trace: the name of the attribute stands in it."""
    return _NEEDLE in body


def replace_stacktraces(body: bytes, encoding: Encoding, is_logs: bool, replace: Replace) -> bytes:
    """The body with what `replace` says; the same object if that is nothing, or if the body cannot be read."""
    walk = _StackTraceWalk(replace, is_logs)
    try:
        changed = walk.json(body) if encoding == "json" else walk.protobuf(body)
    except (WireError, IndexError, struct.error, orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return body
    return changed if walk.is_changed else body


class _StackTraceWalk:
    """One walk over one body."""

    def __init__(self, replace: Replace, is_logs: bool) -> None:
        self._replace = replace
        self._is_logs = is_logs
        self._traces = 0
        self._service = Service()
        self._found: NewTrace | None = None
        self.is_changed = False

    def protobuf(self, body: bytes) -> bytes:
        return _mapped(body, _RESOURCES, self._resource)

    def _resource(self, data: bytes) -> bytes:
        self._service = _service(data)
        return _mapped(data, _SCOPES, lambda scope: _mapped(scope, _RECORDS, self._record))

    def _record(self, data: bytes) -> bytes:
        self._found = None
        if self._is_logs:
            return _with_attributes(data, _LOG_ATTRIBUTES, self._attribute)
        data = _with_attributes(data, _SPAN_ATTRIBUTES, self._attribute)
        found_on_span = self._found
        data = _mapped(data, _SPAN_EVENTS, lambda event: _with_attributes(event, _EVENT_ATTRIBUTES, self._attribute))
        if self._found is not None and found_on_span is None:
            pairs = self._found.of_record()
            data += b"".join(length_field(_SPAN_ATTRIBUTES, _key_value(name, text)) for name, text in pairs)
        return data

    def _attribute(self, data: bytes) -> list[tuple[str, str]] | None:
        if self._traces == MAX_REPLACED:
            return None
        name, sent = _text_attribute(data)
        return self._pairs(sent) if name == STACKTRACE and sent else None

    def _pairs(self, sent: str) -> list[tuple[str, str]] | None:
        if self._traces == MAX_REPLACED:
            return None
        self._traces += 1
        new = self._replace(self._service, sent)
        if new is None:
            return None
        self._found = self._found or new
        self.is_changed = True
        return new.attributes(sent)

    def json(self, body: bytes) -> bytes:
        document = orjson.loads(body)
        for resource in _objects(document, "resourceLogs" if self._is_logs else "resourceSpans"):
            self._service = _json_service(resource)
            for scope in _objects(resource, "scopeLogs" if self._is_logs else "scopeSpans"):
                for record in _objects(scope, "logRecords" if self._is_logs else "spans"):
                    self._json_record(record)
        return orjson.dumps(document) if self.is_changed else body

    def _json_record(self, record: dict[str, Any]) -> None:
        self._found = None
        self._json_attributes(record)
        if self._is_logs or not isinstance(record.get("attributes"), list | None):
            return
        found_on_span = self._found
        for event in _objects(record, "events"):
            self._json_attributes(event)
        if self._found is not None and found_on_span is None:
            added = [_json_pair(name, text) for name, text in self._found.of_record()]
            record["attributes"] = [*(record.get("attributes") or []), *added]

    def _json_attributes(self, owner: dict[str, Any]) -> None:
        if not _has_text(owner):
            return
        changed: list[Any] = []
        for attribute in owner["attributes"]:
            pairs = self._pairs(_json_text(attribute)) if _is_stacktrace(attribute) else None
            changed += [attribute] if pairs is None else [_json_pair(name, text) for name, text in pairs]
        owner["attributes"] = changed


def _mapped(data: bytes, number: int, function: Callable[[bytes], bytes]) -> bytes:
    """The message with `function` of each value of a field in which the attribute's name stands."""
    pieces, copied, position, tag_wanted = [], 0, 0, number << 3 | LENGTH
    while position < len(data):
        start = position
        tag, position = varint_at(data, position)
        value, position = value_at(data, position, tag)
        if tag != tag_wanted or _NEEDLE not in value:
            continue
        new = function(value)
        if new is not value:
            pieces += [data[copied:start], length_field(number, new)]
            copied = position
    if position != len(data):
        raise WireError(f"a field that runs past the end of its message of {len(data)} bytes")
    return b"".join([*pieces, data[copied:]]) if pieces else data


def _with_attributes(data: bytes, number: int, pairs_of: Callable[[bytes], list[tuple[str, str]] | None]) -> bytes:
    """The message with the attribute STACKTRACE replaced by several."""
    added: list[tuple[str, str]] = []

    def replaced(attribute: bytes) -> bytes:
        pairs = pairs_of(attribute)
        if pairs is None:
            return attribute
        added.extend(pairs[1:])
        return _key_value(*pairs[0])

    data = _mapped(data, number, replaced)
    return data + b"".join(length_field(number, _key_value(name, text)) for name, text in added)


def _service(resource: bytes) -> Service:
    values: dict[str, str] = {}
    for tag, value in fields(resource):
        if tag == _RESOURCE << 3 | LENGTH:
            for inner_tag, attribute in fields(value):
                if inner_tag == _RESOURCE_ATTRIBUTES << 3 | LENGTH and b"service." in attribute:
                    name, text = _text_attribute(attribute)
                    values[name] = text
    return Service(values.get(_SERVICE, ""), values.get(_RELEASE, ""))


def _text_attribute(data: bytes) -> tuple[str, str]:
    """(key, text) of a KeyValue; the text is '' if its value is none."""
    key = value = b""
    for tag, content in fields(data):
        if tag == _KEY << 3 | LENGTH:
            key = content
        elif tag == _VALUE << 3 | LENGTH:
            texts = [text for inner, text in fields(content) if inner == _STRING_VALUE << 3 | LENGTH]
            value = texts[-1] if texts else b""
    return key.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def _key_value(name: str, text: str) -> bytes:
    value = length_field(_STRING_VALUE, text.encode("utf-8", "replace"))
    return length_field(_KEY, name.encode()) + length_field(_VALUE, value)


def _objects(owner: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list, by its name in camelCase or snake_case."""
    if not isinstance(owner, dict):
        return []
    members = owner.get(name)
    if members is None:
        members = owner.get("".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name))
    return [member for member in members if isinstance(member, dict)] if isinstance(members, list) else []


def _json_service(resource: dict[str, Any]) -> Service:
    inner = resource.get("resource")
    values = {str(attribute.get("key")): _json_text(attribute) for attribute in _objects(inner, "attributes")}
    return Service(values.get(_SERVICE, ""), values.get(_RELEASE, ""))


def _has_text(owner: dict[str, Any]) -> bool:
    attributes = owner.get("attributes")
    return isinstance(attributes, list) and any(_is_stacktrace(attribute) for attribute in attributes)


def _is_stacktrace(attribute: Any) -> bool:
    return isinstance(attribute, dict) and attribute.get("key") == STACKTRACE and bool(_json_text(attribute))


def _json_text(attribute: dict[str, Any]) -> str:
    value = attribute.get("value")
    text = (value.get("stringValue") or value.get("string_value")) if isinstance(value, dict) else ""
    return text if isinstance(text, str) else ""


def _json_pair(name: str, text: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": text}}
