"""Sends spans and logs, ten of each in a round, until its input is closed. Argument: the address of an OTLP receiver.

After each round it prints how many it has handed over so far; every span has its own id, every log its own number.
"""

from __future__ import annotations

import json
import select
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

ADDRESS = sys.argv[1]
RESOURCE = Resource.create({"service.name": "steady"})
IN_A_ROUND = 10
PAUSE_S = 0.05


def closed() -> bool:
    """Whether nobody wants more, asked for PAUSE_S."""
    readable, _, _ = select.select([sys.stdin], [], [], PAUSE_S)
    return bool(readable) and not sys.stdin.readline()


def main() -> None:
    traces, logs = TracerProvider(resource=RESOURCE), LoggerProvider(resource=RESOURCE)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{ADDRESS}/v1/traces")))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{ADDRESS}/v1/logs")))
    tracer, logger = traces.get_tracer("steady"), logs.get_logger("steady")
    sent = 0
    while not closed():
        for number in range(sent, sent + IN_A_ROUND):
            tracer.start_span("tick", attributes={"number": number}).end()
            logger.emit(LogRecord(severity_number=SeverityNumber.INFO, body="tick", attributes={"number": number}))
        sent += IN_A_ROUND
        assert traces.force_flush(), "the collector did not take the spans"
        assert logs.force_flush(), "the collector did not take the logs"
        print(json.dumps({"sent": sent}), flush=True)
    traces.shutdown()
    logs.shutdown()


main()
