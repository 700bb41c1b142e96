"""One OTLP log record to one row; none is ever refused.

How they are read is in schemas/otlp/http_bodies.py, the walk in otlp.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.otlp.columns import text_of_value, typed
from schemas.otlp.json_values import U32_MAX
from schemas.otlp.records import Flaws, LogRecord, json_text
from schemas.rows import Row
from workers.normalise import gen_ai
from workers.normalise.otlp.values import (
    MAX_DATETIME64_NS,
    MAX_NAME_LENGTH,
    MAX_RECORD_LENGTH,
    SPAN_ID_DIGITS,
    TIME_FROM_ARRIVAL,
    TIMESTAMP_CLAMPED,
    TRACE_FLAGS_MASK,
    TRACE_ID_DIGITS,
    TRUNCATED,
    Shared,
    TimeRange,
    is_id,
    repairs,
)
from workers.normalise.size_limits import Cuts, fit_texts, fit_together
from workers.normalise.stack_text import error_hash

COLUMNS: Final = (
    *("event_id", "timestamp", "original_timestamp_ns", "observed_at", "source_ordinal", "trace_id", "span_id"),
    *("trace_flags", "severity_number", "severity_text", "name", "body"),
    *("attributes_string", "attributes_int", "attributes_double", "attributes_bool"),
    *("dropped_attributes_count", "group_hash", "payload", "repairs"),
)
# What a record in a block may have been repaired in, in the order of `row`; the bits of _log_blocks.c.
REPAIRS_IN_BLOCKS: Final = ("time_from_observed", "trace_id_invalid", "span_id_invalid", "severity_from_text")
_MAX_SEVERITY: Final = 24
# OpenTelemetry logs data model: short names of SeverityNumber, and the words of syslog and of common loggers.
_SEVERITIES: Final = {
    f"{name}{step or ''}": base + (step or 1) - 1
    for base, name in ((1, "trace"), (5, "debug"), (9, "info"), (13, "warn"), (17, "error"), (21, "fatal"))
    for step in (0, 2, 3, 4)
} | {
    **{"information": 9, "informational": 9, "notice": 10, "warning": 13, "err": 17, "severe": 17},
    **{"critical": 21, "crit": 21, "alert": 21, "emerg": 21, "emergency": 21, "panic": 21},
}


def row(log: LogRecord, ordinal: int, shared: Shared, inherited: Flaws) -> Row:
    """The whole row, COLUMNS in its middle. `inherited` are the flaws of its resource and scope."""
    payload = _payload(log)
    if len(payload) > MAX_RECORD_LENGTH and TRUNCATED not in log.flaws:
        return row(_cut(log), ordinal, shared, inherited)
    flaws = [*log.flaws, *inherited]
    time_ns, original_ns, observed_ns = _times(log, shared.times, flaws)
    strings, integers, doubles, booleans = typed(log.attributes)
    if shared.has_model_calls and gen_ai.is_model_call(log.attributes):
        gen_ai.complete(strings, integers, doubles)
    ordinal_text = str(ordinal).encode()
    identity = shared.identity.copy()
    identity.update(len(ordinal_text).to_bytes(4, "big") + ordinal_text)
    return (
        *shared.head,
        int.from_bytes(identity.digest(), "big"),
        time_ns,
        original_ns,
        observed_ns,
        ordinal,
        _linked(log.trace_id, TRACE_ID_DIGITS, "trace_id_invalid", flaws),
        _linked(log.span_id, SPAN_ID_DIGITS, "span_id_invalid", flaws),
        log.flags & TRACE_FLAGS_MASK,
        _severity(log, flaws),
        log.severity_text,
        log.event_name or strings.get("event.name", "")[:MAX_NAME_LENGTH],
        log.body if log.body.__class__ is str else text_of_value(log.body),
        strings,
        integers,
        doubles,
        booleans,
        log.dropped_attributes,
        _error_hash(strings),
        payload,
        repairs(flaws) if flaws else [],
        *shared.tail,
    )


def _error_hash(strings: dict[str, str]) -> str:
    """The issue of a log with an exception (OpenTelemetry, exceptions in logs); '' for any other."""
    get = strings.get
    return error_hash(get("exception.type", ""), get("exception.message", ""), get("exception.stacktrace", ""))


def _times(log: LogRecord, times: TimeRange, flaws: list[str]) -> tuple[int, int, int]:
    """(time of the row, as sent if it was moved else 0, observed time), ns since 1970."""
    time_ns, observed_ns = log.time_ns, log.observed_ns
    if not time_ns:
        time_ns = observed_ns or times.received_at_ns
        flaws.append("time_from_observed" if observed_ns else TIME_FROM_ARRIVAL)
    if observed_ns > MAX_DATETIME64_NS:
        observed_ns = times.latest_ns
        flaws.append("observed_clamped")
    observed_ns = observed_ns or times.received_at_ns
    if times.earliest_ns <= time_ns <= times.latest_ns:
        return time_ns, 0, observed_ns
    flaws.append(TIMESTAMP_CLAMPED)
    return min(max(time_ns, times.earliest_ns), times.latest_ns), time_ns, observed_ns


def _linked(identifier: str, digits: int, flaw: str, flaws: list[str]) -> str:
    """The id, or "" for one that is none: the record stays, not linked to any trace."""
    if not identifier or is_id(identifier, digits):
        return identifier
    flaws.append(flaw)
    return ""


def _severity(log: LogRecord, flaws: list[str]) -> int:
    """The producer's number wins; where there is none the text decides, if it is a known word."""
    number = log.severity_number
    if 0 < number <= _MAX_SEVERITY:
        return number
    if number:
        flaws.append("severity_out_of_range")
    derived = severity_of(log.severity_text) if log.severity_text else 0
    if derived:
        flaws.append("severity_from_text")
    return derived


def severity_of(text: str) -> int:
    """The number of a severity that was sent as text; 0 for a word that nobody knows."""
    return _SEVERITIES.get(text.strip().lower(), 0)


def _payload(log: LogRecord) -> str:
    """The record as JSON: names as in OTLP/JSON, attributes as one object, times as numbers, empty members left out."""
    members: dict[str, Any] = {
        "timeUnixNano": log.time_ns,
        "observedTimeUnixNano": log.observed_ns,
        "severityNumber": log.severity_number,
        "severityText": log.severity_text,
        "body": log.body,
        "attributes": log.attributes,
    }
    if log.event_name:
        members["eventName"] = log.event_name
    if log.trace_id:
        members["traceId"] = log.trace_id
    if log.span_id:
        members["spanId"] = log.span_id
    if log.flags:
        members["flags"] = log.flags
    if log.dropped_attributes:
        members["droppedAttributesCount"] = log.dropped_attributes
    return json_text(members)


def _cut(log: LogRecord) -> LogRecord:
    """The record cut to about MAX_RECORD_LENGTH characters of JSON, its long values only."""
    cuts = Cuts()
    texts: dict[str, Any] = fit_texts(
        {"severity_text": log.severity_text, "event_name": log.event_name}, MAX_NAME_LENGTH, cuts
    )
    values = fit_together({"body": log.body, "attributes": log.attributes}, MAX_RECORD_LENGTH * 3 // 4, cuts)
    return log._replace(
        **texts,
        **values,
        dropped_attributes=min(log.dropped_attributes + cuts.count, U32_MAX),
        flaws=(*log.flaws, TRUNCATED, *cuts.repairs()),
    )
