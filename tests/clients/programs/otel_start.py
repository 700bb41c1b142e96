"""Real OTLP exporters: arguments are the kind (proto or json), the receiver's address, the API key and the channel."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry.exporter.otlp.common.http import Compression
from opentelemetry.exporter.otlp.json.http import trace_exporter as json_traces
from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter as JsonLogs
from opentelemetry.exporter.otlp.proto.http import _log_exporter as proto_logs
from opentelemetry.exporter.otlp.proto.http import trace_exporter as proto_traces
from opentelemetry.sdk.resources import Resource

KIND, URL, API_KEY, CHANNEL = sys.argv[1:5]
RESOURCE = Resource.create({"service.name": "till", "service.version": "1.2.3", "deployment.region": "north"})


def span_exporter(**options: Any) -> Any:
    """The exporter for traces of the kind asked for."""
    exporter = {"proto": proto_traces.OTLPSpanExporter, "json": json_traces.OTLPSpanExporter}[KIND]
    return exporter(endpoint=f"{URL}/v1/traces", headers=headers(), **options)


def log_exporter() -> Any:
    """The exporter for logs of the kind asked for; it sends gzip."""
    exporter = {"proto": proto_logs.OTLPLogExporter, "json": JsonLogs}[KIND]
    gzip: Any = Compression.GZIP if KIND == "json" else proto_logs.Compression.Gzip
    return exporter(endpoint=f"{URL}/v1/logs", headers=headers(), compression=gzip)


def headers() -> dict[str, str]:
    """Whose data it is."""
    return {"X-API-Key": API_KEY, "X-Axonpush-Channel": CHANNEL}
