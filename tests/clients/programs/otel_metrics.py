"""Exports metrics once, with what an SDK does by itself; prints what the exporter logged.

Arguments as in otel_start: the kind (proto), the receiver's address, the API key and the channel.
"""

from __future__ import annotations

import json
import logging

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from otel_start import URL, headers

lines: list[str] = []


class Kept(logging.Handler):
    """Keeps what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        lines.append(f"{record.levelname} {record.getMessage()}")


logging.getLogger("opentelemetry").addHandler(Kept())
reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{URL}/v1/metrics", headers=headers()))
provider = MeterProvider([reader])
provider.get_meter("till").create_counter("orders").add(3)
provider.shutdown()
print(json.dumps({"logged": lines}))
