"""Exports two log records, one within a span."""

from __future__ import annotations

import json

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from otel_start import RESOURCE, log_exporter

TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SPAN_ID = 0x00F067AA0BA902B7
SECOND_NS = 1_000_000_000

provider = LoggerProvider(resource=RESOURCE)
provider.add_log_record_processor(BatchLogRecordProcessor(log_exporter()))
logger = provider.get_logger("till.stock", "0.9")
inside = trace.set_span_in_context(NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, False, TraceFlags(1))))
logger.emit(
    LogRecord(
        context=inside,
        severity_number=SeverityNumber.WARN,
        severity_text="WARNING",
        body="stock is low",
        attributes={"sku": "A-1", "left": 3},
    )
)
logger.emit(LogRecord(severity_number=SeverityNumber.INFO, body={"text": "structured"}, event_name="stock.counted"))
provider.shutdown()
print(json.dumps({"trace_id": f"{TRACE_ID:032x}", "span_id": f"{SPAN_ID:016x}"}))
