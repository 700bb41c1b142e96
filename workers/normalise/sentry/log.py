"""Sentry `log` containers: one row per structured log."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from schemas.headers import Origin
from schemas.rows import APP_LOG, Row, row_id
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.envelope_item import (
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_item,
    origin_values,
)
from workers.normalise.levels import Severity, log_severity
from workers.normalise.scalars import as_text, value_text
from workers.normalise.sentry.container import Sender, count_warning, read_records, records_of, sequence_ns
from workers.normalise.sentry.span_row import INVALID_TRACE_ID, user_key
from workers.normalise.timestamps import SenderClock
from workers.normalise.trace_context import SPAN_ID_INVALID, span_id, trace_id
from workers.normalise.verdict import Verdict

COLUMNS: Final[tuple[str, ...]] = (
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
    "severity_number",
    "severity_text",
    "name",
    "body",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "scope_name",
    "user_id",
    "dropped_attributes_count",
    "payload",
    "repairs",
)

INVALID_LOG: Final = "invalid_log"
MISSING_LEVEL: Final = "missing_level"
MISSING_BODY: Final = "missing_body"
BODY_NOT_TEXT: Final = "body_not_text"

_MAX_NAME: Final = 256
_MAX_LOGGER: Final = 64
_SPAN_NAMES: Final = ("sentry.trace.parent_span_id", "parent_span_id")


class _LogContainer:
    """What all logs of one container share."""

    __slots__ = ("clock", "origin", "prefix", "repairs", "sender")

    def __init__(self, origin: Origin, item: EnvelopeItem, clock: SenderClock) -> None:
        self.origin = origin
        self.clock = clock
        self.prefix = origin_values(origin)
        self.repairs = item.repairs
        self.sender = Sender(origin, item)


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """A row per log of the one-item envelope `body` (Sentry logs protocol, log container).

    A log without trace id, level or body is a rejection of its own; another item_count than promised is a warning.
    """
    try:
        item = open_item(body)
        records = records_of(item)
    except RecordRefused as refused:
        return refused.verdict()
    container = _LogContainer(origin, item, item.clock(origin, retention_days))
    verdict = Verdict(warning=count_warning(item, len(records)))
    read_records(records, verdict, partial(_row, container))
    verdict.accepted = len(verdict.rows)
    return verdict


def _row(container: _LogContainer, value: Any, index: int) -> Row:
    """The row of one log. Raises RecordRefused."""
    repairs = list(container.repairs)
    trace, level, text = _required(value, index, repairs)
    attributes = _attributes(value, repairs)
    timestamp, original_ns, moved = container.clock.place(value.get("timestamp"), sequence_ns(attributes))
    repairs += moved
    sender, origin = container.sender, container.origin
    sender.infer(attributes)
    environment = sender.environment(attributes, repairs)
    resource = sender.resource(attributes, environment, repairs, is_on_server=True)
    user = user_key(attributes)
    attributes.close(repairs)
    return (
        *container.prefix,
        environment,
        row_id("sentry.log", origin.channel_id, origin.origin_id, origin.item_index, index),
        APP_LOG,
        "log",
        timestamp,
        original_ns,
        index,
        trace,
        _span(value, attributes, repairs),
        *_severity(value, level, attributes),
        attributes.text("event.name")[:_MAX_NAME],
        text,
        *attributes.maps(),
        resource,
        attributes.text("logger.name")[:_MAX_LOGGER],
        user,
        attributes.dropped,
        dumps_text(value),
        distinct(repairs),
    )


def _required(value: Any, index: int, repairs: list[str]) -> tuple[str, str, str]:
    """(trace id, level, body) of a log. Raises RecordRefused."""
    if value.__class__ is not dict:
        raise RecordRefused(INVALID_LOG, f"expected an object as items[{index}], found {value_text(value)}")
    trace, level, body = trace_id(value.get("trace_id")), as_text(value.get("level")), value.get("body")
    if not trace:
        given = value_text(value.get("trace_id"))
        raise RecordRefused(INVALID_TRACE_ID, f"expected 32 hex digits as items[{index}].trace_id, found {given}")
    if not level:
        raise RecordRefused(MISSING_LEVEL, f"expected a level such as info as items[{index}].level, found nothing")
    if body is None:
        raise RecordRefused(MISSING_BODY, f"expected text as items[{index}].body, found nothing")
    if body.__class__ is not str:
        repairs.append(BODY_NOT_TEXT)
    return trace, level, as_text(body)


def _attributes(fields: dict[str, Any], repairs: list[str]) -> Attributes:
    attributes = Attributes()
    attributes.put_typed(fields.get("attributes"), repairs)
    return attributes


def _severity(fields: dict[str, Any], level: str, attributes: Attributes) -> Severity:
    """The SDK's number stands in the log, or among its attributes (sentry-python)."""
    number = fields.get("severity_number")
    return log_severity(level, attributes.number("sentry.severity_number") if number is None else number)


def _span(fields: dict[str, Any], attributes: Attributes, repairs: list[str]) -> str:
    """The span that was active; older SDKs and Rust's name it only as an attribute."""
    given = fields.get("span_id")
    span = span_id(given)
    if given and not span:
        repairs.append(SPAN_ID_INVALID)
    named = (attributes.strings.get(name) for name in _SPAN_NAMES)
    return span or next(filter(None, map(span_id, (*named, fields.get("parent_span_id")))), "")
