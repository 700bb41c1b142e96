"""How fast normalisers make rows, beside what decoding the same bytes costs alone (the floor). One core, no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict

from schemas.headers import Origin
from tests.bench import bodies
from workers.normalise import event, log, otlp, transaction

ROUNDS = 5
ROUND_S = 0.3
JSON = "application/json"
PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Subject:
    """A body, how it is normalised, how it is decoded, and how many rows it makes."""

    name: str
    normalise: Callable[[], Any]
    decode: Callable[[], Any]
    rows: int


@dataclass(frozen=True)
class Rate:
    """Medians of ROUNDS; `ratio` is the share of the decoder's speed that is left."""

    name: str
    rows_s: float
    ratio: float


def subjects() -> list[Subject]:
    """Everything that is measured."""
    spans, logs = bodies.otlp_spans(), bodies.otlp_logs()
    return [
        _sentry("error, 29 KB", event.normalise, bodies.error()),
        _sentry("transaction, 20 spans", transaction.normalise, bodies.transaction()),
        _sentry("log container, 100", log.normalise, bodies.logs()),
        _otlp("OTLP spans, 512, protobuf", otlp.normalise_spans, PROTOBUF, spans),
        _otlp("OTLP spans, 512, JSON", otlp.normalise_spans, JSON, spans),
        _otlp("OTLP logs, 512, protobuf", otlp.normalise_logs, PROTOBUF, logs),
        _otlp("OTLP logs, 512, JSON", otlp.normalise_logs, JSON, logs),
    ]


def measure(subject: Subject) -> Rate:
    """Normaliser and floor by turns, so that a busy neighbour hits both."""
    pairs = [(_per_second(subject.normalise), _per_second(subject.decode)) for _ in range(ROUNDS)]
    return Rate(
        subject.name,
        rows_s=median(ours for ours, _ in pairs) * subject.rows,
        ratio=median(ours / floor for ours, floor in pairs),
    )


def _sentry(name: str, normalise: Callable[[Origin, bytes], Any], body: bytes) -> Subject:
    origin = _origin("")
    rows = len(normalise(origin, body).rows)
    payload = body.split(b"\n", 2)[2]
    return Subject(name, lambda: normalise(origin, body), lambda: orjson.loads(payload), rows)


def _otlp(name: str, normalise: Callable[..., Any], content_type: str, request: Any) -> Subject:
    origin, kind = _origin(content_type), type(request)
    body = request.SerializeToString() if content_type == PROTOBUF else _json(request)
    decode = kind.FromString if content_type == PROTOBUF else orjson.loads
    verdict = normalise(origin, body)
    assert not verdict.rejections, verdict.rejections[0]
    return Subject(name, lambda: normalise(origin, body), lambda: decode(body), len(verdict.rows))


def _json(request: Any) -> bytes:
    """OTLP's JSON: protobuf's own mapping, but ids in hexadecimal."""
    document = MessageToDict(request)
    for resource in document.get("resourceSpans", ()):
        for scope in resource["scopeSpans"]:
            for number, span in enumerate(scope["spans"], start=1):
                span |= {"traceId": f"{number:032x}", "spanId": f"{number:016x}"}
    return orjson.dumps(document)


def _origin(content_type: str) -> Origin:
    return Origin(
        organisation="default",
        channel_id=1,
        key_id="bench",
        environment="production",
        environment_from_event=False,
        received_at_ns=bodies.NOW_NS,
        content_type=content_type,
        origin_id="bench",
        origin_seq=1,
    )


def _per_second(function: Callable[[], Any]) -> float:
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < ROUND_S:
        function()
        done += 1
    return done / passed
