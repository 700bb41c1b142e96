"""Measures how fast bytes become insertable rows on one core, beside a minimal baseline. No I/O."""

from __future__ import annotations

import gc
import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ops.bench.bodies import kinds
from ops.bench.bodies import otlp as otlp_bodies
from ops.bench.bodies import sentry as sentry_bodies
from ops.bench.figures import Figure, FigureTarget
from schemas import encodings
from schemas.headers import Origin
from workers import memory
from workers.normalise.otlp import body as otlp
from workers.normalise.sentry import event, transaction
from workers.unpack import envelope as envelope_split

LIMIT_BYTES: Final = 6_000_000
_SPANS: Final = FigureTarget(bar=1.2, aim=2.0)
_ERRORS: Final = FigureTarget(bar=0.5, aim=0.7)
_NOW_NS: Final = time.time_ns()


@dataclass(frozen=True, slots=True)
class Subject:
    """Our code and its baseline, with the same body; each call makes `rows` rows."""

    name: str
    unit: str
    rows: int
    ours: Callable[[], object]
    baseline: Callable[[], object]
    baseline_name: str
    target: FigureTarget | None = None


def measure(subject: Subject, seconds: float, turns: int) -> Figure:
    """Alternates ours and the baseline; rows per second of processor time, so that other programs do not count.

    Our code collects garbage as in a worker, the baseline with Python's defaults.
    """
    ours, baseline = [], []
    for _ in range(turns):
        with _as_in_a_worker():
            ours.append(_rate(subject.ours, seconds) * subject.rows)
        baseline.append(_rate(subject.baseline, seconds) * subject.rows)
    return Figure(subject.name, subject.unit, tuple(ours), tuple(baseline), subject.baseline_name, subject.target)


def subjects() -> Iterator[Subject]:
    """All subjects, built one after the other: bodies take time to make."""
    token = kinds.tokens(1, 1)[0]
    by_name = kinds.by_name()
    error = by_name["error"].make(token)
    yield Subject(
        f"normalise errors, gzip {len(error):,} bytes to rows",
        "errors/s a core",
        1,
        lambda: _error(error),
        lambda: _lines(gzip.decompress(error)),
        "gunzip and orjson of the envelope's lines",
        _ERRORS,
    )
    sent = by_name["transaction"].make(token)
    yield Subject(
        f"normalise transactions of {sentry_bodies.CHILD_SPANS} spans",
        "rows/s a core",
        by_name["transaction"].rows,
        lambda: _transaction(sent),
        lambda: _lines(sent),
        "orjson of the envelope's lines",
    )
    proto, text, logs = (by_name[name].make(token) for name in ("spans", "spans-json", "logs"))
    yield _spans("protobuf", proto, "application/x-protobuf", lambda: _walk_protobuf(proto))
    yield _spans("JSON", text, "application/json", lambda: _walk_json(text))
    yield Subject(
        f"normalise {otlp_bodies.LOGS} OTLP log records, protobuf",
        "records/s a core",
        otlp_bodies.LOGS,
        lambda: otlp.normalise_logs(_origin("application/x-protobuf"), logs),
        lambda: _walk_logs(logs),
        "parse (upb) and a plain walk",
    )


def _spans(name: str, body: bytes, media_type: str, baseline: Callable[[], object]) -> Subject:
    return Subject(
        f"normalise {otlp_bodies.SPANS} OTLP spans, {name}",
        "spans/s a core",
        otlp_bodies.SPANS,
        lambda: otlp.normalise_spans(_origin(media_type), body),
        baseline,
        "parse (upb) and a plain walk" if name == "protobuf" else "orjson.loads and a plain walk",
        _SPANS,
    )


# --- ours: the functions the workers call


def _error(body: bytes) -> object:
    return event.normalise(_origin(""), _first_item(encodings.inflate(body, "gzip", LIMIT_BYTES)))


def _transaction(body: bytes) -> object:
    return transaction.normalise(_origin(""), _first_item(body))


def _first_item(body: bytes) -> bytes:
    """As unpack passes it on."""
    return envelope_split.read(body, _origin(""), LIMIT_BYTES).items[0][2]


# --- baselines: the least code that could work


def _lines(body: bytes) -> list[Any]:
    return [orjson.loads(line) for line in body.split(b"\n") if line]


def _walk_protobuf(body: bytes) -> list[tuple[object, ...]]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        (
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.name,
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code,
            {pair.key: _any_value(pair.value) for pair in span.attributes},
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _walk_json(body: bytes) -> list[tuple[object, ...]]:
    request = orjson.loads(body)
    return [
        (
            span["traceId"],
            span["spanId"],
            span.get("parentSpanId"),
            span["name"],
            span.get("kind"),
            int(span["startTimeUnixNano"]),
            int(span["endTimeUnixNano"]),
            span.get("status", {}).get("code"),
            {pair["key"]: next(iter(pair["value"].values()), None) for pair in span.get("attributes", ())},
        )
        for resource in request["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _walk_logs(body: bytes) -> list[tuple[object, ...]]:
    request = ExportLogsServiceRequest.FromString(body)
    return [
        (
            record.time_unix_nano,
            record.severity_number,
            record.severity_text,
            _any_value(record.body),
            {pair.key: _any_value(pair.value) for pair in record.attributes},
        )
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def _any_value(value: Any) -> object:
    return getattr(value, value.WhichOneof("value") or "string_value")


@contextmanager
def _as_in_a_worker() -> Iterator[None]:
    plain = gc.get_threshold()
    gc.set_threshold(*memory.THRESHOLDS)
    yield
    gc.set_threshold(*plain)


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second of processor time, over at least `seconds` of it."""
    call()
    began_s = time.process_time()
    calls = 0
    while (spent_s := time.process_time() - began_s) < seconds:
        call()
        calls += 1
    return calls / spent_s


@cache  # parsing headers is not measured
def _origin(content_type: str) -> Origin:
    return Origin("default", 1, "bench", "production", False, _NOW_NS, content_type, origin_id="bench", origin_seq=1)
