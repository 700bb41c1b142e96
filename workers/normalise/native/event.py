"""Native events to rows, one each. What a payload of the SDKs' integrations says is payload.py's."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from schemas import native_event
from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate
from schemas.headers import Origin
from schemas.key_masking import mask_keys
from schemas.native_event import BATCH, BadEvent, NativeEvent
from schemas.rows import AGENT_ERROR, APP_SPAN, Row
from schemas.tolerant_json import dumps_text, loads_with_text
from workers.normalise import gen_ai
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.envelope_item import ORIGIN_COLUMNS, PAYLOAD_REWRITTEN, distinct, origin_values
from workers.normalise.native.metadata import metadata_text
from workers.normalise.native.payload import (
    body_text,
    read_agent,
    read_error,
    read_span,
    resource_of,
    sent_ns,
    severity_of,
)
from workers.normalise.scalars import as_dict, as_text
from workers.normalise.secrets.headers import filter_values, may_name_secrets
from workers.normalise.stack_text import error_hash
from workers.normalise.timestamps import UNREADABLE, Placed, SenderClock
from workers.normalise.trace_context import span_id, trace_id
from workers.normalise.verdict import Invalid, Verdict

COLUMNS: Final = (
    *ORIGIN_COLUMNS,
    "environment",
    "event_id",
    "event_type",
    "item_type",
    "timestamp",
    "original_timestamp_ns",
    "source_ordinal",
    "trace_id",
    "span_id",
    "parent_span_id",
    "span_kind",
    "status",
    "status_message",
    "duration_ns",
    "severity_number",
    "severity_text",
    "name",
    "body",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "group_hash",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)
ITEM_TYPE: Final = "native"
MAX_BODY_BYTES: Final = 6_000_000

_DIGITS: Final = {"trace_id": 32, "span_id": 16, "parent_span_id": 16}


@dataclass(frozen=True, slots=True)
class _NativeMessage:
    """What the rows of one message share."""

    origin: Origin
    clock: SenderClock
    repairs: tuple[str, ...]


def normalise(
    origin: Origin,
    body: bytes,
    *,
    retention_days: int = 30,
    max_body_bytes: int = MAX_BODY_BYTES,
    inflated: bytes | None = None,
) -> Verdict:
    """One row (COLUMNS) for each event of a body of `POST /event` or `/event/batch`, as it came. Raises Invalid.

    The receiver has refused what is none already; what comes all the same is a rejection, event by event.
    """
    value, text, is_rewritten = _open_body(origin, body, max_body_bytes, inflated)
    repairs = (PAYLOAD_REWRITTEN,) if is_rewritten else ()
    message = _NativeMessage(origin, SenderClock(origin.received_at_ns, None, retention_days), repairs)
    is_batch = origin.resource == BATCH
    verdict = Verdict()
    for ordinal, event_json in enumerate(_events(value) if is_batch else [value]):
        try:
            event = native_event.read_event(event_json, f"events[{ordinal}]" if is_batch else "")
        except BadEvent as error:
            verdict.refuse(ordinal, error.reason, error.detail)
        else:
            verdict.rows.append(_row(message, event, ordinal, dumps_text(event_json) if is_batch else text))
    verdict.accepted = len(verdict.rows)
    return verdict


def _open_body(origin: Origin, body: bytes, max_body_bytes: int, inflated: bytes | None) -> tuple[Any, str, bool]:
    try:
        if inflated is None:
            inflated = inflate(body, origin.content_encoding or "identity", max_body_bytes)
        value, text, is_rewritten = loads_with_text(mask_keys(inflated))
    except (CorruptBody, TooLarge, UnsupportedEncoding) as error:
        raise Invalid(str(error)) from error
    except ValueError as error:
        raise Invalid(f"expected a JSON object as the body: {error}") from error
    if may_name_secrets((text,)) and filter_values(value):
        return value, dumps_text(value), is_rewritten
    return value, text, is_rewritten


def _events(value: Any) -> list[Any]:
    try:
        return native_event.batch_events(value)
    except BadEvent as error:
        raise Invalid(error.detail) from error


def _row(message: _NativeMessage, event: NativeEvent, ordinal: int, text: str) -> Row:
    origin, payload, repairs = message.origin, event.payload, list(message.repairs)
    attributes = _attributes(event)
    linked = _ids(event, attributes, repairs)
    timestamp, original_ns, moved = _place(event, message.clock)
    repairs += moved
    span = read_span(event.event_type, payload)
    severity_number, severity_text = severity_of(event, repairs)
    attributes.close(repairs)
    return (
        *origin_values(origin),
        origin.environment,
        native_event.event_id(origin.channel_id, origin.origin_id, ordinal),
        event.event_type,
        ITEM_TYPE,
        timestamp,
        original_ns,
        ordinal,
        *linked,
        span.kind,
        span.status,
        span.status_message,
        span.duration_ns,
        severity_number,
        severity_text,
        event.identifier,
        body_text(payload),
        *attributes.maps(),
        resource_of(payload, origin.environment, repairs),
        _error_hash(event, attributes),
        attributes.dropped,
        metadata_text(event.metadata, repairs),
        text,
        distinct(repairs),
    )


def _attributes(event: NativeEvent) -> Attributes:
    """What the sender named first; then what we know by another name. The first value of a name wins."""
    attributes = Attributes()
    attributes.put("axonpush.parent_event_id", event.parent_event_id or None)
    attributes.put("axonpush.dedup_key", event.dedup_key or None)
    attributes.put_all("", as_dict(event.payload.get("attributes")))
    attributes.put_all("", {key: value for key, value in event.metadata.items() if key.startswith("gen_ai.")})
    read_agent(event, attributes)
    read_error(event, attributes)
    if event.fields.get("channel_id").__class__ is int:
        attributes.put("axonpush.numeric_ids", True)
    if gen_ai.is_model_call(attributes.keys):
        gen_ai.complete(attributes.strings, attributes.ints, attributes.doubles)
    return attributes


def _error_hash(event: NativeEvent, attributes: Attributes) -> str:
    """What makes two errors one issue; '' for other events without an exception."""
    text = attributes.text
    exception = text("exception.type"), text("exception.message"), text("exception.stacktrace")
    if event.event_type == AGENT_ERROR and not any(exception):
        exception = ("", body_text(event.payload) or event.identifier, "")
    return error_hash(*exception)


def _ids(event: NativeEvent, attributes: Attributes, repairs: list[str]) -> tuple[str, str, str]:
    """(trace id, span id, parent's span id). SDKs also send UUIDs and names of their own making.

    What is no W3C id is hashed, as the SDKs do it for the `traceparent` of the same trace, so that it still links; the
    text as sent is kept as an attribute.
    """
    parent = event.parent_span_id
    if not parent and event.event_type == APP_SPAN:
        parent = as_text(event.payload.get("parentSpanId"))[: native_event.MAX_ID_LENGTH]
    return (
        _link_id("trace_id", event.trace_id, trace_id(event.trace_id), attributes, repairs),
        _link_id("span_id", event.span_id, span_id(event.span_id), attributes, repairs),
        _link_id("parent_span_id", parent, span_id(parent), attributes, repairs),
    )


def _link_id(name: str, sent: str, valid: str, attributes: Attributes, repairs: list[str]) -> str:
    if valid or not sent:
        return valid
    attributes.put(f"axonpush.{name}", sent)
    if not sent.strip("0-"):
        repairs.append(f"{name}_invalid")
        return ""
    repairs.append(f"{name}_hashed")
    return sha256(sent.encode()).hexdigest()[: _DIGITS[name]]


def _place(event: NativeEvent, clock: SenderClock) -> Placed:
    """The time the sender gave, else that of arrival, which is no repair: most events have none of their own."""
    given = event.fields.get("timestamp")
    if given is not None:
        return clock.place(given)
    time_ns = sent_ns(event)
    if time_ns is None:
        return clock.received_at_ns, 0, ()
    return clock.place_ns(time_ns) if time_ns > 0 else (clock.received_at_ns, 0, (UNREADABLE,))
