"""Bodies to measure with, made by the real SDKs. Needs the packages of the extra `dev`."""

from __future__ import annotations

import gzip
from typing import Any

import sentry_sdk
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

_FRAMES = 30
SPANS = 512
_ATTRIBUTES = 10


class _Keep(Transport):
    """Keeps what the SDK would send."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


def error_envelope_gzip() -> bytes:
    """An error with 30 frames as sentry_sdk makes it, gzip."""
    keep = _Keep()
    client = sentry_sdk.Client(dsn="http://pt_0123456789abcdef@127.0.0.1/1", transport=keep, default_integrations=False)
    try:
        _fail(_FRAMES)
    except ValueError as error:
        event, hint = event_from_exception(error, client_options=client.options)
        client.capture_event(event, hint)
    return gzip.compress(keep.envelopes[0].serialize(), 6)


def spans_protobuf() -> bytes:
    """512 spans with 10 attributes each as the OpenTelemetry SDK encodes them."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")
    for number in range(SPANS):
        with tracer.start_as_current_span(f"span {number % 20}") as span:
            for index in range(_ATTRIBUTES):
                span.set_attribute(f"attribute.{index}", index * number if index % 3 else f"value {number}")
    return bytes(encode_spans(exporter.get_finished_spans()).SerializeToString())


def _fail(depth: int) -> None:
    if depth:
        _fail(depth - 1)
    else:
        raise ValueError("a value that nobody expected")
