"""Sentry `feedback` and `user_report` items: one row per message a user wrote. Events are read elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.rows import CUSTOM, Row, item_row_id
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import ATTRIBUTE_COLUMNS
from workers.normalise.envelope_item import (
    EVENT_ID_INVALID,
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_item,
    origin_values,
    row_event_id,
)
from workers.normalise.scalars import as_dict, as_text
from workers.normalise.sentry.payload.message import read_message
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
    "name",
    "body",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "user_id",
    "user_email",
    "user_name",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)

MISSING_MESSAGE: Final = "missing_message"
ASSOCIATED_ID_INVALID: Final = "associated_event_id_invalid"

_NAME: Final = "User Feedback"
_MAX_NAME: Final = 2_000
_NIL_ID: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class _Feedback:
    """What the user wrote, in either form; `about` is the id of the event it is about, '' if there is none."""

    message: str
    name: str
    email: str
    url: str
    about: str
    is_report: bool


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """One row for the one-item envelope `body` (Sentry feedback payload; user report, its older form).

    One that holds neither words nor a name or address to answer to is a rejection.
    """
    try:
        item = open_item(body)
        repairs = list(item.repairs)
        feedback = _read_report(item, repairs) if item.header.get("type") == "user_report" else _read(item, repairs)
        _check(feedback)
    except RecordRefused as refused:
        return refused.verdict()
    return Verdict(rows=[_row(origin, item, feedback, item.clock(origin, retention_days), repairs)], accepted=1)


def _read(item: EnvelopeItem, repairs: list[str]) -> _Feedback:
    """An event whose `feedback` context holds the message; SDKs also send the message as the event's own."""
    fields = as_dict(as_dict(item.fields.get("contexts")).get("feedback"))
    return _Feedback(
        message=as_text(fields.get("message")) or read_message(item.fields).text,
        name=as_text(fields.get("name")),
        email=as_text(fields.get("contact_email")),
        url=as_text(fields.get("url")),
        about=_identifier(fields.get("associated_event_id"), ASSOCIATED_ID_INVALID, repairs),
        is_report=False,
    )


def _read_report(item: EnvelopeItem, repairs: list[str]) -> _Feedback:
    """{event_id, name, email, comments}; the envelope's id is the id of the same event."""
    fields = item.fields
    own = _identifier(fields.get("event_id"), EVENT_ID_INVALID, repairs)
    about = own or _identifier(item.envelope.event_id, EVENT_ID_INVALID, repairs)
    return _Feedback(
        message=as_text(fields.get("comments")),
        name=as_text(fields.get("name")),
        email=as_text(fields.get("email")),
        url="",
        about=about,
        is_report=True,
    )


def _identifier(value: Any, repair: str, repairs: list[str]) -> str:
    """32 hex digits, '' if there are none; what is no id is named."""
    identifier = envelope.parse_event_id(value.strip()) if value.__class__ is str else None
    if identifier is None and value is not None and value != "":
        repairs.append(repair)
    return identifier if identifier and identifier != _NIL_ID else ""


def _check(feedback: _Feedback) -> None:
    """Raises RecordRefused."""
    if feedback.message.strip() or feedback.name or feedback.email:
        return
    where = "comments" if feedback.is_report else "contexts.feedback.message"
    raise RecordRefused(MISSING_MESSAGE, f"expected text as {where}, found nothing, nor a name or an e-mail address")


def _row(origin: Origin, item: EnvelopeItem, feedback: _Feedback, clock: SenderClock, repairs: list[str]) -> Row:
    timestamp, original_ns, moved = _place(item, feedback, clock)
    repairs += moved
    scope = read_scope(origin, item, repairs)
    email, name = _put_person(feedback, scope)
    attributes = scope.attributes
    attributes.close(repairs)
    return (
        *origin_values(origin),
        scope.environment,
        _row_id(origin, item, feedback, repairs),
        CUSTOM,
        "feedback",
        timestamp,
        original_ns,
        scope.trace.trace_id,
        scope.trace.span_id,
        scope.trace.parent_span_id,
        feedback.url[:_MAX_NAME] or _NAME,
        feedback.message,
        *attributes.maps(),
        scope.resource,
        scope.user_id or email or name,
        email,
        name,
        attributes.dropped,
        _metadata(feedback),
        item.text,
        distinct(repairs),
    )


def _place(item: EnvelopeItem, feedback: _Feedback, clock: SenderClock) -> Placed:
    """A user report has no time of its own."""
    value = item.fields.get("timestamp")
    return (clock.received_at_ns, 0, ()) if feedback.is_report and value is None else clock.place(value)


def _put_person(feedback: _Feedback, scope: SentryScope) -> tuple[str, str]:
    """(e-mail, name): what the user typed, else what the application knew. Puts them where it knew nothing."""
    attributes = scope.attributes
    attributes.put("user.email", feedback.email or None)
    attributes.put("user.name", feedback.name or None)
    attributes.put("url.full", feedback.url or None)
    attributes.put("sentry.event_id", feedback.about or None)
    return feedback.email or attributes.text("user.email"), feedback.name or attributes.text("user.name")


def _row_id(origin: Origin, item: EnvelopeItem, feedback: _Feedback, repairs: list[str]) -> int:
    """Feedback is an event with an id; a user report only carries the id of the event it is about."""
    if feedback.is_report:
        return item_row_id(origin)
    return row_event_id(origin, item, repairs)


def _metadata(feedback: _Feedback) -> str:
    """`associatedEventId` in both forms; `eventId` is what a user report calls it."""
    metadata: dict[str, Any] = {"feedback": True}
    if feedback.about:
        metadata["associatedEventId"] = feedback.about
        if feedback.is_report:
            metadata["eventId"] = feedback.about
    return dumps_text(metadata)
