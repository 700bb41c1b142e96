"""OTLP/HTTP for receiver and workers: media types, parsing of requests, bodies of responses and errors.

json_body and protobuf_body parse the encodings; equal data gives equal records (records.py).
"""

from __future__ import annotations

from typing import Final, Literal

import orjson

from schemas.otlp import json_body, protobuf_body
from schemas.otlp.protobuf_body import ReadRecords
from schemas.otlp.protobuf_wire import U64, length_field, varint_bytes
from schemas.otlp.records import (
    EMPTY_LOG,
    EMPTY_SPAN,
    LOGS,
    TRACES,
    ExportRequest,
    LogRecord,
    OtlpError,
    OtlpSpan,
    Record,
    Signal,
    TooMany,
)

__all__ = [
    "MEDIA_TYPES",
    "Encoding",
    "OtlpError",
    "media_type",
    "partial_success",
    "read_logs",
    "read_traces",
    "status",
    "success",
]

Encoding = Literal["json", "protobuf"]

# Content-Type of answers, without parameters: the collector compares it exactly, and would miss a partial success with
# a charset behind it.
MEDIA_TYPES: Final[dict[Encoding, str]] = {"json": "application/json", "protobuf": "application/x-protobuf"}
_ENCODINGS: Final[dict[str, Encoding]] = {
    "application/json": "json",
    "application/x-protobuf": "protobuf",
    "application/protobuf": "protobuf",
}
# A response must be below 4 MiB (OTLP/HTTP spec); one character may take six bytes in JSON.
MAX_MESSAGE_LENGTH: Final = 64 * 1024
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
# Records per scope to look at, to see whether a body is of the other kind.
_SAMPLE_RECORDS: Final = 100
_REJECTED: Final = {"logs": "rejectedLogRecords", "traces": "rejectedSpans"}
# Years 2000 and 2150 in nanoseconds: a time parsed from bytes of another kind is hardly ever in between.
_PLAUSIBLE_NS: Final = (946_684_800 * 10**9, 5_680_281_600 * 10**9)


def media_type(content_type: str) -> Encoding | None:
    """The encoding of a Content-Type, ignoring case and parameters; None: answer 415."""
    return _ENCODINGS.get(content_type.partition(";")[0].strip().lower())


def read_traces(body: bytes, encoding: Encoding, read_spans: ReadRecords | None = None) -> ExportRequest:
    """The spans of an ExportTraceServiceRequest. Raises OtlpError if the whole body cannot be decoded.

    `read_spans` parses the span messages of a scope, in place of the usual function.
    """
    return _read(body, encoding, TRACES, LOGS, read_spans)


def read_logs(body: bytes, encoding: Encoding, read_records: ReadRecords | None = None) -> ExportRequest:
    """The records of an ExportLogsServiceRequest. Raises OtlpError if the whole body cannot be decoded.

    `read_records` parses the LogRecord messages of a scope, in place of the usual function.
    """
    return _read(body, encoding, LOGS, TRACES, read_records)


def _read(
    body: bytes, encoding: Encoding, signal: Signal, other: Signal, read_records: ReadRecords | None = None
) -> ExportRequest:
    """Parses a request and checks its kind: in protobuf both have the same field numbers, so one may decode as the
    other.
    """
    if encoding == "json":
        return json_body.read(body, signal, read_records)
    advice = f"this looks like a {other.name} export: send it to {other.path}"
    try:
        request = protobuf_body.read(body, signal, read_records=read_records)
    except TooMany:
        raise
    except OtlpError as error:
        if _is_plausible(body, other):
            raise OtlpError(f"{error}; {advice}") from error
        raise
    if request.count() and not any(map(_makes_sense, request.each())) and _is_plausible(body, other):
        if signal is LOGS:
            raise OtlpError(f"expected an OTLP logs export request, found records without any log field; {advice}")
        request.warnings.append(advice)
    return request


def _is_plausible(body: bytes, signal: Signal) -> bool:
    try:
        return any(map(_makes_sense, protobuf_body.read(body, signal, _SAMPLE_RECORDS).each()))
    except OtlpError:
        return False


def _makes_sense(record: Record) -> bool:
    """Whether a record looks like one of its kind, and not like another message's bytes."""
    earliest, latest = _PLAUSIBLE_NS
    if record is EMPTY_SPAN or record is EMPTY_LOG:
        return False
    if isinstance(record, OtlpSpan):
        return len(record.trace_id) == 32 and len(record.span_id) == 16
    if isinstance(record, LogRecord):
        return earliest < record.time_ns < latest or earliest < record.observed_ns < latest or record.body is not None
    return False


def success(encoding: Encoding) -> bytes:
    """The body that says all records were accepted: an empty response message."""
    return b"{}" if encoding == "json" else b""


def partial_success(kind: Literal["logs", "traces"], encoding: Encoding, rejected: int, message: str) -> bytes:
    """The body that says how many records were rejected and why; with 0 rejected, `message` is a warning.

    OTLP/HTTP spec, Partial Success. The message is cut to stay below 4 MiB, the count is not.
    """
    text = _fit(message)
    if not rejected and not text:
        return success(encoding)
    if encoding == "json":
        return orjson.dumps({"partialSuccess": {_REJECTED[kind]: rejected, "errorMessage": text}})
    count = b"\x08" + varint_bytes(rejected) if rejected else b""
    return length_field(1, count + length_field(2, text.encode()))


def status(encoding: Encoding, code: int, message: str, retry_after_s: int | None = None, field: str = "") -> bytes:
    """A google.rpc.Status, the body of every error. `code` is a google.rpc.Code, 3 for INVALID_ARGUMENT.

    `retry_after_s` adds a google.rpc.RetryInfo, as in OTLP throttling; HTTP clients use Retry-After instead. `field`
    adds a google.rpc.BadRequest that names the invalid field (OTLP/HTTP, Bad Data).
    """
    text = _fit(message)
    details: list[tuple[str, dict[str, object], bytes]] = []
    if retry_after_s is not None:
        delay = length_field(1, b"\x08" + varint_bytes(retry_after_s))
        details.append((_RETRY_INFO, {"retryDelay": f"{retry_after_s}s"}, delay))
    if field:
        violation = length_field(1, length_field(1, field.encode()) + length_field(2, text.encode()))
        details.append((_BAD_REQUEST, {"fieldViolations": [{"field": field, "description": text}]}, violation))
    if encoding == "json":
        answer: dict[str, object] = {"code": code, "message": text}
        if details:
            answer["details"] = [{"@type": url, **members} for url, members, _ in details]
        return orjson.dumps(answer)
    packed = (length_field(1, url.encode()) + length_field(2, binary) for url, _, binary in details)
    plain = b"\x08" + varint_bytes(code & U64) + length_field(2, text.encode())
    return plain + b"".join(length_field(3, detail) for detail in packed)


def _fit(message: str) -> str:
    return message[:MAX_MESSAGE_LENGTH].encode("utf-8", "replace").decode()
