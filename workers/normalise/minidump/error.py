"""Sentry `minidump` items and minidump attachments: one error per dump, with what the dump itself says of the crash.

Stacks are not unwound: that needs symbols. How the file is built is file.py's matter.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from schemas.crash import upload_form
from schemas.envelope import body as envelope
from schemas.envelope.body import MAX_ITEMS
from schemas.headers import Origin
from schemas.rows import AGENT_ERROR, NANOS_PER_SECOND, Row, item_row_id
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
from workers.normalise.levels import event_severity
from workers.normalise.minidump.facts import DumpAnalysis, analyse, base_name, enrich, facts, frame
from workers.normalise.scalars import as_list, as_text
from workers.normalise.secrets.payload import filter_payload_headers
from workers.normalise.sentry.attachment import MAX_PAYLOAD_BYTES, META_INVALID, PAYLOAD_CUT
from workers.normalise.sentry.payload.exceptions import Raised, read_exceptions, read_trace_of
from workers.normalise.sentry.payload.fingerprint import Variables
from workers.normalise.sentry.payload.grouping import expand_fingerprint, group_hash, read_fingerprint, title
from workers.normalise.sentry.payload.main_exception import about
from workers.normalise.sentry.payload.message import NO_MESSAGE, read_message
from workers.normalise.sentry.payload.scope import SentryScope, read_scope
from workers.normalise.timestamps import Placed, SenderClock
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
    "parent_span_id",
    "severity_number",
    "severity_text",
    "name",
    "body",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "exception_type",
    "exception_message",
    "exception_stacktrace",
    "user_id",
    "fingerprint",
    "group_hash",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)

_ATTACHMENT_TYPE: Final = "event.minidump"
_NIL_ID: Final = "0" * 32
_UNKNOWN: Final = "Minidump"


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """One row for the one-item envelope `body`; the first `meta_length` bytes may be the event's JSON.

    Any bytes are a valid payload (Sentry envelope items, Attachment): an unreadable dump is an error too, and named.
    """
    try:
        item, payload = open_file(body)
    except RecordRefused as refused:
        return refused.verdict()
    repairs = list(item.repairs)
    event, content = _event(item.header, bytes(payload), repairs)
    analysis = analyse(content, repairs)
    enrich(event, analysis, repairs)
    known = [word for word in as_list(item.header.get("repairs")) if word in upload_form.REPAIRS]
    opened = EnvelopeItem(item.envelope, item.header, event, "", ())
    row = _row(origin, opened, analysis, item.clock(origin, retention_days), [*known, *repairs])
    return Verdict(rows=[row], accepted=1)


def _event(header: dict[str, Any], payload: bytes, repairs: list[str]) -> tuple[dict[str, Any], bytes]:
    """(what was said about the crash, the dump behind it); unreadable, all of it is the dump."""
    length = header.get("meta_length")
    if length is None:
        return {}, payload
    if length.__class__ is int and 0 < length <= len(payload):
        try:
            event = loads(payload[:length])
        except ValueError:
            event = None
        if event.__class__ is dict:
            filter_payload_headers(event, payload[:length])
            return event, payload[length:]
    repairs.append(META_INVALID)
    return {}, payload


def _row(origin: Origin, item: EnvelopeItem, analysis: DumpAnalysis, clock: SenderClock, repairs: list[str]) -> Row:
    event = item.fields
    timestamp, original_ns, moved = _place(origin, event, analysis, clock)
    repairs += moved
    event_id = _event_id(item)
    scope = read_scope(origin, item, repairs)
    number, level = event_severity(event.get("level"), "fatal", repairs)
    thrown, identity, stack = _exception_of(event, analysis, repairs)
    _put_crash(item, analysis, event_id, thrown, scope.attributes)
    variables = Variables(event, level, read_message(event), thrown, thrown.frames)
    fingerprint = variables.fill(read_fingerprint(event.get("fingerprint"), repairs))
    scope.attributes.close(repairs)
    if len(analysis.file.content) > MAX_PAYLOAD_BYTES:
        repairs.append(PAYLOAD_CUT)
    return (
        *origin_values(origin),
        scope.environment,
        # the id its sender was told
        int(event_id, 16) if event_id else _derived_id(origin),
        AGENT_ERROR,
        "minidump",
        timestamp,
        original_ns,
        scope.trace.trace_id,
        scope.trace.span_id,
        scope.trace.parent_span_id,
        number,
        level,
        title(thrown, NO_MESSAGE),
        base64.b64encode(analysis.file.content[:MAX_PAYLOAD_BYTES]).decode(),
        *scope.attributes.maps(),
        _resource(scope),
        thrown.type,
        thrown.value,
        stack,
        scope.user_id,
        expand_fingerprint(fingerprint, identity, NO_MESSAGE),
        group_hash(fingerprint, identity, NO_MESSAGE),
        scope.attributes.dropped,
        _metadata(analysis, event_id),
        _payload(item, analysis),
        distinct(repairs),
    )


def _event_id(item: EnvelopeItem) -> str:
    """The envelope's id, else the event's own, as 32 hex digits; '' if there is none."""
    own = item.fields.get("event_id")
    given = item.envelope.event_id or (envelope.parse_event_id(own.strip()) if own.__class__ is str else None)
    return "" if given in (None, _NIL_ID) else str(given)


def _derived_id(origin: Origin) -> int:
    return item_row_id(origin)


def _place(origin: Origin, event: dict[str, Any], analysis: DumpAnalysis, clock: SenderClock) -> Placed:
    """When it crashed by the dump, which a retry of the upload repeats; else by the event; else when it came.

    Then a nanosecond for each place in the body: two dumps under one id are two rows.
    """
    if analysis.dump is not None and analysis.dump.timestamp_s:
        return clock.place_ns(analysis.dump.timestamp_s * NANOS_PER_SECOND)
    if event.get("timestamp") is not None:
        return clock.place(event["timestamp"])
    return clock.received_at_ns + min(origin.item_index, MAX_ITEMS), 0, ()


def _exception_of(event: dict[str, Any], analysis: DumpAnalysis, repairs: list[str]) -> tuple[Raised, list[str], str]:
    """(the error, what identifies it, its stack as far as it is known): the dump's, else the event's own."""
    own = read_exceptions(event, repairs)
    if not analysis.reason and own:
        chain = about(own, event.get("main_exception_id"))
        trace = read_trace_of(own, chain)
        return chain[-1], trace.identity, trace.text
    line = frame(analysis)
    thrown = Raised(analysis.reason or _UNKNOWN, _message(event, analysis), [], {"type": "minidump", "handled": False})
    location = f"|{base_name(analysis.module.name)}+{analysis.offset:x}" if analysis.module else ""
    return thrown, [thrown.type, *([location] if location else [])], f"{thrown.type}\n  {line}" if line else ""


def _message(event: dict[str, Any], analysis: DumpAnalysis) -> str:
    if analysis.dump is None:
        return "Invalid Minidump"
    if analysis.dump.assertion:
        return f"Assertion Error: {analysis.dump.assertion}"
    if analysis.crash is None:
        return read_message(event).text or "Dump without an exception"
    module = f" in {base_name(analysis.module.name)}" if analysis.module else ""
    return f"Fatal Error at {analysis.address:#x}{module}"


def _put_crash(
    item: EnvelopeItem, analysis: DumpAnalysis, event_id: str, thrown: Raised, attributes: Attributes
) -> None:
    """`attachment.size_bytes` is the dump's size once inflated; `crash.*` is what the dump says."""
    put = attributes.put
    put("attachment.type", _ATTACHMENT_TYPE)
    put("attachment.size_bytes", len(analysis.file.content))
    put("attachment.content_type", as_text(item.header.get("content_type")) or None)
    put("attachment.compression", analysis.file.coding or None)
    put("attachment.name", as_text(item.header.get("filename")) or None)
    put("sentry.event_id", event_id or None)
    put("exception.type", thrown.type or None)
    put("exception.mechanism.type", thrown.mechanism.get("type"))
    put("exception.mechanism.handled", thrown.mechanism.get("handled"))
    if analysis.dump is None:
        return
    put("crash.modules", len(analysis.dump.modules))
    put("crash.threads", analysis.dump.thread_count)
    if analysis.crash is not None:
        put("crash.reason", analysis.reason)
        put("crash.address", f"{analysis.address:#x}")
        put("crash.instruction", f"{analysis.instruction:#x}")
        put("crash.module", base_name(analysis.module.name) if analysis.module else None)
        put("thread.id", analysis.crash.thread_id)
        put("thread.name", analysis.dump.thread_name or None)


def _resource(scope: SentryScope) -> dict[str, str]:
    """Machine facts beside the sender's, under the names of OpenTelemetry's resource conventions."""
    resource = dict(scope.resource)
    strings = scope.attributes.strings
    for name in ("os.name", "os.version", "host.arch"):
        if name in strings:
            resource.setdefault(name, strings[name])
    return resource


def _metadata(analysis: DumpAnalysis, event_id: str) -> str:
    is_cut = analysis.file.is_cut or len(analysis.file.content) > MAX_PAYLOAD_BYTES
    metadata: dict[str, Any] = {"attachment": True, "minidump": True, "truncated": is_cut}
    if event_id:
        metadata["eventId"] = event_id
    return dumps_text(metadata)


def _payload(item: EnvelopeItem, analysis: DumpAnalysis) -> str:
    """The event with the dump's facts beside it; the dump itself is the row's body."""
    payload = {**item.fields, "attachment": item.header}
    if analysis.dump is not None:
        payload["minidump"] = facts(analysis, analysis.dump)
    return dumps_text(payload)
