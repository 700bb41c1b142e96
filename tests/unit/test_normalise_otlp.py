"""OTLP rows: what is refused, what is repaired and named, and that the way a body was sent never shows in its rows."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.headers import Origin
from schemas.otlp_records import NonFinite
from schemas.rows import NANOS_PER_DAY, row_id
from tests.unit.otlp_encoding import (
    JSON,
    PROTOBUF,
    RECEIVED_AT_NS,
    SPAN_ID,
    TRACE_ID,
    any_value,
    as_json,
    json_logs,
    json_span,
    json_traces,
    logs,
    put,
    span,
    traces,
)
from workers.normalise.otlp import LOG_COLUMNS, SPAN_COLUMNS, normalise_logs, normalise_spans
from workers.normalise.otlp_values import MAX_RECORD_LENGTH
from workers.normalise.verdict import Invalid, Verdict

EXAMPLES = Path(__file__).parents[1] / "examples" / "otlp"


def spans_of(verdict: Verdict) -> list[dict[str, Any]]:
    """Rows by column name."""
    return [dict(zip(SPAN_COLUMNS, row, strict=True)) for row in verdict.rows]


def logs_of(verdict: Verdict) -> list[dict[str, Any]]:
    """Rows by column name."""
    return [dict(zip(LOG_COLUMNS, row, strict=True)) for row in verdict.rows]


def span_row(sent: Span | None = None, **fields: Any) -> dict[str, Any]:
    """The row of one span sent as protobuf."""
    (row,) = spans_of(normalise_spans(PROTOBUF, traces(sent or span(**fields)).SerializeToString()))
    return row


def json_span_row(**members: Any) -> dict[str, Any]:
    """The row of one span sent as JSON."""
    (row,) = spans_of(normalise_spans(JSON, json_traces(json_span(**members))))
    return row


def log_row(**members: Any) -> dict[str, Any]:
    """The row of one log record sent as JSON, ten nanoseconds before it arrived."""
    record = {"timeUnixNano": str(RECEIVED_AT_NS - 10), "observedTimeUnixNano": str(RECEIVED_AT_NS - 5), **members}
    (row,) = logs_of(normalise_logs(JSON, json_logs(record)))
    return row


# --- one row, column by column --------------------------------------------------------------------------------------


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
        "version": 5,
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
        "trace_flags": 257,
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


# --- span verdicts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "reason", "words"),
    [
        ({"traceId": ...}, "invalid_trace_id", "expected 32 hex digits, not all zero, in traceId, found none"),
        ({"traceId": "abc"}, "invalid_trace_id", "found 'abc'"),
        ({"traceId": "0" * 32}, "invalid_trace_id", "not all zero"),
        ({"traceId": "g" * 32}, "invalid_trace_id", "found 'gggg"),
        ({"traceId": " " * 32}, "invalid_trace_id", "found"),
        ({"spanId": ""}, "invalid_span_id", "expected 16 hex digits, not all zero, in spanId, found none"),
        ({"spanId": "xyz"}, "invalid_span_id", "found 'xyz'"),
        ({"spanId": "0" * 16}, "invalid_span_id", "found '0000"),
        ({"attributes": {"a": 1}}, "malformed_record", "found an object"),
        ({"name": 1}, "malformed_record", "expected a string in name, found a number"),
    ],
)
def test_a_refused_span_costs_itself_and_is_named(members: dict[str, Any], reason: str, words: str) -> None:
    """Index, reason and a sentence; its neighbours keep their places."""
    second = json_span(spanId="1" * 16)
    verdict = normalise_spans(JSON, json_traces(json_span(), json_span(**members), second))
    (refused,) = verdict.rejections
    assert (refused.index, refused.reason) == (1, reason)
    assert refused.detail.startswith("span 1 of resource 0: ")
    assert words in refused.detail
    assert verdict.accepted == 2
    assert [row["source_ordinal"] for row in spans_of(verdict)] == [0, 2]


@pytest.mark.parametrize("trace_id", [b"", b"\1" * 8, bytes(16), b"\1" * 17])
def test_ids_of_the_wrong_length_are_refused_in_protobuf(trace_id: bytes) -> None:
    """And so are missing and zero ones."""
    body = traces(span(trace_id=trace_id), span()).SerializeToString()
    verdict = normalise_spans(PROTOBUF, body)
    assert [refused.reason for refused in verdict.rejections] == ["invalid_trace_id"]
    assert verdict.accepted == 1


@pytest.mark.parametrize("parent", ["xyz", "0" * 16, "ff"])
def test_an_invalid_parent_makes_a_root(parent: str) -> None:
    """The text that was sent is kept in repairs."""
    row = json_span_row(parentSpanId=parent)
    assert row["parent_span_id"] == ""
    assert row["repairs"] == [f"parent_span_id_invalid:{parent}"]


def test_a_span_may_be_nameless() -> None:
    """The spec says unknown, not invalid."""
    row = json_span_row(name=...)
    assert (row["name"], row["repairs"], row["span_kind"], row["status"]) == ("", [], "unspecified", "unset")


@pytest.mark.parametrize(
    ("start", "end", "time", "duration", "repairs"),
    [
        (0, RECEIVED_AT_NS - 1, RECEIVED_AT_NS - 1, 0, ["start_missing"]),
        (0, 0, RECEIVED_AT_NS, 0, ["start_missing", "end_missing", "time_from_arrival"]),
        (RECEIVED_AT_NS - 1, 0, RECEIVED_AT_NS - 1, 0, ["end_missing"]),
        (RECEIVED_AT_NS - 1, RECEIVED_AT_NS - 2, RECEIVED_AT_NS - 1, 0, ["end_before_start"]),
        (RECEIVED_AT_NS - 2, RECEIVED_AT_NS - 2, RECEIVED_AT_NS - 2, 0, []),
    ],
)
def test_odd_times_are_repaired(start: int, end: int, time: int, duration: int, repairs: list[str]) -> None:
    """Never a wrapped duration, never the worker's clock."""
    row = span_row(start_time_unix_nano=start, end_time_unix_nano=end)
    assert (row["timestamp"], row["duration_ns"], row["repairs"]) == (time, duration, repairs)


@pytest.mark.parametrize(
    ("time", "moved_to"),
    [
        (1, RECEIVED_AT_NS - 30 * NANOS_PER_DAY),
        (RECEIVED_AT_NS - 30 * NANOS_PER_DAY, RECEIVED_AT_NS - 30 * NANOS_PER_DAY),
        (RECEIVED_AT_NS + NANOS_PER_DAY, RECEIVED_AT_NS + NANOS_PER_DAY),
        (2**64 - 1, RECEIVED_AT_NS + NANOS_PER_DAY),
    ],
)
def test_times_outside_the_partitions_are_clamped(time: int, moved_to: int) -> None:
    """The original nanoseconds stay beside."""
    moved = time != moved_to
    for row in (
        span_row(start_time_unix_nano=time, end_time_unix_nano=2**64 - 1),
        log_row(timeUnixNano=time, observedTimeUnixNano=RECEIVED_AT_NS),
    ):
        assert row["timestamp"] == moved_to
        assert row["original_timestamp_ns"] == (time if moved else 0)
        assert row["repairs"] == (["timestamp_clamped"] if moved else [])


def test_a_link_with_bad_ids_is_dropped_alone() -> None:
    """The span stays, and so does the good link; payload has both as they were sent."""
    links = [{"traceId": "abc", "spanId": SPAN_ID}, {"traceId": TRACE_ID, "spanId": SPAN_ID}, {}]
    row = json_span_row(links=links)
    assert orjson.loads(row["span_links"]) == [links[1]]
    assert row["repairs"] == ["link_dropped"]
    assert orjson.loads(row["payload"])["links"] == links


# --- log verdicts ---------------------------------------------------------------------------------------------------


def test_a_log_is_never_refused_for_what_it_lacks() -> None:
    """An empty record is a row, at the time the body arrived."""
    (row,) = logs_of(normalise_logs(JSON, json_logs({})))
    assert (row["timestamp"], row["observed_at"]) == (RECEIVED_AT_NS, RECEIVED_AT_NS)
    assert row["repairs"] == ["time_from_arrival"]
    assert (row["severity_number"], row["body"], row["trace_id"]) == (0, "", "")


@pytest.mark.parametrize("record", [{"body": "text"}, {"attributes": {}}, {"severityText": 5}, "x", 7])
def test_a_log_of_the_wrong_shape_is_refused(record: Any) -> None:
    """That record only, named by its place."""
    verdict = normalise_logs(JSON, json_logs({}, record, {}))
    (refused,) = verdict.rejections
    assert (refused.index, refused.reason, verdict.accepted) == (1, "malformed_record", 2)
    assert refused.detail.startswith("log record 1 of resource 0: expected")


def test_invalid_ids_leave_a_log_unlinked() -> None:
    """The spec's SHOULD."""
    row = log_row(traceId="abc", spanId="0" * 16)
    assert (row["trace_id"], row["span_id"]) == ("", "")
    assert row["repairs"] == ["trace_id_invalid", "span_id_invalid"]
    assert orjson.loads(row["payload"])["traceId"] == "abc"


def test_observed_time_stands_in_for_a_missing_time() -> None:
    """And one beyond the year 2262 fits no column."""
    row = log_row(timeUnixNano=0)
    assert (row["timestamp"], row["repairs"]) == (RECEIVED_AT_NS - 5, ["time_from_observed"])
    late = log_row(observedTimeUnixNano=str(2**64 - 1))
    assert (late["observed_at"], late["repairs"]) == (RECEIVED_AT_NS + NANOS_PER_DAY, ["observed_clamped"])


@pytest.mark.parametrize(
    ("number", "text", "expected", "repairs"),
    [
        (9, "ERROR", 9, []),
        (24, "", 24, []),
        (0, "", 0, []),
        (0, "200", 0, []),
        (25, "ok", 0, ["severity_out_of_range"]),
        (-1, "Fatal", 21, ["severity_out_of_range", "severity_from_text"]),
        *((0, text, number, ["severity_from_text"]) for text, number in (("trace", 1), ("Debug", 5), ("INFO", 9))),
        *(
            (0, text, number, ["severity_from_text"])
            for text, number in (("notice", 10), ("warn", 13), ("WARNING", 13))
        ),
        *((0, text, number, ["severity_from_text"]) for text, number in (("error", 17), ("err", 17), ("critical", 21))),
        *((0, text, number, ["severity_from_text"]) for text, number in (("alert", 21), ("fatal", 21), ("emerg", 21))),
        (0, "INFO2", 10, ["severity_from_text"]),
    ],
)
def test_severity_is_the_producers_number_or_the_texts(
    number: int, text: str, expected: int, repairs: list[str]
) -> None:
    """The number always wins; the text is kept as the source wrote it."""
    row = log_row(severityNumber=number, severityText=text)
    assert (row["severity_number"], row["severity_text"], row["repairs"]) == (expected, text, repairs)


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_huge_record_is_cut_and_says_so() -> None:
    """Body and attributes alike; cut, not refused."""
    huge = "é\0" * (MAX_RECORD_LENGTH // 5)
    row = log_row(body={"stringValue": huge}, attributes=[{"key": "k", "value": {"stringValue": huge}}], eventName=huge)
    assert len(row["payload"]) <= MAX_RECORD_LENGTH
    assert row["repairs"] == ["record_truncated"]
    assert huge.startswith(row["body"])
    assert row["body"]
    sent = span(name=huge)
    put(sent.attributes, {"list": [huge, huge], "after": "lost"})
    put(sent.events.add(name="exception").attributes, {"exception.stacktrace": huge})
    found = span_row(sent)
    assert len(found["payload"]) <= MAX_RECORD_LENGTH
    assert found["repairs"] == ["record_truncated"]


def test_a_huge_resource_is_not_multiplied() -> None:
    """It is stored with each row, so what many rows may hold of it is bounded."""
    body = traces(
        *(span(span_id=bytes(6) + n.to_bytes(2, "big")) for n in range(1, 3000)), resource={"x": "y" * 1_000_000}
    )
    verdict = normalise_spans(PROTOBUF, body.SerializeToString())
    rows = spans_of(verdict)
    assert sum(len(row["resource"]["x"]) for row in rows) < 70_000_000
    assert rows[0]["repairs"] == ["resource_truncated"]


# --- bodies ---------------------------------------------------------------------------------------------------------


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


_json_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | _json_text | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_json_text, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(_json_text, _values, max_size=4),
    st.dictionaries(_json_text, _values, max_size=3),
    _values,
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(-2, 30)),
)
def test_json_and_protobuf_make_the_same_rows(
    attributes: dict[str, Any], resource: dict[str, Any], body: Any, numbers: tuple[int, int, int]
) -> None:
    """For spans and for logs, whatever they hold."""
    start, end, number = numbers
    sent = span(start_time_unix_nano=start, end_time_unix_nano=end, kind=number)
    put(sent.attributes, attributes)
    put(sent.events.add(name="exception").attributes, attributes)
    request = traces(sent, span(span_id=b""), resource=resource)
    binary = normalise_spans(PROTOBUF, request.SerializeToString())
    assert repr(binary) == repr(normalise_spans(JSON, as_json(request)))
    record = LogRecord(time_unix_nano=start, observed_time_unix_nano=end, severity_number=number)
    record.body.CopyFrom(any_value(body))
    put(record.attributes, attributes)
    logged = logs(record, resource=resource)
    assert repr(normalise_logs(PROTOBUF, logged.SerializeToString())) == repr(normalise_logs(JSON, as_json(logged)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.sampled_from(["", "gzip", "deflate", "zstd"]))
def test_arbitrary_bytes_are_invalid_at_worst(body: bytes, coding: str) -> None:
    """Rows, refusals or Invalid; nothing else comes out."""
    for origin in (JSON, PROTOBUF):
        for normalise in (normalise_spans, normalise_logs):
            try:
                verdict = normalise(replace(origin, content_encoding=coding), body)
            except Invalid:
                continue
            assert verdict.accepted == len(verdict.rows)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_bodies_are_invalid_at_worst(data: Any) -> None:
    """Every row that comes out can be stored: its text is UTF-8, its numbers fit their columns."""
    sent = span()
    put(sent.attributes, {"a": "é", "n": 5, "l": [1, {"k": b"x"}]})
    put(sent.events.add(name="exception").attributes, {"exception.type": "E"})
    request = traces(sent)
    origin, raw = data.draw(st.sampled_from([(JSON, as_json(request)), (PROTOBUF, request.SerializeToString())]))
    body = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        rows = spans_of(normalise_spans(origin, bytes(body)))
    except Invalid:
        return
    for row in rows:
        orjson.loads(row["payload"])
        assert (
            "".join((row["name"], *row["attributes_string"], *row["attributes_string"].values())).encode() is not None
        )
        assert 0 <= row["duration_ns"] < 2**64
        assert 0 <= row["original_timestamp_ns"] < 2**64
        assert all(-(2**63) <= value < 2**63 for value in row["attributes_int"].values())


# --- examples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_examples_are_read_without_a_repair(example: Path) -> None:
    """The spec's own kind of request, one file per signal: as they stand they are whole."""
    normalise, columns = (normalise_spans, SPAN_COLUMNS) if "span" in example.stem else (normalise_logs, LOG_COLUMNS)
    verdict = normalise(replace(JSON, received_at_ns=1_763_700_000_000_000_000), example.read_bytes())
    assert verdict.rows
    assert verdict.rejections == []
    assert [row[columns.index("repairs")] for row in verdict.rows] == [[]] * len(verdict.rows)
