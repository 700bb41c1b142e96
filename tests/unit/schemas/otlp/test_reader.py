"""The OTLP reader: equal records from both encodings, and no bytes that bring it down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.otlp.http_bodies import OtlpError, read_logs, read_traces
from schemas.otlp.protobuf_wire import length_field
from schemas.otlp.records import HARD_DEPTH, MAX_DEPTH, Malformed
from tests.unit.otlp_encoding import (
    any_value,
    as_json,
    json_span,
    json_traces,
    logs,
    neighbour,
    put,
    read_span,
    span,
    traces,
)

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_key = st.sampled_from(["a", "http.method", "ключ", ""]) | _text
_i64 = st.integers(-(2**63), 2**63 - 1)
_u64 = st.integers(0, 2**64 - 1)
_u32 = st.integers(0, 2**32 - 1)
_enum = st.integers(-3, 30)
_scalar = (
    st.none()
    | st.booleans()
    | _i64
    | st.floats()
    | _text
    | st.text("é", min_size=120, max_size=140)
    | st.binary(max_size=9)
)
_value = st.recursive(
    _scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_key, inner, max_size=3), max_leaves=8
)
_attributes = st.dictionaries(_key, _value, max_size=5)
_trace_id = st.binary(max_size=1) | st.binary(min_size=16, max_size=16)
_span_id = st.binary(max_size=1) | st.binary(min_size=8, max_size=8)


@st.composite
def _spans(draw: Any) -> Span:
    found = span(
        trace_id=draw(_trace_id),
        span_id=draw(_span_id),
        parent_span_id=draw(_span_id),
        trace_state=draw(_text),
        flags=draw(_u32),
        name=draw(_text),
        kind=draw(_enum),
        start_time_unix_nano=draw(_u64),
        end_time_unix_nano=draw(_u64),
        dropped_attributes_count=draw(_u32),
    )
    put(found.attributes, draw(_attributes))
    for _ in range(draw(st.integers(0, 2))):
        put(found.events.add(name=draw(_text), time_unix_nano=draw(_u64)).attributes, draw(_attributes))
        link = found.links.add(trace_id=draw(_trace_id), span_id=draw(_span_id), flags=draw(_u32))
        put(link.attributes, draw(_attributes))
    if draw(st.booleans()):
        found.status.code = draw(_enum)
        found.status.message = draw(_text)
    return found


@st.composite
def _logs(draw: Any) -> LogRecord:
    found = LogRecord(
        time_unix_nano=draw(_u64),
        observed_time_unix_nano=draw(_u64),
        severity_number=draw(_enum),
        severity_text=draw(_text),
        event_name=draw(_text),
        flags=draw(_u32),
        trace_id=draw(_trace_id),
        span_id=draw(_span_id),
        dropped_attributes_count=draw(_u32),
    )
    found.body.CopyFrom(any_value(draw(_value)))
    put(found.attributes, draw(_attributes))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(_spans(), max_size=3), _attributes)
def test_spans_read_equal_from_json_and_protobuf(spans: list[Span], resource: dict[str, Any]) -> None:
    """The same ExportTraceServiceRequest gives the same records in either encoding."""
    request = traces(*spans, resource=resource)
    found = read_traces(request.SerializeToString(), "protobuf")
    assert repr(found.resources) == repr(read_traces(as_json(request), "json").resources)


@settings(max_examples=60, deadline=None)
@given(st.lists(_logs(), max_size=3), _attributes)
def test_logs_read_equal_from_json_and_protobuf(records: list[LogRecord], resource: dict[str, Any]) -> None:
    """The same ExportLogsServiceRequest gives the same records in either encoding."""
    request = logs(*records, resource=resource)
    found = read_logs(request.SerializeToString(), "protobuf")
    assert repr(found.resources) == repr(read_logs(as_json(request), "json").resources)


def _walked(request: ExportTraceServiceRequest) -> list[tuple[Any, ...]]:
    """What Google's decoder says of the spans, apart from attributes that are not scalars."""
    return [
        (
            *(
                found.trace_id.hex(),
                found.span_id.hex(),
                found.parent_span_id[:64].hex(),
                found.trace_state,
                found.flags,
            ),
            *(found.name, found.kind, found.start_time_unix_nano, found.end_time_unix_nano),
            *({pair.key for pair in found.attributes}, len(found.events), len(found.links)),
            *(found.status.code, found.status.message),
        )
        for block in request.resource_spans
        for scope in block.scope_spans
        for found in scope.spans
    ]


@settings(max_examples=120, deadline=None)
@given(st.lists(_spans(), min_size=1, max_size=2), st.data())
def test_mutated_protobuf_reads_as_google_reads_it(spans: list[Span], data: Any) -> None:
    """Whatever Google's decoder accepts, ours accepts with the same result; for the rest OtlpError at most."""
    body = bytearray(traces(*spans).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        theirs = ExportTraceServiceRequest.FromString(bytes(body))
    except DecodeError:
        theirs = None
    try:
        ours = read_traces(bytes(body), "protobuf").records()
    except OtlpError:
        assert theirs is None or not theirs.resource_spans
        return
    if theirs is None:
        return
    assert not [record for record in ours if isinstance(record, Malformed)]
    assert _walked(theirs) == [
        (*record[:9], set(record.attributes), len(record.events), len(record.links), *record[15:17]) for record in ours
    ]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["json", "protobuf"]))
def test_arbitrary_bytes_raise_otlp_error_only(body: bytes, encoding: Any) -> None:
    """No bytes bring the reader down."""
    for read in (read_traces, read_logs):
        try:
            read(body, encoding)
        except OtlpError as error:
            assert "expected" in str(error)  # noqa: PT017 - or no error at all


_names = st.sampled_from(
    [
        *("key", "value", "values", "stringValue", "intValue", "doubleValue", "boolValue", "bytesValue", "arrayValue"),
        *("kvlistValue", "traceId", "spanId", "trace_id", "attributes", "events", "links", "status", "code"),
        *("kind", "name", "startTimeUnixNano", "body", "severityNumber", "flags", "resource", "scope", "schemaUrl"),
        *("data"),
    ]
)
_json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text | _names, inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(_names, _json_value), st.dictionaries(_names, _json_value))
def test_any_json_in_a_record_costs_that_record_at_most(record: dict[str, Any], block: dict[str, Any]) -> None:
    """Wrong types anywhere give refused records, never an exception, and the neighbour is read."""
    body = json.dumps({"resourceSpans": [{**block, "scopeSpans": [{"spans": [record]}]}, neighbour()]})
    assert read_traces(body.encode(), "json").records()[-1].name == "GET /"
    body = json.dumps({"resourceLogs": [{**block, "scopeLogs": [{"logRecords": [record]}]}]})
    assert len(read_logs(body.encode(), "json").records()) == 1


def _nested(depth: int) -> tuple[bytes, Any]:
    """A value in lists and kvlists of this depth, in both encodings: deeper than Google's classes build it."""
    binary, text = length_field(1, b"core"), {"stringValue": "core"}
    for level in range(depth):
        if level % 2:
            binary, text = length_field(5, length_field(1, binary)), {"arrayValue": {"values": [text]}}
        else:
            pair = length_field(1, b"k") + length_field(2, binary)
            binary, text = (
                length_field(6, length_field(1, pair)),
                {"kvlistValue": {"values": [{"key": "k", "value": text}]}},
            )
    return binary, text


@pytest.mark.parametrize("depth", [5, MAX_DEPTH, MAX_DEPTH + 1, HARD_DEPTH, HARD_DEPTH + 5])
def test_deep_values_read_equal_from_both_encodings(depth: int) -> None:
    """Past the cap a value becomes text, the same text."""
    binary, text = _nested(depth)
    record = span().SerializeToString() + length_field(9, length_field(1, b"k") + length_field(2, binary))
    (found,) = read_traces(length_field(1, length_field(2, length_field(2, record))), "protobuf").records()
    assert read_span(attributes=[{"key": "k", "value": text}]) == found
    assert found.flaws == (("nesting_cut",) if depth > MAX_DEPTH else ())


def test_a_depth_bomb_costs_one_value() -> None:
    """In either encoding, at any depth, and the neighbour is read."""
    bomb = b""
    for _ in range(3_000):
        bomb = length_field(5, length_field(1, bomb))
    record = span().SerializeToString() + length_field(9, length_field(1, b"k") + length_field(2, bomb))
    scope = length_field(2, record) + length_field(2, span().SerializeToString())
    deep, good = read_traces(length_field(1, length_field(2, scope)), "protobuf").records()
    assert deep.flaws == ("nesting_cut",)
    assert good.flaws == ()
    text = b'{"arrayValue":{"values":[' * 50_000 + b"{}" + b"]}}" * 50_000
    body = json_traces(json_span(attributes=[{"key": "k", "value": "BOMB"}]), json_span()).replace(b'"BOMB"', text)
    assert read_traces(body, "json").records() == [deep, good]


@pytest.mark.parametrize("read", [read_traces, read_logs])
@pytest.mark.parametrize("body", [b"\xff\xff", b"not protobuf", b"\x0a\x05\x0a"])
def test_a_body_of_neither_kind_is_sent_nowhere_else(read: Any, body: bytes) -> None:
    """Only a body that is right at another address comes with the advice to send it there."""
    with pytest.raises(OtlpError) as refused:
        read(body, "protobuf")
    assert "send it to" not in str(refused.value)
