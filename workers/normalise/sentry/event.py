"""Sentry `event` items: one row each, an error if it has exceptions and a log if it has none."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from schemas.artifacts.debug_ids import debug_id
from schemas.headers import Origin
from schemas.rows import AGENT_ERROR, APP_LOG, Row
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.envelope_item import (
    ORIGIN_COLUMNS,
    SYMBOLICATED,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_item,
    origin_values,
    row_event_id,
)
from workers.normalise.levels import event_severity
from workers.normalise.scalars import as_list, as_text
from workers.normalise.sentry.payload.exceptions import (
    Raised,
    frames_without_exception,
    read_exceptions,
    read_trace_of,
)
from workers.normalise.sentry.payload.fingerprint import Variables
from workers.normalise.sentry.payload.grouping import expand_fingerprint, group_hash, read_fingerprint, title
from workers.normalise.sentry.payload.main_exception import about
from workers.normalise.sentry.payload.message import EventMessage, read_message
from workers.normalise.sentry.payload.scope import read_scope
from workers.normalise.sentry.payload.stacktrace import blamed, describe
from workers.normalise.timestamps import SenderClock
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
    "scope_name",
    "exception_type",
    "exception_message",
    "exception_stacktrace",
    "user_id",
    "fingerprint",
    "group_hash",
    "dropped_attributes_count",
    "payload",
    "repairs",
)

_MAX_LOGGER: Final = 64
_MAX_STATE: Final = 8
MAX_DEBUG_IDS: Final = 100
# Attribute with the debug ids of an event, separated by blanks.
DEBUG_IDS: Final = "debug_ids"


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """One row for the one-item envelope `body` (Sentry event payload specification); malformed JSON is a rejection."""
    try:
        item = open_item(body)
    except RecordRefused as refused:
        return refused.verdict()
    return Verdict(rows=[_row(origin, item, item.clock(origin, retention_days))], accepted=1)


def _row(origin: Origin, item: EnvelopeItem, clock: SenderClock) -> Row:
    payload = item.fields
    repairs = list(item.repairs)
    timestamp, original_ns, moved = clock.place(payload.get("timestamp"))
    repairs += moved
    scope = read_scope(origin, item, repairs)
    raised = read_exceptions(payload, repairs)
    message = read_message(payload)
    number, level = event_severity(payload.get("level"), "error", repairs)
    attributes = scope.attributes
    put_message(message, attributes)
    chain = about(raised, payload.get("main_exception_id"))
    thrown = chain[-1] if chain else None
    frames = thrown.frames if thrown else frames_without_exception(payload)
    identity, stack = _trace(raised, chain, frames, attributes)
    if not raised and frames and not message.text:
        # without any words its place is all that tells it from others
        identity = describe(frames)[1]
    _put_culprit(frames, attributes)
    put_debug_ids(item, attributes)
    variables = Variables(payload, level, message, thrown, frames)
    fingerprint = variables.fill(read_fingerprint(payload.get("fingerprint"), repairs))
    attributes.close(repairs)
    return (
        *origin_values(origin),
        scope.environment,
        row_event_id(origin, item, repairs),
        AGENT_ERROR if thrown else APP_LOG,
        "event",
        timestamp,
        original_ns,
        scope.trace.trace_id,
        scope.trace.span_id,
        scope.trace.parent_span_id,
        number,
        level,
        title(thrown, message),
        message.text or (thrown.value or thrown.type if thrown else ""),
        *attributes.maps(),
        scope.resource,
        as_text(payload.get("logger"))[:_MAX_LOGGER],
        thrown.type if thrown else "",
        thrown.value if thrown else "",
        stack,
        scope.user_id,
        expand_fingerprint(fingerprint, identity, message),
        group_hash(fingerprint, identity, message),
        attributes.dropped,
        item.text,
        distinct(repairs),
    )


def put_message(message: EventMessage, attributes: Attributes) -> None:
    """The template and its parameters under the names Sentry's logs use for them."""
    if not message.template:
        return
    attributes.put("sentry.message.template", message.template)
    if message.params.__class__ is dict:
        attributes.put_all("sentry.message.parameter.", message.params)
    for index, param in enumerate(as_list(message.params)):
        attributes.put(f"sentry.message.parameter.{index}", param)


def put_debug_ids(item: EnvelopeItem, attributes: Attributes) -> None:
    """The debug ids of the files in its stack traces, by which an artifact that is uploaded later finds the event; how
    many of its frames were resolved.
    """
    meta = item.fields.get("debug_meta")
    images = meta.get("images") if meta.__class__ is dict else None
    if images.__class__ is list:
        named = (debug_id(image.get("debug_id") or image.get("uuid")) for image in images if _is_of_file(image))
        if ids := list(islice(filter(None, named), MAX_DEBUG_IDS)):
            attributes.put(DEBUG_IDS, " ".join(dict.fromkeys(ids)))
    if (state := item.header.get(SYMBOLICATED)).__class__ is str:
        attributes.put(SYMBOLICATED, state[:_MAX_STATE])


def _is_of_file(image: Any) -> bool:
    return image.__class__ is dict and image.get("type") in ("sourcemap", "proguard")


def _put_culprit(frames: list[Any], attributes: Attributes) -> None:
    """What Sentry blames: what the SDK said, else the transaction, else the place of the innermost in-app frame."""
    if attributes.strings.get("culprit"):
        return
    attributes.put("culprit", attributes.strings.get("transaction") or blamed(frames) or None)


def _trace(
    raised: list[Raised], chain: list[Raised], frames: list[Any], attributes: Attributes
) -> tuple[list[str], str]:
    """(what identifies the exceptions of `chain`, all readable stack traces); puts exception.* attributes.

    `frames` are those of an event without exceptions.
    """
    if not raised:
        return [], "\n".join(describe(frames)[0])
    thrown = chain[-1]
    attributes.put("exception.type", thrown.type or None)
    attributes.put("exception.module", thrown.module or None)
    attributes.put("exception.mechanism.type", thrown.mechanism.get("type"))
    attributes.put("exception.mechanism.handled", thrown.mechanism.get("handled"))
    if len(raised) > 1:
        attributes.put("exception.chain", [exception.type for exception in raised])
    trace = read_trace_of(raised, chain)
    return trace.identity, trace.text
