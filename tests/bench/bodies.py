"""Bodies to measure with: sizes of real traffic (a 29 KB error, 100 logs, 512 OTLP spans), every id its own."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

NOW_S = 1_700_000_000.0
NOW_NS = 1_700_000_000_000_000_000
_numbers = count(1)

LINE = "        total = sum(item.price * item.count for item in cart if item.available)"


def envelope(item_type: str, payload: dict[str, Any], event_id: str | None = None) -> bytes:
    """A one-item envelope, as unpack hands it to a worker."""
    body = orjson.dumps(payload)
    header = {"event_id": event_id} if event_id else {}
    return b"\n".join((orjson.dumps(header), orjson.dumps({"type": item_type, "length": len(body)}), body))


def hex_id(digits: int) -> str:
    """A fresh id."""
    return f"{next(_numbers):0{digits}x}"


def error() -> bytes:
    """One exception with 30 frames of context lines and 20 breadcrumbs: about 29 KB."""
    context = [LINE] * 5
    frames = [
        {"filename": f"shop/step_{n}.py", "function": f"step_{n}", "lineno": n, "module": "shop", "in_app": True}
        | {"pre_context": context, "context_line": LINE, "post_context": context}
        for n in range(1, 31)
    ]
    crumbs = [{"timestamp": NOW_S, "category": "cart", "message": f"added {n}", "type": "default"} for n in range(20)]
    raised = {"type": "PaymentRefused", "value": "no payment", "stacktrace": {"frames": frames}}
    event_id = UUID(int=next(_numbers)).hex
    payload = {"event_id": event_id, "timestamp": NOW_S, "platform": "python", "level": "error", "release": "shop@1"}
    payload |= {"exception": {"values": [raised]}, "breadcrumbs": {"values": crumbs}, "tags": {"till": "7"}}
    payload |= {"contexts": {"trace": {"trace_id": hex_id(32), "span_id": hex_id(16)}}, "user": {"id": "42"}}
    return envelope("event", payload, event_id)


def transaction(spans: int = 20) -> bytes:
    """A transaction with child spans."""
    trace_id, root, times = hex_id(32), hex_id(16), {"start_timestamp": NOW_S - 1, "timestamp": NOW_S}
    children = [
        {"trace_id": trace_id, "span_id": hex_id(16), "parent_span_id": root, "op": "db.query", **times}
        | {"description": f"SELECT {n}", "data": {"db.system": "sqlite", "rows": n}}
        for n in range(spans)
    ]
    trace = {"trace_id": trace_id, "span_id": root, "op": "http.server", "status": "ok"}
    payload = {"transaction": "GET /cart", "contexts": {"trace": trace}, "spans": children, **times}
    return envelope("transaction", payload, UUID(int=next(_numbers)).hex)


def logs(size: int = 100) -> bytes:
    """A container of logs with six attributes each."""
    attributes = {f"key.{n}": {"value": f"value {n}", "type": "string"} for n in range(6)}
    items = [
        {"timestamp": NOW_S, "trace_id": hex_id(32), "level": "info", "body": f"log {n}", "attributes": attributes}
        for n in range(size)
    ]
    return envelope("log", {"items": items})


def otlp_spans(size: int = 512) -> ExportTraceServiceRequest:
    """Spans with ten attributes each."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _attributes(resource.resource, 3)
    scope = resource.scope_spans.add()
    for number in range(size):
        span = scope.spans.add(name=f"span {number}", start_time_unix_nano=NOW_NS, end_time_unix_nano=NOW_NS + 5)
        span.trace_id, span.span_id = bytes.fromhex(hex_id(32)), bytes.fromhex(hex_id(16))
        _attributes(span, 10)
    return request


def otlp_logs(size: int = 512) -> ExportLogsServiceRequest:
    """Log records with six attributes each."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for number in range(size):
        record = scope.log_records.add(time_unix_nano=NOW_NS, severity_number=9, severity_text="INFO")
        record.body.string_value = f"log {number}"
        _attributes(record, 6)
    return request


def _attributes(message: Any, count_: int) -> None:
    for number in range(count_):
        message.attributes.add(key=f"key.{number}").value.string_value = f"value {number}"
