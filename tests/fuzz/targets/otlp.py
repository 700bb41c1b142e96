"""OTLP bodies through the readers, the normalisers and the answers: JSON and protobuf, logs and traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final, Literal

import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from schemas.headers import Origin
from schemas.otlp import http_bodies as otlp
from schemas.otlp.http_bodies import Encoding
from tests.fuzz import exports
from tests.fuzz.target import Sample, Target
from workers.normalise.otlp.body import LOG_COLUMNS, SPAN_COLUMNS, normalise_logs, normalise_spans
from workers.normalise.verdict import Invalid, Verdict

Kind = Literal["logs", "traces"]

NORMALISE: Final[dict[Kind, Callable[[Origin, bytes], Verdict]]] = {"logs": normalise_logs, "traces": normalise_spans}
_COLUMNS: Final[dict[Kind, Sequence[str]]] = {"logs": LOG_COLUMNS, "traces": SPAN_COLUMNS}
_RESPONSES: Final[dict[Kind, type[Message]]] = {
    "logs": ExportLogsServiceResponse,
    "traces": ExportTraceServiceResponse,
}
_RECEIVED_AT_NS: Final = 1_763_700_000_000_000_000
_U64_END: Final = 1 << 64


def run(kind: Kind, encoding: Encoding, body: bytes) -> bool:
    """Rows that can be stored and an answer that can be read; or an Invalid whose Status can be read."""
    try:
        verdict = NORMALISE[kind](origin_of(encoding), body)
    except Invalid as error:
        _check_status(encoding, str(error))
        return False
    assert verdict.accepted == len(verdict.rows)
    for row in verdict.rows:
        check_row(dict(zip(_COLUMNS[kind], row, strict=True)))
    _check_answer(kind, encoding, verdict)
    return True


def check_row(row: dict[str, Any]) -> None:
    """Every value fits its column: text is UTF-8, numbers are within their types, the payload is JSON."""
    assert 0 <= row.pop("event_id") < 1 << 128
    for column in ("timestamp", "received_at"):
        assert 0 <= row[column] < 1 << 63, column
    for column in ("duration_ns", "original_timestamp_ns", "version"):
        assert 0 <= row.get(column, 0) < _U64_END, column
    for column in ("trace_flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        assert 0 <= row.get(column, 0) < 1 << 32, column
    assert all(-(1 << 63) <= value < 1 << 63 for value in row["attributes_int"].values())
    for column in ("attributes_string", "resource", "scope_attributes"):
        assert all(value.__class__ is str for pair in row[column].items() for value in pair), column
    orjson.loads(row["payload"])
    # Refuses text with lone surrogates, keys that are no text, integers beyond 64 bits.
    orjson.dumps(row, default=float)


def _check_answer(kind: Kind, encoding: Encoding, verdict: Verdict) -> None:
    rejected = len(verdict.rejections)
    message = "; ".join(dict.fromkeys([one.detail for one in verdict.rejections])) or verdict.warning
    answer = otlp.partial_success(kind, encoding, rejected, message)
    if encoding == "json":
        partial_success = orjson.loads(answer).get("partialSuccess", {})
        counted = sum(value for value in partial_success.values() if isinstance(value, int))
    else:
        found: Any = _RESPONSES[kind].FromString(answer)
        counted = found.partial_success.rejected_log_records if kind == "logs" else found.partial_success.rejected_spans
    assert counted == rejected


def _check_status(encoding: Encoding, message: str) -> None:
    assert message
    answer = otlp.status(encoding, 3, message, field="body")
    found = ParseDict(orjson.loads(answer), Status()) if encoding == "json" else Status.FromString(answer)
    assert (found.code, bool(found.message), len(found.details)) == (3, True, 1)
    assert BadRequest.FromString(found.details[0].value).field_violations[0].field == "body"


@cache
def origin_of(encoding: Encoding) -> Origin:
    return Origin(
        organisation="default",
        channel_id=7,
        key_id="k",
        environment="production",
        environment_from_event=False,
        received_at_ns=_RECEIVED_AT_NS,
        content_type=otlp.MEDIA_TYPES[encoding],
        origin_id="fuzz",
        origin_seq=5,
    )


def _target(kind: Kind, encoding: Encoding) -> Target:
    def corpus() -> Sequence[Sample]:
        return exports.samples(kind, encoding)

    return Target(f"otlp-{encoding}-{kind}", cache(corpus), partial(run, kind, encoding))


_ENCODINGS: Final[tuple[Encoding, ...]] = ("json", "protobuf")
_KINDS: Final[tuple[Kind, ...]] = ("logs", "traces")
TARGETS: Final = tuple(_target(kind, encoding) for encoding in _ENCODINGS for kind in _KINDS)
