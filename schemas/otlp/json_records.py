"""Parses the records of OTLP/JSON: spans with events and links, and log records. json_values.py parses members."""

from __future__ import annotations

from typing import Final

from schemas.otlp.json_any_values import any_value, attributes
from schemas.otlp.json_enums import KINDS, SEVERITIES, STATUSES
from schemas.otlp.json_values import (
    U32_MAX,
    U64_MAX,
    enum,
    identifier,
    members,
    object_members,
    present,
    severity,
    string,
    unsigned,
)
from schemas.otlp.records import LogRecord, OtlpSpan, Value, link, settled, span_event_json

_SPAN: Final = members(
    *("traceId", "spanId", "traceState", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano"),
    *("endTimeUnixNano", "attributes", "droppedAttributesCount", "events", "droppedEventsCount", "links"),
    *("droppedLinksCount", "status"),
)
_EVENT: Final = members("timeUnixNano", "name", "attributes", "droppedAttributesCount")
_LINK: Final = members("traceId", "spanId", "traceState", "attributes", "droppedAttributesCount", "flags")
_STATUS: Final = members("code", "message")
_LOG: Final = members(
    *("timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "body", "attributes"),
    *("droppedAttributesCount", "flags", "traceId", "spanId", "eventName"),
)


def span(raw: object, flaws: list[str]) -> OtlpSpan:
    """One span. Raises WrongShape."""
    sent = object_members(raw, _SPAN, "spans", flaws)
    get = sent.get
    status = object_members(get("status"), _STATUS, "status", flaws)
    return OtlpSpan(
        identifier(sent, "traceId", 32, flaws),
        identifier(sent, "spanId", 16, flaws),
        identifier(sent, "parentSpanId", 16, flaws),
        string(sent, "traceState"),
        unsigned(sent, "flags", U32_MAX, flaws),
        string(sent, "name"),
        enum(sent, "kind", KINDS, flaws),
        unsigned(sent, "startTimeUnixNano", U64_MAX, flaws),
        unsigned(sent, "endTimeUnixNano", U64_MAX, flaws),
        attributes(get("attributes"), flaws),
        unsigned(sent, "droppedAttributesCount", U32_MAX, flaws),
        [_event(raw, flaws) for raw in present(sent, "events", flaws)],
        unsigned(sent, "droppedEventsCount", U32_MAX, flaws),
        [_link(raw, flaws) for raw in present(sent, "links", flaws)],
        unsigned(sent, "droppedLinksCount", U32_MAX, flaws),
        enum(status, "code", STATUSES, flaws),
        string(status, "message"),
        settled(flaws) if flaws else (),
    )


def _event(raw: object, flaws: list[str]) -> dict[str, Value]:
    block = object_members(raw, _EVENT, "events", flaws)
    return span_event_json(
        unsigned(block, "timeUnixNano", U64_MAX, flaws),
        string(block, "name"),
        attributes(block.get("attributes"), flaws),
        unsigned(block, "droppedAttributesCount", U32_MAX, flaws),
    )


def _link(raw: object, flaws: list[str]) -> dict[str, Value]:
    block = object_members(raw, _LINK, "links", flaws)
    return link(
        (identifier(block, "traceId", 32, flaws), identifier(block, "spanId", 16, flaws)),
        string(block, "traceState"),
        attributes(block.get("attributes"), flaws),
        unsigned(block, "droppedAttributesCount", U32_MAX, flaws),
        unsigned(block, "flags", U32_MAX, flaws),
    )


def log(raw: object, flaws: list[str]) -> LogRecord:
    """One log record. Raises WrongShape."""
    sent = object_members(raw, _LOG, "logRecords", flaws)
    return LogRecord(
        unsigned(sent, "timeUnixNano", U64_MAX, flaws),
        unsigned(sent, "observedTimeUnixNano", U64_MAX, flaws),
        severity(sent, "severityNumber", SEVERITIES, flaws),
        string(sent, "severityText"),
        any_value(sent.get("body"), 1, flaws),
        string(sent, "eventName"),
        attributes(sent.get("attributes"), flaws),
        unsigned(sent, "droppedAttributesCount", U32_MAX, flaws),
        unsigned(sent, "flags", U32_MAX, flaws),
        identifier(sent, "traceId", 32, flaws),
        identifier(sent, "spanId", 16, flaws),
        settled(flaws) if flaws else (),
    )
