"""Message classes for Google's C parser, with bytes fields in place of nested messages.

Messages and bytes are equal on the wire, so this is a valid schema for the same data. The parser then splits a message
in C, never recurses, and returns each attribute as bytes, which can be looked up among those seen before. Text is
parsed as text; if it is not UTF-8, which the parser refuses, as bytes.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {
    "bytes": _Field.TYPE_BYTES,
    "fixed32": _Field.TYPE_FIXED32,
    "fixed64": _Field.TYPE_FIXED64,
    "int32": _Field.TYPE_INT32,
    "status": _Field.TYPE_MESSAGE,
    "text": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
}


def _message(name: str, fields: dict[int, str], text: str = "text") -> Any:
    """The class of a message with these fields, "name type" by number; * means repeated, `text` is replaced by its
    type.

    A message field that may be sent in parts is repeated too: its parts joined are the merged message.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"axonpush/{name}.proto", package="axonpush", syntax="proto3")
    _add(file, "Status", _STATUS)
    _add(file, name, {number: field.replace(" text", f" {text}") for number, field in fields.items()})
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"axonpush.{name}"))


def _add(file: Any, name: str, fields: dict[int, str]) -> None:
    message = file.message_type.add(name=name)
    for number, declared in fields.items():
        field, kind = declared.split()
        label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
        added = message.field.add(name=field, number=number, type=_TYPES[kind.rstrip("*")], label=label)
        if kind == "status":
            added.type_name = ".axonpush.Status"


_STATUS: Final = {2: "message text", 3: "code int32"}
_SPAN: Final = {
    1: "trace_id bytes",
    2: "span_id bytes",
    3: "trace_state text",
    4: "parent_span_id bytes",
    5: "name text",
    6: "kind int32",
    7: "start_time_unix_nano fixed64",
    8: "end_time_unix_nano fixed64",
    9: "attributes bytes*",
    10: "dropped_attributes_count uint32",
    11: "events bytes*",
    12: "dropped_events_count uint32",
    13: "links bytes*",
    14: "dropped_links_count uint32",
    15: "status status",
    16: "flags fixed32",
}
_LOG: Final = {
    1: "time_unix_nano fixed64",
    2: "severity_number int32",
    3: "severity_text text",
    5: "body bytes*",
    6: "attributes bytes*",
    7: "dropped_attributes_count uint32",
    8: "flags fixed32",
    9: "trace_id bytes",
    10: "span_id bytes",
    11: "observed_time_unix_nano fixed64",
    12: "event_name text",
}

SpanMessage: Final = _message("Span", _SPAN)
SpanOfBytes: Final = _message("SpanOfBytes", _SPAN | {15: "status bytes*"}, "bytes")
LogMessage: Final = _message("LogRecord", _LOG)
LogOfBytes: Final = _message("LogOfBytes", _LOG, "bytes")
# ScopeSpans and ScopeLogs.
ScopeMessage: Final = _message("Scope", {1: "scope bytes*", 2: "records bytes*", 3: "schema_url bytes"})
