"""OTLP bodies to rows: columns, codings, warnings; how a body was sent never shows in its rows."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from typing import Any

import orjson
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.headers import GENERATION_BITS, Origin
from schemas.otlp.records import NonFinite
from schemas.rows import row_id
from tests.unit.otlp_encoding import (
    JSON,
    PROTOBUF,
    RECEIVED_AT_NS,
    SPAN_ID,
    TRACE_ID,
    as_json,
    json_logs,
    json_span,
    json_traces,
    log_row,
    logs,
    logs_of,
    put,
    span,
    span_row,
    spans_of,
    traces,
)
from workers.normalise.otlp.body import normalise_logs, normalise_spans
from workers.normalise.verdict import Invalid


def test_a_span_fills_its_columns() -> None:
    """Every field of the spec has a place, and payload has them all."""
    sent = span(
        parent_span_id=bytes.fromhex(SPAN_ID)[::-1],
        trace_state="a=b",
        flags=257,
        kind=Span.SPAN_KIND_SERVER,
        dropped_attributes_count=1,
        dropped_events_count=2,
        dropped_links_count=3,
    )
    sent.status.code, sent.status.message = 2, "it broke"
    values = {
        "s": "text",
        "i": -5,
        "d": 2.5,
        "b": True,
        "none": None,
        "raw": b"\xff",
        "list": ["x", 1],
        "map": {"k": None},
    }
    put(sent.attributes, values)
    put(sent.events.add(name="retry", time_unix_nano=RECEIVED_AT_NS).attributes, {"n": 1})
    sent.links.add(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    request = traces(sent, resource={"service.name": "checkout", "replicas": 3, "zones": ["a"]})
    block = request.resource_spans[0]
    block.schema_url = "https://opentelemetry.io/schemas/1.30.0"
    block.scope_spans[0].scope.name, block.scope_spans[0].scope.version = "lib", "1.2"
    put(block.scope_spans[0].scope.attributes, {"short": True})
    (row,) = spans_of(normalise_spans(PROTOBUF, request.SerializeToString()))
    payload = orjson.loads(row.pop("payload"))
    assert row == {
        "organisation": "acme",
        "channel_id": 7,
        "key_id": "k1",
        "environment": "production",
        "version": 5 << GENERATION_BITS,
        "event_type": "app.span",
        "item_type": "otlp_span",
        "received_at": RECEIVED_AT_NS,
        "source_seq": 5,
        "event_id": row_id("otlp.span", 7, TRACE_ID, SPAN_ID),
        "timestamp": RECEIVED_AT_NS - 2 * 10**9,
        "original_timestamp_ns": 0,
        "source_ordinal": 0,
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_span_id": bytes.fromhex(SPAN_ID)[::-1].hex(),
        "trace_state": "a=b",
        "trace_flags": 1,
        "span_kind": "server",
        "status": "error",
        "status_message": "it broke",
        "duration_ns": 2 * 10**9,
        "name": "GET /",
        "attributes_string": {
            "s": "text",
            "none": "",
            "raw": '{"bytesValue":"/w=="}',
            "list": '["x",1]',
            "map": '{"k":null}',
        },
        "attributes_int": {"i": -5},
        "attributes_double": {"d": 2.5},
        "attributes_bool": {"b": True},
        "span_events": f'[{{"timeUnixNano":{RECEIVED_AT_NS},"name":"retry","attributes":{{"n":1}}}}]',
        "span_links": '[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000001"}]',
        "dropped_attributes_count": 1,
        "dropped_events_count": 2,
        "dropped_links_count": 3,
        "exception_type": "",
        "exception_message": "",
        "exception_stacktrace": "",
        "repairs": [],
        "resource": {"service.name": "checkout", "replicas": "3", "zones": '["a"]'},
        "service_name": "checkout",
        "scope_name": "lib",
        "scope_version": "1.2",
        "scope_attributes": {"short": "true"},
        "schema_url": "https://opentelemetry.io/schemas/1.30.0",
        "group_hash": "",
    }
    assert payload["attributes"] == {**values, "raw": {"bytesValue": "/w=="}}
    assert payload["status"] == {"code": 2, "message": "it broke"}
    assert payload["events"] == orjson.loads(row["span_events"])


def test_a_log_fills_its_columns() -> None:
    """Every field of the spec has a place."""
    sent = LogRecord(
        time_unix_nano=RECEIVED_AT_NS - 10,
        observed_time_unix_nano=RECEIVED_AT_NS - 5,
        severity_number=17,
        severity_text="Error",
        event_name="order.failed",
        flags=257,
        trace_id=bytes.fromhex(TRACE_ID),
        span_id=bytes.fromhex(SPAN_ID),
        dropped_attributes_count=4,
    )
    sent.body.string_value = "no stock"
    put(sent.attributes, {"exception.type": "ValueError", "n": 1})
    (row,) = logs_of(normalise_logs(PROTOBUF, logs(sent).SerializeToString()))
    assert orjson.loads(row.pop("payload"))["body"] == "no stock"
    expected = {
        "event_type": "app.log",
        "item_type": "otlp_log",
        "event_id": row_id("otlp.log", 7, "origin-1", 0),
        "timestamp": RECEIVED_AT_NS - 10,
        "observed_at": RECEIVED_AT_NS - 5,
        "original_timestamp_ns": 0,
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "trace_flags": 1,
        "severity_number": 17,
        "severity_text": "Error",
        "name": "order.failed",
        "body": "no stock",
        "attributes_string": {"exception.type": "ValueError"},
        "attributes_int": {"n": 1},
        "dropped_attributes_count": 4,
        "repairs": [],
        "service_name": "checkout",
    }
    assert {column: row[column] for column in expected} == expected


def test_a_service_without_a_name_is_unknown_service() -> None:
    """The default that the semantic conventions name; other resources of the body do not matter."""
    request = traces(span(), resource={})
    request.MergeFrom(traces(span(span_id=b"\1" * 8), resource={"service.name": "b"}))
    rows = spans_of(normalise_spans(PROTOBUF, request.SerializeToString()))
    assert [row["service_name"] for row in rows] == ["unknown_service", "b"]


def test_the_exception_event_fills_the_exception_columns() -> None:
    """What it leaves out is taken from the span's attributes; without an event they are all there is."""
    sent = span()
    put(sent.attributes, {"exception.type": "FromAttribute", "exception.stacktrace": "trace"})
    without = span_row(sent)
    put(sent.events.add(name="exception").attributes, {"exception.type": "ValueError", "exception.message": "no"})
    row = span_row(sent)
    assert [without[f"exception_{part}"] for part in ("type", "message", "stacktrace")] == [
        "FromAttribute",
        "",
        "trace",
    ]
    assert [row[f"exception_{part}"] for part in ("type", "message", "stacktrace")] == ["ValueError", "no", "trace"]


def test_non_finite_doubles_stay_doubles() -> None:
    """In the typed map, and in payload as OTLP/JSON writes them."""
    sent = span()
    put(sent.attributes, {"nan": float("nan"), "inf": float("-inf")})
    row = span_row(sent)
    assert repr(row["attributes_double"]) == "{'nan': nan, 'inf': -inf}"
    assert orjson.loads(row["payload"])["attributes"] == {"nan": "NaN", "inf": "-Infinity"}
    assert all(isinstance(value, NonFinite) for value in row["attributes_double"].values())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"stringValue": "plain"}, "plain"),
        ({"intValue": "5"}, "5"),
        ({"boolValue": True}, "true"),
        ({"doubleValue": "NaN"}, "NaN"),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}]}}, '{"a":1}'),
        ({"arrayValue": {"values": [{"stringValue": "x"}]}}, '["x"]'),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_log_body_is_text(body: Any, expected: str) -> None:
    """Strings as they are, everything else as compact JSON."""
    assert log_row(body=body)["body"] == expected


def test_the_coding_of_a_body_never_shows_in_its_rows() -> None:
    """gzip, deflate, zstd, none: the same rows, from JSON as from protobuf."""
    from backports import zstd

    request = traces(span(), span(span_id=b"\2" * 8))
    codings = {"": bytes, "identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
    expected = normalise_spans(PROTOBUF, request.SerializeToString())
    for coding, compress in codings.items():
        binary, text = compress(request.SerializeToString()), compress(as_json(request))
        assert normalise_spans(replace(PROTOBUF, content_encoding=coding), binary) == expected
        assert normalise_spans(replace(JSON, content_encoding=coding), text) == expected


@pytest.mark.parametrize(
    ("origin", "body"),
    [
        (JSON, b"{}"),
        (JSON, b""),
        (PROTOBUF, b"\xff"),
        (replace(JSON, content_encoding="gzip"), b"no gzip"),
        (replace(JSON, content_encoding="sdch"), b"x"),
        (replace(JSON, content_type="text/plain"), b"{}"),
        (JSON, b" " * 6_000_001),
    ],
)
def test_a_wrong_body_is_invalid(origin: Origin, body: bytes) -> None:
    """As a whole: the sender gets a 400, with a sentence."""
    for normalise in (normalise_spans, normalise_logs):
        with pytest.raises(Invalid, match="expected"):
            normalise(origin, body)


def test_a_warning_names_what_was_ignored() -> None:
    """With nothing refused."""
    old = normalise_spans(JSON, b'{"resourceSpans":[{"instrumentationLibrarySpans":[]}]}')
    assert (old.rows, old.rejections) == ([], [])
    assert "instrumentationLibrarySpans" in old.warning
    attribute = {"keyStrindex": 4, "value": {"stringValue": "x"}}
    indexed = normalise_spans(JSON, json_traces(json_span(attributes=[attribute])))
    assert "string table" in indexed.warning
    assert spans_of(indexed)[0]["repairs"] == ["string_index_ignored"]
    assert normalise_spans(JSON, json_traces(json_span())).warning == ""


def test_logs_on_the_traces_path_are_refused_with_a_hint() -> None:
    """Each record counts, and the sentence says where they belong."""
    sent = LogRecord(time_unix_nano=RECEIVED_AT_NS, severity_number=9)
    verdict = normalise_spans(PROTOBUF, logs(sent, sent).SerializeToString())
    assert [refused.reason for refused in verdict.rejections] == ["invalid_trace_id"] * 2
    assert "/v1/logs" in verdict.warning


def test_flaws_of_a_resource_are_in_each_row_under_it() -> None:
    """And in no other."""
    first = {
        "resource": {"attributes": [{"key": "k", "value": {"string_value": "x"}}]},
        "scopeSpans": [{"spans": [json_span()]}],
    }
    second = {"scopeSpans": [{"spans": [json_span(spanId="1" * 16)]}]}
    rows = spans_of(normalise_spans(JSON, orjson.dumps({"resourceSpans": [first, second]})))
    assert [row["repairs"] for row in rows] == [["snake_case"], []]


def test_a_redelivery_makes_the_same_rows() -> None:
    """Nothing but the message goes into a row; another message's id-less records are other rows."""
    body = json_logs({"body": {"stringValue": "a"}}, {"body": {"stringValue": "a"}})
    first, again = normalise_logs(JSON, body), normalise_logs(JSON, body)
    assert first == again
    other = normalise_logs(replace(JSON, origin_id="origin-2"), body)
    ids = {row["event_id"] for row in logs_of(first) + logs_of(other)}
    assert len(ids) == 4
