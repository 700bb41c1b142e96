"""Exports as the OpenTelemetry SDK makes them, for measurements, each in many variants."""

from __future__ import annotations

from functools import cache
from typing import Final

import orjson
from opentelemetry.exporter.otlp.json.common import trace_encoder as json_traces
from opentelemetry.exporter.otlp.proto.common import _log_encoder as proto_logs
from opentelemetry.exporter.otlp.proto.common import trace_encoder as proto_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ops.bench.bodies import words

SPANS: Final = 512
LOGS: Final = 512
ATTRIBUTES: Final = 10


@cache
def spans_protobuf(variant: int = 0) -> bytes:
    """SPANS spans with ATTRIBUTES attributes each, one trace."""
    spans = _spans(variant)
    body = bytes(proto_traces.encode_spans(spans).SerializeToString())
    return body.replace(_trace_id(spans), bytes.fromhex(words.ID.decode()))


@cache
def spans_json(variant: int = 0) -> bytes:
    """The same as OTLP/JSON."""
    spans = _spans(variant)
    return orjson.dumps(json_traces.encode_spans(spans).to_dict()).replace(_trace_id(spans).hex().encode(), words.ID)


@cache
def logs_protobuf(variant: int = 0) -> bytes:
    """LOGS records with six attributes each; the resource holds the id."""
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(resource=Resource({"service.name": "shop", "service.instance.id": words.ID.decode()}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("bench")
    for number in range(LOGS):
        attributes = {f"shop.key_{n}": words.text(variant * words.SEEDS + number * 6 + n, 1) for n in range(6)}
        logger.emit(body=words.text(variant * words.SEEDS + number, 8), severity_text="INFO", attributes=attributes)
    return bytes(proto_logs.encode_logs(exporter.get_finished_logs()).SerializeToString())


@cache
def _spans(variant: int) -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")
    with tracer.start_as_current_span("GET /cart"):
        for number in range(SPANS - 1):
            with tracer.start_as_current_span(f"step {number % 20}") as span:
                for n in range(ATTRIBUTES):
                    span.set_attribute(
                        f"shop.key_{n}", words.text(variant * words.SEEDS + number + n, 2) if n % 3 else number * n
                    )
    return tuple(exporter.get_finished_spans())


def _trace_id(spans: tuple[ReadableSpan, ...]) -> bytes:
    context = spans[0].get_span_context()
    assert context is not None
    return context.trace_id.to_bytes(16)
