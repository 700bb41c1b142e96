"""OTLP/HTTP answers: media types, partial success, Status."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from schemas.otlp.http_bodies import media_type, partial_success, status, success


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("application/json", "json"),
        ("APPLICATION/JSON; charset=utf-8", "json"),
        (" application/x-protobuf ", "protobuf"),
        ("application/protobuf", "protobuf"),
        ("application/jsonl", None),
        ("text/plain", None),
        ("", None),
    ],
)
def test_media_types_are_matched_bare(header: str, expected: str | None) -> None:
    """Case and parameters do not count."""
    assert media_type(header) == expected


def test_success_is_an_empty_message() -> None:
    """`{}` and zero bytes."""
    assert success("json") == b"{}"
    assert success("protobuf") == b""
    assert partial_success("logs", "json", 0, "") == b"{}"


def test_partial_success_says_how_many_and_why() -> None:
    """As a JSON number, and in protobuf that Google's classes read."""
    assert orjson.loads(partial_success("traces", "json", 3, "bad ids")) == {
        "partialSuccess": {"rejectedSpans": 3, "errorMessage": "bad ids"}
    }
    assert orjson.loads(partial_success("logs", "json", 0, "warn")) == {
        "partialSuccess": {"rejectedLogRecords": 0, "errorMessage": "warn"}
    }
    found = ExportTraceServiceResponse.FromString(partial_success("traces", "protobuf", 300, "naïve")).partial_success
    assert (found.rejected_spans, found.error_message) == (300, "naïve")
    logged = ExportLogsServiceResponse.FromString(partial_success("logs", "protobuf", 1, "x")).partial_success
    assert (logged.rejected_log_records, logged.error_message) == (1, "x")


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_an_answer_stays_below_four_mebibytes(encoding: Any) -> None:
    """The message is cut, the count is not; and no message is too odd to be sent."""
    answer = partial_success("traces", encoding, 12345, "\0\ud800" * 5_000_000)
    assert len(answer) < 4 * 1024 * 1024
    if encoding == "protobuf":
        assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 12345
    else:
        assert orjson.loads(answer)["partialSuccess"]["rejectedSpans"] == 12345


def test_status_is_a_google_rpc_status() -> None:
    """code and message, in the encoding of the request."""
    assert orjson.loads(status("json", 3, "no")) == {"code": 3, "message": "no"}
    assert status("protobuf", 3, "no") == b"\x08\x03\x12\x02no"
