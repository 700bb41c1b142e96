"""Stack traces in OTLP bodies are replaced, and nothing else: as many rows and refusals as without."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Final

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from schemas.otlp.http_bodies import Encoding
from tests.fuzz.target import Sample, Target
from tests.fuzz.targets.otlp import NORMALISE, Kind, origin_of
from tests.unit.otlp_encoding import RECEIVED_AT_NS, any_value, as_json, logs, put, span, traces
from workers.normalise.verdict import Invalid
from workers.symbolicate.otlp_bodies import NewTrace, Service, replace_stacktraces
from workers.symbolicate.stack_texts import StackText

_TRACE: Final = "TypeError: x\n    at e (https://shop.example/app.js:1:29)\ni@https://shop.example/app.js:1:2\n"
_NEW: Final = NewTrace("at addToBasket (src/shop.js:3:5)", "some", ("source_map_missing",))


def run(kind: Kind, encoding: Encoding, body: bytes) -> bool:
    """True if a stack trace was replaced."""
    is_logs = kind == "logs"
    assert replace_stacktraces(body, encoding, is_logs, lambda *_: None) is body
    changed = replace_stacktraces(body, encoding, is_logs, _new_trace)
    if changed is body:
        return False
    assert _counts(kind, encoding, changed) == _counts(kind, encoding, body)
    return True


def _new_trace(service: Service, text: str) -> NewTrace:
    stack = StackText(text)
    event = stack.traces(service.version)
    assert not event.traces or stack.with_frames(event) == text
    return _NEW


def _counts(kind: Kind, encoding: Encoding, body: bytes) -> tuple[int, int] | None:
    try:
        verdict = NORMALISE[kind](origin_of(encoding), body)
    except Invalid:
        return None
    return verdict.accepted, len(verdict.rejections)


def _samples(kind: Kind, encoding: Encoding) -> Sequence[Sample]:
    error = {"exception.type": "TypeError", "exception.stacktrace": _TRACE, "count": 7}
    resource = {"service.name": "shop", "service.version": "1.0"}
    if kind == "logs":
        record = LogRecord(time_unix_nano=RECEIVED_AT_NS, body=any_value("failed"))
        put(record.attributes, error)
        request = logs(record, resource=resource)
    else:
        failed = span()
        put(failed.attributes, error)
        put(failed.events.add(name="exception").attributes, error)
        request = traces(failed, span(), resource=resource)
    own = as_json(request) if encoding == "json" else request.SerializeToString()
    return [Sample(own, encoding)]


def _target(kind: Kind, encoding: Encoding) -> Target:
    return Target(
        f"stacktraces-{encoding}-{kind}", cache(partial(_samples, kind, encoding)), partial(run, kind, encoding)
    )


_ENCODINGS: Final[tuple[Encoding, ...]] = ("json", "protobuf")
_KINDS: Final[tuple[Kind, ...]] = ("logs", "traces")
TARGETS: Final = tuple(_target(kind, encoding) for encoding in _ENCODINGS for kind in _KINDS)
