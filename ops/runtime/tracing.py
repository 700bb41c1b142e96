"""Traces of this system itself, with OpenTelemetry: sampling, context propagation, export.

Each process defines its own spans. Imported only if AXONPUSH_TRACING_URL is set; otherwise tracing costs nothing.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import unquote

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes
from prometheus_client import Counter

from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings
from schemas import headers

log = structlog.get_logger()

# This header (in lower case) marks requests that carry our own spans. They are not traced: each trace would cause
# another.
OWN_SPANS: Final = "x-axonpush-own-spans"
# Spans waiting for export. More are dropped and counted.
QUEUE_SPANS: Final = 4096
EXPORT_SPANS: Final = 512
EXPORT_EVERY_MS: Final = 2000
EXPORT_TIMEOUT_S: Final = 5.0
# A stopping process exports its remaining spans for at most this long.
CLOSE_S: Final = 2.0
MAX_LINKS: Final = 128
TRACES_PATH: Final = "/v1/traces"

SPANS: Final = Counter("axonpush_tracing_spans", "own spans by result: exported, lost, dropped", ["result"])

_W3C: Final = TraceContextTextMapPropagator()


class Tracing:
    """What a process needs to trace. `chance` gives a number from 0 to 1 per request; below the ratio, it is traced.

    A sender's trace flags are ignored: senders must not decide how much we trace.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        *,
        exporter: SpanExporter | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._chance = chance
        self._ratio = settings.tracing_sample_ratio
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # sampling was decided before
            resource=Resource.create(_resource(service)),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attributes=32, max_links=MAX_LINKS),
        )
        self._provider.add_span_processor(_Queue(exporter or _exporter(settings)))
        self._tracer = self._provider.get_tracer("axonpush-ingest")
        # It logs every failed attempt; _Queue logs only the start and the end of an outage.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        log.info("tracing", url=without_secrets(settings.tracing_url), sample_ratio=self._ratio, service=service)

    def wants(self, sent: Mapping[str, str]) -> bool:
        """Whether to trace a request with these headers (names in lower case)."""
        return self._chance() < self._ratio and OWN_SPANS not in sent

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        *,
        parent: SpanContext | None = None,
        links: Sequence[SpanContext] = (),
    ) -> Iterator[Span]:
        """A span below `parent`, or below the current span. Records only the type of an exception: its text may quote
        sender data.
        """
        within = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent else None
        linked = [Link(context) for context in links[:MAX_LINKS]]
        span = self._tracer.start_span(name, within, kind, attributes, linked)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield span
        except BaseException as error:
            failed(span, type(error).__name__)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Exports the remaining spans for at most CLOSE_S. Blocks, so call it last."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(CLOSE_S)


def is_traced() -> bool:
    """Whether the current request is traced."""
    return trace.get_current_span().get_span_context().is_valid


def failed(span: Span, why: str) -> None:
    """Marks a span as failed; `why` is one of a few fixed words, never sender data."""
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", why)


def write(span: Span, carrier: dict[str, str]) -> None:
    """Writes the span's context into message headers (W3C `traceparent`)."""
    context = span.get_span_context()
    if context.is_valid:
        carrier[headers.TRACE_PARENT] = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def read(text: str | None) -> SpanContext | None:
    """The context from `traceparent`; None if it is missing or malformed."""
    if not text:
        return None
    context = trace.get_current_span(_W3C.extract({"traceparent": text})).get_span_context()
    return context if context.is_valid else None


def endpoint(url: str) -> str:
    """The address for spans; adds the default path, as for OTEL_EXPORTER_OTLP_ENDPOINT, if there is none."""
    url = url.rstrip("/")
    return url if url.endswith(TRACES_PATH) else url + TRACES_PATH


def _exporter(settings: Settings) -> SpanExporter:
    pairs = (pair.partition("=") for pair in settings.tracing_headers.get_secret_value().split(","))
    own = {name.strip(): unquote(value.strip()) for name, _, value in pairs if name.strip()}
    return OTLPSpanExporter(
        endpoint(settings.tracing_url),
        headers={**own, OWN_SPANS: "1"},
        timeout=EXPORT_TIMEOUT_S,
        compression=Compression.Gzip,
    )


def _resource(service: str) -> dict[str, str]:
    try:
        release = version("axonpush-ingest")
    except PackageNotFoundError:
        release = "unknown"
    instance = f"{socket.gethostname()}-{os.getpid()}"
    return {"service.name": service, "service.version": release, "service.instance.id": instance}


class _Queue(BatchSpanProcessor):
    """The SDK's queue and export thread, with a counter of dropped spans. Adding a span never blocks."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._room = threading.Semaphore(QUEUE_SPANS)
        super().__init__(
            _Counted(exporter, self._room),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=EXPORT_SPANS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        if self._room.acquire(blocking=False):
            super().on_end(span)
        else:
            SPANS.labels("dropped").inc()


class _Counted(SpanExporter):
    """An exporter that counts results, and logs when an outage starts and ends. Runs in a thread."""

    def __init__(self, exporter: SpanExporter, room: threading.Semaphore) -> None:
        self._exporter = exporter
        self._room = room
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._room.release(len(spans))
        try:
            result = self._exporter.export(spans)
        except Exception:
            log.exception("tracing_export_error")
            result = SpanExportResult.FAILURE
        is_away = result is not SpanExportResult.SUCCESS
        SPANS.labels("lost" if is_away else "exported").inc(len(spans))
        if is_away != self._is_away:
            self._is_away = is_away
            (log.warning if is_away else log.info)("tracing_lost" if is_away else "tracing_resumed")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
