"""Exports a server span and a child that failed, with attributes, an event and a link."""

from __future__ import annotations

import json

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode
from otel_start import RESOURCE, span_exporter

provider = TracerProvider(resource=RESOURCE)
provider.add_span_processor(BatchSpanProcessor(span_exporter()))
tracer = provider.get_tracer("till.http", "0.9")
elsewhere = SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=True)

root = tracer.start_span("GET /cart", kind=SpanKind.SERVER, links=[Link(elsewhere)])
root.set_attributes({"http.request.method": "GET", "http.response.status_code": 200, "cached": False, "ratio": 0.25})
child = tracer.start_span("SELECT cart", context=trace.set_span_in_context(root), kind=SpanKind.CLIENT)
child.record_exception(ValueError("table is locked"))
child.set_status(StatusCode.ERROR, "locked")
child.end()
root.end()
provider.shutdown()

print(
    json.dumps(
        {
            "trace_id": f"{root.get_span_context().trace_id:032x}",
            "root": f"{root.get_span_context().span_id:016x}",
            "child": f"{child.get_span_context().span_id:016x}",
            "root_ns": root.end_time - root.start_time,
            "root_start_ns": root.start_time,
        }
    )
)
