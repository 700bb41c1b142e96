"""OTLP bodies to start from, made at run time by the encoders of the OpenTelemetry SDK. No mutation here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.json.common import _log_encoder as json_logs
from opentelemetry.exporter.otlp.json.common import trace_encoder as json_traces
from opentelemetry.exporter.otlp.proto.common import _log_encoder as proto_logs
from opentelemetry.exporter.otlp.proto.common import trace_encoder as proto_traces
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from schemas.otlp.http_bodies import Encoding
from tests.fuzz.target import Sample

Kind = Literal["logs", "traces"]

START_NS: Final = 1_763_699_990_000_000_000
TRACE_ID: Final = 0x5B8EFFF798038103D269B633813FC60C
_RESOURCES: Final = (
    Resource(
        {"service.name": "till", "service.version": "1.2.3", "deployment.environment.name": "test"}, "https://s/1"
    ),
    Resource({"service.name": "ledger", "process.pid": 4711, "host.arch": "arm64", "tags": ["a", "b"]}),
)
_BATCHES: Final = ((0,), (1, 2), tuple(range(12)))
_SCOPE: Final = InstrumentationScope("http.client", "0.9", "https://s/2", {"scope.kind": "auto"})
_MIXED: Final[dict[str, Any]] = {
    "http.request.method": "GET",
    "http.response.status_code": 503,
    "gen_ai.usage.input_tokens": 2**53 + 1,
    "ratio": 0.25,
    "cached": True,
    "url.full": "https://shop.example/caf\u00e9?q=\U0001f600",
    "codes": [1, 2, -3],
    "names": ["a", ""],
    "empty": "",
}


def samples(kind: Kind, encoding: Encoding) -> Sequence[Sample]:
    """A few whole export requests of one kind in one encoding, from one record to a dozen."""
    return [Sample(body, encoding) for body in (spans(encoding) if kind == "traces" else logs(encoding))]


def spans(encoding: Encoding, start_ns: int = START_NS) -> list[bytes]:
    """Export requests for traces, by the SDK's own encoders: equal data for either encoding."""
    batches = [[_span(number, start_ns) for number in batch] for batch in _BATCHES]
    if encoding == "protobuf":
        return [proto_traces.encode_spans(batch).SerializeToString() for batch in batches]
    return [json.dumps(json_traces.encode_spans(batch).to_dict()).encode() for batch in batches]


def logs(encoding: Encoding, start_ns: int = START_NS) -> list[bytes]:
    """Export requests for logs, by the SDK's own encoders: equal data for either encoding."""
    batches = [[_log(number, start_ns) for number in batch] for batch in _BATCHES]
    if encoding == "protobuf":
        return [proto_logs.encode_logs(batch).SerializeToString() for batch in batches]
    return [json.dumps(json_logs.encode_logs(batch).to_dict()).encode() for batch in batches]


def _context(number: int) -> SpanContext:
    return SpanContext(TRACE_ID + number // 4, 0xEEE19B7EC3C1B174 + number, is_remote=False, trace_flags=TraceFlags(1),
                       trace_state=TraceState([("vendor", f"v{number}")]))  # fmt: skip


def _span(number: int, start_ns: int) -> ReadableSpan:
    at_ns = start_ns + number * 1_000_000
    failure: dict[str, Any] = {
        "exception.type": "ValueError",
        "exception.message": "no such till",
        "exception.escaped": False,
    }
    return ReadableSpan(
        f"GET /till/{number}",
        _context(number),
        _context(number - 1) if number % 3 else None,
        _RESOURCES[number % 2],
        _MIXED if number % 2 else {"step": number},
        [Event("exception", failure, at_ns + 5)] if number % 2 else (),
        [Link(_context(number + 7), {"why": "retry"})] if number % 4 == 1 else (),
        list(SpanKind)[number % len(SpanKind)],
        status=Status(StatusCode.ERROR, "broken") if number % 2 else Status(StatusCode.OK),
        start_time=at_ns,
        end_time=at_ns + 250_000,
        instrumentation_scope=_SCOPE if number % 3 else None,
    )


def _log(number: int, start_ns: int) -> ReadableLogRecord:
    bodies: tuple[Any, ...] = ("till opened", {"order": {"id": 5, "items": [1, "two", None, 3.5]}}, ["a", 1], None)
    record = LogRecord(
        timestamp=start_ns + number,
        observed_timestamp=start_ns + number + 5,
        context=set_span_in_context(NonRecordingSpan(_context(number))) if number % 2 else None,
        severity_text="WARN",
        severity_number=SeverityNumber.WARN,
        body=bodies[number % len(bodies)],
        attributes=_MIXED | {"raw": b"\x00\xff"} if number % 2 else {"step": number, "nested": {"deep": {"er": [[]]}}},
        event_name="till.opened" if number % 3 == 0 else None,
    )
    return ReadableLogRecord(record, _RESOURCES[number % 2], _SCOPE)
