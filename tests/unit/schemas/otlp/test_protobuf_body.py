"""OTLP protobuf: broken records, odd but valid wire formats, bodies of the wrong kind."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from schemas.otlp.http_bodies import OtlpError, read_logs, read_traces
from schemas.otlp.protobuf_wire import length_field, varint_bytes
from tests.unit.otlp_encoding import (
    any_value,
    json_span,
    json_traces,
    logs,
    put,
    span,
    traces,
)


def test_one_broken_span_costs_one_span() -> None:
    """Google's decoder would refuse the body."""
    broken = span().SerializeToString() + b"\x4a\x7f"
    scope = length_field(2, broken) + length_field(2, span().SerializeToString())
    body = length_field(1, length_field(2, scope))
    with pytest.raises(DecodeError):
        ExportTraceServiceRequest.FromString(body)
    bad, good = read_traces(body, "protobuf").records()
    assert bad.reason == "malformed_record"
    assert good.name == "GET /"


def test_a_malformed_protobuf_resource_costs_the_records_under_it() -> None:
    """As in JSON."""
    bad = length_field(1, b"\x0a\x7f") + length_field(2, length_field(2, span().SerializeToString()))
    body = length_field(1, bad) + traces(span()).SerializeToString()
    refused, good = read_traces(body, "protobuf").records()
    assert refused.reason == "malformed_resource"
    assert good.name == "GET /"


def test_a_truncated_body_is_an_otlp_error() -> None:
    """Its last resource cannot be told."""
    with pytest.raises(OtlpError, match="runs past the end"):
        read_traces(traces(span()).SerializeToString()[:-3], "protobuf")


def test_json_sent_as_protobuf_is_named() -> None:
    """A wrong Content-Type, not a broken exporter."""
    with pytest.raises(OtlpError, match="Content-Type: application/json"):
        read_traces(json_traces(json_span()), "protobuf")


def test_unknown_fields_and_groups_are_skipped() -> None:
    """On every level, nested groups too."""
    group = (
        varint_bytes(99 << 3 | 3)
        + varint_bytes(5 << 3 | 3)
        + b"\x08\x01"
        + varint_bytes(5 << 3 | 4)
        + varint_bytes(99 << 3 | 4)
    )
    odd = group + length_field(77, b"x") + varint_bytes(78 << 3 | 5) + b"1234" + varint_bytes(79 << 3 | 1) + b"12345678"
    sent = span()
    put(sent.attributes, {"k": "v"})
    record = (
        sent.SerializeToString()
        + odd
        + length_field(9, KeyValue(key="l", value=any_value(1)).SerializeToString() + odd)
    )
    body = odd + length_field(1, odd + length_field(2, odd + length_field(2, record))) + odd
    (found,) = read_traces(body, "protobuf").records()
    assert found.attributes == {"k": "v", "l": 1}
    assert found.name == "GET /"


@pytest.mark.parametrize("body", [b"\x12\x00", b"\x08\x01", length_field(2, b"x")])
def test_a_body_without_a_resource_is_refused(body: bytes) -> None:
    """As JSON without resourceSpans is: unknown fields alone are not an export that holds nothing."""
    with pytest.raises(OtlpError, match="without a single resource"):
        read_traces(body, "protobuf")


@pytest.mark.parametrize("block", [length_field(4, b"x"), length_field(2, length_field(5, b"x"))])
def test_unknown_fields_in_place_of_records_are_said(block: bytes) -> None:
    """A later version of OTLP may have them: no error, but not silence either."""
    found = read_traces(length_field(1, block), "protobuf")
    assert found.records() == []
    assert [warning for warning in found.warnings if "ignored" in warning]


def test_messages_sent_in_parts_are_merged() -> None:
    """Protobuf's rule for a message field that occurs twice; for a oneof the last member counts."""
    parts = length_field(15, b"\x18\x02") + length_field(15, length_field(2, b"late"))
    array = AnyValue(array_value={"values": [any_value(1)]}).SerializeToString() * 2
    value = length_field(9, length_field(1, b"k") + length_field(2, b"\x18\x01") + length_field(2, array))
    body = length_field(1, length_field(2, length_field(2, span().SerializeToString() + parts + value)))
    (found,) = read_traces(body, "protobuf").records()
    assert (found.status_code, found.status_message) == (2, "late")
    assert found.attributes == {"k": [1, 1]}


def test_logs_on_the_traces_path_are_named_in_protobuf() -> None:
    """Both requests share their field numbers: logs decode as spans without ids, or not at all."""
    sent = LogRecord(time_unix_nano=1_763_700_000_000_000_000, severity_number=9)
    request = read_traces(logs(sent).SerializeToString(), "protobuf")
    assert "send it to /v1/logs" in request.warnings[0]
    sent.body.string_value = "x" * 20
    sent.trace_id = bytes(range(16))
    put(sent.attributes, {"a": "b"})
    body = logs(sent).SerializeToString()
    try:
        assert "send it to /v1/logs" in read_traces(body, "protobuf").warnings[0]
    except OtlpError as error:
        assert "send it to /v1/logs" in str(error)  # noqa: PT017 - either way the sentence is there


def test_spans_on_the_logs_path_are_an_otlp_error() -> None:
    """No log is refused for what it lacks, so these would be stored as empty rows."""
    with pytest.raises(OtlpError, match="send it to /v1/traces"):
        read_logs(traces(span(name="")).SerializeToString(), "protobuf")


def test_a_flood_of_tiny_records_is_refused() -> None:
    """Two bytes on the wire are a thousand in Python."""
    body = length_field(1, length_field(2, b"\x12\x00" * 200_001))
    with pytest.raises(OtlpError, match="smaller batches"):
        read_logs(body, "protobuf")
    with pytest.raises(OtlpError, match="smaller batches"):
        read_logs(b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}' + b",{}" * 200_000 + b"]}]}]}", "json")
