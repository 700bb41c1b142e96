"""Native events: validates the JSON of `POST /event` and `POST /event/batch`, and makes event ids.

Receiver and worker both use it, so that both refuse the same things with the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import orjson

from schemas.rows import AGENT_ERROR, APP_LOG, APP_SPAN, CUSTOM, row_id
from schemas.tolerant_json import dumps_text

# Value of Origin.resource (schemas.headers) for a message whose body is a batch.
BATCH: Final = "batch"
MAX_BATCH_EVENTS: Final = 10_000
MAX_IDENTIFIER_LENGTH: Final = 1_000
MAX_IDEMPOTENCY_KEY_LENGTH: Final = 255
# Maximum length of ids of traces, spans, agents and parents, which senders choose.
MAX_ID_LENGTH: Final = 500

AGENT_LOG: Final = "agent.log"
TOOL_CALLS: Final = frozenset({"agent.tool_call.start", "agent.tool_call.end"})
EVENT_TYPES: Final = frozenset(
    {"agent.start", "agent.end", "agent.message", "agent.handoff", "agent.llm.token"}
    | TOOL_CALLS
    | {AGENT_ERROR, AGENT_LOG, APP_LOG, APP_SPAN, CUSTOM}
)
# Fields that are ignored when comparing two bodies with one idempotency key: SDKs draw new trace and span ids for the
# same event.
_FINGERPRINTED: Final = ("identifier", "payload", "eventType", "agentId", "metadata")
_NUMBER_BITS: Final = 63


class BadEvent(ValueError):
    """The body is no native event: `reason` is for grouping; the text says where, what was expected and found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class NativeEvent:
    """One valid event; missing texts are ''. `fields` is the object as received."""

    identifier: str
    payload: dict[str, Any]
    event_type: str
    agent_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    parent_event_id: str
    metadata: dict[str, Any]
    dedup_key: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """One request: its events and what they share. `channel` is the number as text, '' if missing.

    `has_numeric_ids`: the channel was a JSON number, as sent by clients that need numeric ids.
    """

    events: list[NativeEvent]
    channel: str
    environment: str
    wants_sync: bool
    dedup_key: str
    has_numeric_ids: bool
    is_batch: bool


def read_submission(body: Any, *, is_batch: bool) -> Submission:
    """Parses a request from a JSON value and checks every event. Raises BadEvent."""
    fields = _object(body, "the body")
    events = [read_event(event, f"events[{i}]") for i, event in enumerate(batch_events(fields))] if is_batch else None
    channel = fields.get("channel_id")
    return Submission(
        events=[read_event(fields)] if events is None else events,
        channel=_channel(channel),
        environment=_text(fields, "environment", ""),
        wants_sync=_boolean(fields, "sync"),
        dedup_key="" if is_batch else _text(fields, "dedupKey", "", MAX_IDEMPOTENCY_KEY_LENGTH),
        has_numeric_ids=channel.__class__ is int,
        is_batch=is_batch,
    )


def batch_events(body: Any) -> list[Any]:
    """The events of a batch, not checked yet. Raises BadEvent."""
    events = _object(body, "the body").get("events")
    if events.__class__ is not list or not events:
        raise BadEvent("events_invalid", f"events: expected a list of at least one event, found {_value_text(events)}")
    if len(events) > MAX_BATCH_EVENTS:
        raise BadEvent("too_many_events", f"events: expected at most {MAX_BATCH_EVENTS} of them, found {len(events)}")
    return list(events)


def read_event(value: Any, where: str = "") -> NativeEvent:
    """Checks one event; `where` is its place in a batch. Unknown members are ignored. Raises BadEvent."""
    fields = _object(value, where or "the body")
    return NativeEvent(
        identifier=_identifier(fields, where),
        payload=_object(fields.get("payload"), _at(where, "payload"), "payload_invalid"),
        event_type=_event_type(fields.get("eventType"), where),
        agent_id=_text(fields, "agentId", where),
        trace_id=_text(fields, "traceId", where),
        span_id=_text(fields, "spanId", where),
        parent_span_id=_text(fields, "parentSpanId", where),
        parent_event_id=_text(fields, "parentEventId", where),
        metadata=_metadata(fields.get("metadata"), where),
        dedup_key=_text(fields, "dedupKey", where, MAX_IDEMPOTENCY_KEY_LENGTH),
        fields=fields,
    )


def event_id(channel_id: int, origin_id: str, ordinal: int = 0) -> int:
    """The 128-bit id of the event at `ordinal` of message `origin_id`; the same in the answer and the row."""
    return row_id("native", channel_id, origin_id, ordinal)


def id_text(number: int) -> str:
    """An event's id as answers and SQL show it."""
    return str(UUID(int=number))


def id_number(number: int) -> int:
    """The low 63 bits of an event's id, for clients that need numbers."""
    return number & (1 << _NUMBER_BITS) - 1


def key_name(channel_id: int, key_class: str, environment: str, key: str) -> bytes:
    """The name under which an idempotency key is stored: 16 bytes. A channel belongs to one organisation.

    It includes the class of the sender's key, so that a public token cannot claim what a secret key writes. Another key
    of the same class counts as the same sender, so that a retry after a key rotation is still a repeat.
    """
    return row_id("native.idempotency", channel_id, key_class, environment, key).to_bytes(16, "big")


def keyed_id(name: bytes, first_fingerprint: bytes) -> str:
    """The message id of a body with an idempotency key: the same for every repeat, whatever its bytes.

    A refused body does not use up its key: a corrected body has another fingerprint, and so another id.
    """
    return f"{row_id('native.keyed', name, first_fingerprint):032x}"


def fingerprint(events: list[NativeEvent]) -> bytes:
    """16 bytes, equal for two bodies that differ only in their trace and span ids."""
    digest = blake2b(digest_size=16)
    for event in events:
        content = {name: event.fields.get(name) for name in _FINGERPRINTED}
        try:
            digest.update(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
        except (TypeError, ValueError):  # nested too deep for orjson
            digest.update(dumps_text(content).encode())
    return digest.digest()


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _object(value: Any, where: str, reason: str = "not_an_object") -> dict[str, Any]:
    if value.__class__ is not dict:
        raise BadEvent(reason, f"{where}: expected a JSON object, found {_value_text(value)}")
    return dict(value)


def _identifier(fields: dict[str, Any], where: str) -> str:
    value = fields.get("identifier")
    if value.__class__ is str and value.strip() and len(value) <= MAX_IDENTIFIER_LENGTH:
        return str(value)
    actual = f"text of {len(value)} characters" if value.__class__ is str and value else _value_text(value)
    raise BadEvent(
        "identifier_invalid",
        f"{_at(where, 'identifier')}: expected text of 1 to {MAX_IDENTIFIER_LENGTH} characters, found {actual}",
    )


def _event_type(value: Any, where: str) -> str:
    if value is None:
        return CUSTOM
    if value.__class__ is not str or value not in EVENT_TYPES:
        known = ", ".join(sorted(EVENT_TYPES))
        raise BadEvent(
            "event_type_invalid", f"{_at(where, 'eventType')}: expected one of {known}, found {_value_text(value)}"
        )
    return str(value)


def _metadata(value: Any, where: str) -> dict[str, Any]:
    return {} if value is None else _object(value, _at(where, "metadata"), "metadata_invalid")


def _text(fields: dict[str, Any], name: str, where: str, limit: int = MAX_ID_LENGTH) -> str:
    """An optional text; whole numbers are accepted as text, because the first clients send ids as numbers."""
    value = fields.get(name)
    if value is None:
        return ""
    text = str(value) if value.__class__ in (str, int) else None
    if text is None or len(text) > limit:
        actual = _value_text(value) if text is None else f"{len(text)} characters"
        raise BadEvent(
            f"{name}_invalid", f"{_at(where, name)}: expected text of at most {limit} characters, found {actual}"
        )
    return text.strip()


def _boolean(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None or value.__class__ is bool:
        return bool(value)
    raise BadEvent(f"{name}_invalid", f"{name}: expected true or false, found {_value_text(value)}")


def _channel(value: Any) -> str:
    """The channel number. The receiver checks that it exists."""
    if value is None:
        return ""
    if value.__class__ is int or value.__class__ is str:
        return str(value).strip() or "''"
    raise BadEvent("channel_id_invalid", f"channel_id: expected a number or its digits, found {_value_text(value)}")


def _value_text(value: Any) -> str:
    """Words for a refused value: short scalars themselves, of others only the kind."""
    if value is None:
        return "nothing"
    if value.__class__ is dict:
        return "an object"
    if value.__class__ is list:
        return f"a list of {len(value)}"
    return ascii(value[:60] if value.__class__ is str else value)
