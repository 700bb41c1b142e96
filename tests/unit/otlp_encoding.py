"""OTLP test data: requests built with Google's classes, and the same requests as OTLP/JSON."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.headers import Origin
from schemas.otlp.http_bodies import read_traces
from workers.normalise.otlp.body import LOG_COLUMNS, SPAN_COLUMNS, normalise_logs, normalise_spans
from workers.normalise.verdict import Verdict

RECEIVED_AT_NS = 1_763_700_000_000_000_000
TRACE_ID = "5b8efff798038103d269b633813fc60c"
SPAN_ID = "eee19b7ec3c1b174"
_ID_MEMBERS = ("traceId", "spanId", "parentSpanId")


def origin(content_type: str, content_encoding: str = "") -> Origin:
    """What the receiver says about a body."""
    return Origin(
        organisation="acme",
        channel_id=7,
        key_id="k1",
        environment="production",
        environment_from_event=False,
        received_at_ns=RECEIVED_AT_NS,
        content_type=content_type,
        content_encoding=content_encoding,
        origin_id="origin-1",
        origin_seq=5,
    )


JSON = origin("application/json")
PROTOBUF = origin("application/x-protobuf")


def as_json(request: Message) -> bytes:
    """The request in OTLP/JSON: the JSON mapping of protobuf, but ids in hex and enums as numbers."""
    return orjson.dumps(_with_hex_ids(MessageToDict(request, use_integers_for_enums=True)))


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(held).hex() if name in _ID_MEMBERS else _with_hex_ids(held)
        for name, held in value.items()
    }


def any_value(value: Any) -> AnyValue:
    """A Python value as an AnyValue; None is the empty one."""
    found = AnyValue()
    if isinstance(value, bool):
        found.bool_value = value
    elif isinstance(value, int):
        found.int_value = value
    elif isinstance(value, float):
        found.double_value = value
    elif isinstance(value, str):
        found.string_value = value
    elif isinstance(value, bytes):
        found.bytes_value = value
    elif isinstance(value, list):
        found.array_value.SetInParent()
        found.array_value.values.extend(map(any_value, value))
    elif isinstance(value, dict):
        found.kvlist_value.SetInParent()
        put(found.kvlist_value.values, value)
    return found


def put(target: Any, attributes: dict[str, Any]) -> None:
    """Attributes into a repeated KeyValue field."""
    for key, value in attributes.items():
        pair = target.add(key=key)
        pair.value.CopyFrom(any_value(value))


def traces(*spans: Span, resource: dict[str, Any] | None = None) -> ExportTraceServiceRequest:
    """A request with these spans under one scope of one resource."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    put(block.resource.attributes, resource if resource is not None else {"service.name": "checkout"})
    block.scope_spans.add().spans.extend(spans)
    return request


def logs(*records: LogRecord, resource: dict[str, Any] | None = None) -> ExportLogsServiceRequest:
    """A request with these records under one scope of one resource."""
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add()
    put(block.resource.attributes, resource if resource is not None else {"service.name": "checkout"})
    block.scope_logs.add().log_records.extend(records)
    return request


def span(**fields: Any) -> Span:
    """A valid span of two seconds that ends when the body arrives."""
    given = {"name": "GET /", "start_time_unix_nano": RECEIVED_AT_NS - 2 * 10**9, "end_time_unix_nano": RECEIVED_AT_NS}
    ids = {"trace_id": bytes.fromhex(TRACE_ID), "span_id": bytes.fromhex(SPAN_ID)}
    return Span(**{**ids, **given, **fields})


def json_span(**members: Any) -> dict[str, Any]:
    """The same span in OTLP/JSON; a member given as ... is left out."""
    times = {"startTimeUnixNano": str(RECEIVED_AT_NS - 2 * 10**9), "endTimeUnixNano": str(RECEIVED_AT_NS)}
    found = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "GET /", **times, **members}
    return {name: value for name, value in found.items() if value is not ...}


def json_traces(*spans: Any, **members: Any) -> bytes:
    """OTLP/JSON with these spans under one scope of one resource; `members` go beside the scopes."""
    return orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}], **members}]})


def json_logs(*records: Any, **members: Any) -> bytes:
    """OTLP/JSON with these records under one scope of one resource; `members` go beside the scopes."""
    return orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}], **members}]})


def read_span(**members: Any) -> Any:
    """What the one span of a JSON body is read as."""
    (found,) = read_traces(json_traces(json_span(**members)), "json").records()
    return found


def neighbour() -> dict[str, Any]:
    """A block with one valid span, to stand beside a bad one."""
    return {"scopeSpans": [{"spans": [json_span()]}]}


def spans_of(verdict: Verdict) -> list[dict[str, Any]]:
    """Rows by column name."""
    return [dict(zip(SPAN_COLUMNS, row, strict=True)) for row in verdict.rows]


def logs_of(verdict: Verdict) -> list[dict[str, Any]]:
    """Rows by column name."""
    return [dict(zip(LOG_COLUMNS, row, strict=True)) for row in verdict.rows]


def span_row(sent: Span | None = None, **fields: Any) -> dict[str, Any]:
    """The row of one span sent as protobuf."""
    (row,) = spans_of(normalise_spans(PROTOBUF, traces(sent or span(**fields)).SerializeToString()))
    return row


def json_span_row(**members: Any) -> dict[str, Any]:
    """The row of one span sent as JSON."""
    (row,) = spans_of(normalise_spans(JSON, json_traces(json_span(**members))))
    return row


def log_row(**members: Any) -> dict[str, Any]:
    """The row of one log record sent as JSON, ten nanoseconds before it arrived."""
    record = {"timeUnixNano": str(RECEIVED_AT_NS - 10), "observedTimeUnixNano": str(RECEIVED_AT_NS - 5), **members}
    (row,) = logs_of(normalise_logs(JSON, json_logs(record)))
    return row
