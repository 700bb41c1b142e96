"""Sentry `attachment` items: one row per file, its bytes as base64. Minidumps among them are error.py's."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.rows import APP_LOG, Row, item_row_id
from schemas.tolerant_json import dumps_text, loads
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.envelope_item import (
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_file,
    origin_values,
)
from workers.normalise.scalars import as_dict, as_text
from workers.normalise.sentry.payload.resource import build_resource, release_of, sdk_of
from workers.normalise.sentry.payload.scope import choose_environment
from workers.normalise.timestamps import Placed, SenderClock
from workers.normalise.trace_context import span_id, trace_id
from workers.normalise.verdict import Verdict

COLUMNS: Final[tuple[str, ...]] = (
    *ORIGIN_COLUMNS,
    "environment",
    "event_id",
    "event_type",
    "item_type",
    "timestamp",
    "original_timestamp_ns",
    "trace_id",
    "span_id",
    "name",
    "body",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)

PAYLOAD_CUT: Final = "payload_cut"
FILENAME_CUT: Final = "filename_cut"
META_INVALID: Final = "attachment_meta_invalid"

MAX_PAYLOAD_BYTES: Final = 1_048_576
MAX_NAME_LENGTH: Final = 1_024

_UNNAMED: Final = "Unnamed Attachment"
_DEFAULT_TYPE: Final = "event.attachment"
_NIL_ID: Final = "0" * 32
# Both begin with `meta_length` bytes of JSON about the file; the second is the older name.
_TRACE_ATTACHMENTS: Final = frozenset(
    {"application/vnd.sentry.trace-attachment", "application/vnd.sentry.attachment.v2"}
)


@dataclass(frozen=True, slots=True)
class _File:
    """The file itself and what is said about it; `fields` is the item's header, for trace attachments their own."""

    content: memoryview | bytes
    fields: dict[str, Any]
    type: str


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """One row for the one-item envelope `body` (Sentry envelope items, Attachment); any bytes are a valid payload."""
    try:
        item, payload = open_file(body)
    except RecordRefused as refused:
        return refused.verdict()
    repairs = list(item.repairs)
    file = _read(item.header, payload, repairs)
    return Verdict(rows=[_row(origin, item, file, item.clock(origin, retention_days), repairs)], accepted=1)


def _read(header: dict[str, Any], payload: memoryview | bytes, repairs: list[str]) -> _File:
    kind = as_text(header.get("attachment_type")) or _DEFAULT_TYPE
    if as_text(header.get("content_type")) in _TRACE_ATTACHMENTS:
        meta, payload = _trace_meta(header.get("meta_length"), payload, repairs)
        header = {**header, **meta}
    return _File(payload, header, kind)


def _trace_meta(
    length: Any, payload: memoryview | bytes, repairs: list[str]
) -> tuple[dict[str, Any], memoryview | bytes]:
    """(what the attachment says about itself, the file behind it); unreadable, all of it is the file."""
    if length.__class__ is int and 0 < length <= len(payload):
        try:
            meta = loads(payload[:length])
        except ValueError:
            meta = None
        if meta.__class__ is dict:
            return meta, payload[length:]
    repairs.append(META_INVALID)
    return {}, payload


def _row(origin: Origin, item: EnvelopeItem, file: _File, clock: SenderClock, repairs: list[str]) -> Row:
    fields, attributes = file.fields, Attributes()
    timestamp, original_ns, moved = _place(origin, fields.get("timestamp"), clock)
    repairs += moved
    given = item.envelope.event_id or _NIL_ID
    event_id = "" if given == _NIL_ID else given
    name = file_name(fields.get("filename"), repairs)
    _put_file(file, event_id, attributes, repairs)
    trace = as_dict(item.envelope.trace)
    # No payload names the environment, but the event this was sent with took it from the same scope as the trace.
    environment = choose_environment(origin, trace.get("environment"), attributes, repairs)
    attributes.close(repairs)
    if len(file.content) > MAX_PAYLOAD_BYTES:
        repairs.append(PAYLOAD_CUT)
    return (
        *origin_values(origin),
        environment,
        # files only point to the event they were sent with
        item_row_id(origin),
        APP_LOG,
        "attachment",
        timestamp,
        original_ns,
        trace_id(fields.get("trace_id")) or trace_id(trace.get("trace_id")),
        span_id(fields.get("span_id")),
        name,
        base64.b64encode(file.content[:MAX_PAYLOAD_BYTES]).decode(),
        *attributes.maps(),
        build_resource(
            release=release_of(trace.get("release"), repairs),
            environment=environment,
            sdk=sdk_of(None, item.envelope.sdk, origin.sentry_client),
        ),
        attributes.dropped,
        _metadata(file, event_id),
        item.text,
        distinct(repairs),
    )


def _place(origin: Origin, value: Any, clock: SenderClock) -> Placed:
    """Only trace attachments say when. The others: when they came, a nanosecond per place to keep their order."""
    if value is None:
        return clock.received_at_ns + min(origin.item_index, envelope.MAX_ITEMS), 0, ()
    return clock.place(value)


def file_name(value: Any, repairs: list[str]) -> str:
    """A file's name as the row's name: trimmed, bounded, never empty."""
    name = as_text(value).strip()
    if len(name) > MAX_NAME_LENGTH:
        repairs.append(FILENAME_CUT)
    return name[:MAX_NAME_LENGTH] or _UNNAMED


def _put_file(file: _File, event_id: str, attributes: Attributes, repairs: list[str]) -> None:
    """`attachment.size_bytes` is the file's size before any cut."""
    put, get = attributes.put, file.fields.get
    put("attachment.size_bytes", len(file.content))
    put("attachment.type", file.type)
    put("attachment.content_type", as_text(get("content_type")) or None)
    put("attachment.id", get("attachment_id"))
    put("sentry.event_id", event_id or None)
    attributes.put_typed(get("attributes"), repairs)


def _metadata(file: _File, event_id: str) -> str:
    metadata: dict[str, Any] = {"attachment": True, "truncated": len(file.content) > MAX_PAYLOAD_BYTES}
    if event_id:
        metadata["eventId"] = event_id
    return dumps_text(metadata)
