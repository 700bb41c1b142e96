"""What senders do to OTLP bodies, and what each of it costs: the row that is stored, or the sentence in the answer."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from schemas.otlp.protobuf_wire import length_field
from schemas.otlp.records import MAX_DEPTH
from tests.unit.otlp_encoding import (
    JSON,
    PROTOBUF,
    RECEIVED_AT_NS,
    SPAN_ID,
    TRACE_ID,
    any_value,
    json_logs,
    json_span,
    json_span_row,
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
from tests.unit.receiver.test_app import otlp, replying
from workers.consume import counts
from workers.normalise.otlp.body import normalise_logs, normalise_spans
from workers.normalise.verdict import Invalid, Verdict

REPLACED = "\ufffd"
_TRACE_ID_BASE64 = "W47/95gDgQPSabYzgT/GDA=="
_SPAN_ID_BASE64 = "7uGbfsPBsXQ="


def attribute(value: Any, key: str = "k") -> list[dict[str, Any]]:
    """One attribute in OTLP/JSON."""
    return [{"key": key, "value": value}]


def neighbour_survives(verdict: Verdict) -> dict[str, Any]:
    """The first of two spans, whatever became of it; the second must be there as it was sent."""
    first, second = spans_of(verdict)
    assert (second["name"], second["repairs"], second["source_ordinal"]) == ("GET /", [], 1)
    return first


# --- numbers


@pytest.mark.parametrize(
    ("value", "column", "stored", "repairs"),
    [
        ({"intValue": "9223372036854775807"}, "attributes_int", 2**63 - 1, []),
        ({"intValue": 9223372036854775808}, "attributes_double", 2.0**63, ["integer_as_double"]),
        ({"intValue": "-9223372036854775809"}, "attributes_double", -(2.0**63), ["integer_as_double"]),
        ({"intValue": "1" + "0" * 60}, "attributes_double", 1e60, ["integer_as_double"]),
        ({"intValue": 1e21}, "attributes_double", 1e21, ["integer_as_double"]),
        ({"intValue": None}, "attributes_string", "", []),
        ({"doubleValue": None}, "attributes_string", "", ["double_null"]),
        ({"doubleValue": "Infinity"}, "attributes_double", math.inf, []),
        ({"doubleValue": "-Infinity"}, "attributes_double", -math.inf, []),
        ({"doubleValue": "5e-324"}, "attributes_double", 5e-324, []),
    ],
)
def test_numbers_are_kept_or_named(value: Any, column: str, stored: Any, repairs: list[str]) -> None:
    """64 bits are exact; what is longer is a double; JavaScript's null for NaN is empty: each of them named."""
    row = json_span_row(attributes=attribute(value))
    assert row[column] == {"k": stored}
    assert row["repairs"] == repairs


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (b"1e400", math.inf),
        (b"-1e400", -math.inf),
        (b"Infinity", math.inf),
        (b"1" + b"0" * 400, math.inf),
        (b"99999999999999999999", 1e20),
        (b"0." + b"3" * 400, 1 / 3),
    ],
)
def test_numbers_no_strict_parser_takes_cost_nothing(text: bytes, stored: float) -> None:
    """Bare NaN and 1e400 are no JSON; the body is read all the same, and its other records as if nothing were."""
    for member in ("doubleValue", "intValue"):
        sent = json_span(attributes=attribute({member: 4711}))
        body = json_traces(sent, json_span(spanId="1" * 16)).replace(b"4711", text)
        first = neighbour_survives(normalise_spans(JSON, body))
        assert first["attributes_double"] == {"k": stored}


def test_bare_nan_is_a_number_too() -> None:
    """As Python's json writes it."""
    body = json_traces(json_span(attributes=attribute({"doubleValue": 4711})), json_span()).replace(b"4711", b"NaN")
    assert math.isnan(neighbour_survives(normalise_spans(JSON, body))["attributes_double"]["k"])


@pytest.mark.parametrize("value", [2**64 - 1, str(2**64 - 1), 2.0**63])
def test_the_end_of_time_is_moved_into_the_partitions(value: Any) -> None:
    """DateTime64 ends in 2262: the row is found near its arrival, with what was sent beside it."""
    row = json_span_row(startTimeUnixNano=value, endTimeUnixNano=value)
    assert row["timestamp"] < RECEIVED_AT_NS + 2 * 86_400 * 10**9
    assert row["original_timestamp_ns"] == int(value)
    assert row["repairs"] == ["timestamp_clamped"]


@pytest.mark.parametrize(("kind", "code"), [(99, 7), (-1, -1), (2**31 - 1, 2**31 - 1)])
def test_unknown_enum_numbers_survive_in_the_payload(kind: int, code: int) -> None:
    """Enums are open: the columns have a word for what they know, the payload has the number."""
    for row in (json_span_row(kind=kind, status={"code": code}), span_row(kind=kind, status={"code": code})):
        payload = orjson.loads(row["payload"])
        assert (row["span_kind"], row["status"]) == ("unspecified", "unset")
        assert (payload["kind"], payload["status"]["code"]) == (kind, code)


@pytest.mark.parametrize("name", ["SEVERITY_NUMBER_ERROR", "severity_number_error"])
def test_enum_names_are_read_as_numbers(name: str) -> None:
    """The spec allows integers only; printers of protobuf write names."""
    row = log_row(severityNumber=name)
    assert (row["severity_number"], row["repairs"]) == (17, ["enum_name"])


@pytest.mark.parametrize("number", [25, -1, 2**31 - 1, "SEVERITY_NUMBER_LOUD", 1e99])
def test_a_severity_that_is_none_is_zero(number: Any) -> None:
    """And the text stays."""
    row = log_row(severityNumber=number, severityText="200")
    assert (row["severity_number"], row["severity_text"]) == (0, "200")
    assert len(row["repairs"]) == 1


# --- ids


def test_base64_ids_link_logs_and_spans() -> None:
    """A plain protobuf-to-JSON printer wrote them; their length tells."""
    row = log_row(traceId=_TRACE_ID_BASE64, spanId=_SPAN_ID_BASE64)
    assert (row["trace_id"], row["span_id"]) == (TRACE_ID, SPAN_ID)
    assert row["repairs"] == ["span_id_base64", "trace_id_base64"]
    link = {"traceId": _TRACE_ID_BASE64, "spanId": _SPAN_ID_BASE64}
    row = json_span_row(traceId=_TRACE_ID_BASE64, links=[link])
    assert row["trace_id"] == TRACE_ID
    assert orjson.loads(row["span_links"]) == [{"traceId": TRACE_ID, "spanId": SPAN_ID}]


@pytest.mark.parametrize(
    "trace_id", ["0x" + TRACE_ID[2:], TRACE_ID + " ", "é" * 32, "\uff11" * 32, TRACE_ID[:-1], "-" * 32]
)
def test_what_only_looks_like_an_id_is_none(trace_id: str) -> None:
    """A span is refused, a log is stored unlinked."""
    (refused,) = normalise_spans(JSON, json_traces(json_span(traceId=trace_id))).rejections
    assert refused.reason == "invalid_trace_id"
    row = log_row(traceId=trace_id, spanId=SPAN_ID)
    assert (row["trace_id"], row["span_id"], row["repairs"]) == ("", SPAN_ID, ["trace_id_invalid"])


def test_null_ids_are_absent_ids() -> None:
    """A root span has no parent, a log without a trace is no flaw."""
    assert json_span_row(parentSpanId=None)["repairs"] == []
    assert span_row(parent_span_id=b"")["repairs"] == []
    assert log_row(traceId=None, spanId=None)["repairs"] == []
    (refused,) = normalise_spans(JSON, json_traces(json_span(traceId=None))).rejections
    assert "found none" in refused.detail


# --- values


@pytest.mark.parametrize(
    ("value", "stored", "repairs"),
    [
        ({"bytesValue": {"type": "Buffer", "data": [0, 255]}}, '{"bytesValue":"AP8="}', ["bytes_buffer"]),
        ({"bytesValue": "AP8"}, '{"bytesValue":"AP8="}', []),
        ({"bytesValue": ""}, '{"bytesValue":""}', []),
        ({"arrayValue": {"values": [{"intValue": "1"}, None, {}]}}, "[1,null,null]", []),
        ({"arrayValue": {"values": None}}, "[]", []),
        ({"kvlistValue": {"values": attribute({"intValue": 1}) + attribute({"intValue": 2})}}, '{"k":2}', []),
        ({"stringValue": "a", "boolValue": None}, "a", []),
    ],
)
def test_structured_values_are_json_text(value: Any, stored: str, repairs: list[str]) -> None:
    """Empty, bytes, mixed lists and maps have been valid attribute values since OTLP 1.9."""
    row = json_span_row(attributes=attribute(value))
    assert (row["attributes_string"], row["repairs"]) == ({"k": stored}, repairs)


@pytest.mark.parametrize("data", [[256], [-1], ["a"], [1.5], "AP8=", None, {}])
def test_a_buffer_of_something_else_costs_its_record(data: Any) -> None:
    """What is no list of bytes cannot be guessed at."""
    body = json_traces(json_span(attributes=attribute({"bytesValue": {"type": "Buffer", "data": data}})), json_span())
    verdict = normalise_spans(JSON, body)
    assert (len(verdict.rejections), verdict.accepted) == (1, 1)
    assert "expected base64 in bytesValue" in verdict.rejections[0].detail


def test_of_an_attribute_sent_twice_one_column_has_the_last() -> None:
    """A map would keep both and answer the first; here the types even differ."""
    twice = attribute({"stringValue": "a"}) + attribute({"boolValue": True}) + attribute({"intValue": 2})
    row = json_span_row(attributes=twice)
    assert (row["attributes_string"], row["attributes_bool"], row["attributes_int"]) == ({}, {}, {"k": 2})
    assert row["repairs"] == ["duplicate_attribute"]


@pytest.mark.parametrize("wrong", [{"a": 1}, "a=1", 5, True, [["a", 1]], [5]])
def test_attributes_of_the_wrong_shape_cost_what_they_describe(wrong: Any) -> None:
    """A span, an event's or a link's span, or every record below a resource or scope; never the neighbours."""
    good = {"scopeSpans": [{"spans": [json_span()]}]}
    two = [json_span(), json_span(spanId="1" * 16)]
    link = {"traceId": TRACE_ID, "spanId": SPAN_ID, "attributes": wrong}
    blocks = {
        1: [
            {"scopeSpans": [{"spans": [json_span(attributes=wrong)]}]},
            {"scopeSpans": [{"spans": [json_span(events=[{"attributes": wrong}])]}]},
            {"scopeSpans": [{"spans": [json_span(links=[link])]}]},
        ],
        2: [
            {"resource": {"attributes": wrong}, "scopeSpans": [{"spans": two}]},
            {"scopeSpans": [{"scope": {"attributes": wrong}, "spans": two}]},
        ],
    }
    for rejected, several in blocks.items():
        for block in several:
            verdict = normalise_spans(JSON, orjson.dumps({"resourceSpans": [block, good]}))
            assert (len(verdict.rejections), verdict.accepted) == (rejected, 1)


def test_snake_case_is_stored_and_named() -> None:
    """Against the spec, and yet what some exporters write."""
    sent = {"trace_id": TRACE_ID, "span_id": SPAN_ID, "start_time_unix_nano": str(RECEIVED_AT_NS), "name": "s"}
    body = {"resource_spans": [{"scope_spans": [{"spans": [sent]}]}]}
    (row,) = spans_of(normalise_spans(JSON, orjson.dumps(body)))
    assert (row["trace_id"], row["timestamp"]) == (TRACE_ID, RECEIVED_AT_NS)
    assert "snake_case" in row["repairs"]


# --- text


@pytest.mark.parametrize(
    "escape",
    [b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\xaf"],
)
@pytest.mark.parametrize("place", ["name", "key", "value", "event", "state", "message"])
def test_text_that_is_none_costs_one_string(escape: bytes, place: str) -> None:
    """Lone surrogates and invalid UTF-8 make strict parsers refuse the body; here one string has a U+FFFD."""
    members: dict[str, Any] = {
        "name": {"name": "aXb"},
        "key": {"attributes": attribute({"stringValue": "v"}, "aXb")},
        "value": {"attributes": attribute({"stringValue": "aXb"})},
        "event": {"events": [{"name": "aXb"}]},
        "state": {"traceState": "aXb"},
        "message": {"status": {"message": "aXb"}},
    }[place]
    body = json_traces(json_span(**members), json_span(spanId="1" * 16)).replace(b"aXb", b"a" + escape + b"b")
    first = neighbour_survives(normalise_spans(JSON, body))
    assert first["repairs"] == ["invalid_utf8"]
    assert REPLACED in first["payload"]
    assert first["payload"].encode().count(b"\xef\xbf\xbd") == first["payload"].count(REPLACED) <= 4


def test_a_pair_of_surrogates_is_a_character() -> None:
    """Escaped or not, beside text that has to be mended."""
    body = json_traces(json_span(name="AB")).replace(b'"AB"', b'"\\ud83d\\ude00\xf0\x9f\x98\x80\xff"')
    (row,) = spans_of(normalise_spans(JSON, body))
    assert row["name"] == "\U0001f600\U0001f600" + REPLACED


@pytest.mark.parametrize("member", ["severityText", "eventName", "body"])
def test_broken_text_of_a_log_costs_one_string(member: str) -> None:
    """Logs carry other people's output: this is where it happens."""
    value: Any = {"stringValue": "aXb"} if member == "body" else "aXb"
    body = json_logs({member: value}, {"body": {"stringValue": "whole"}}).replace(b"aXb", b"a\\udbffb")
    broken, whole = logs_of(normalise_logs(JSON, body))
    column = {"severityText": "severity_text", "eventName": "name", "body": "body"}[member]
    assert broken[column] == f"a{REPLACED}b"
    assert "invalid_utf8" in broken["repairs"]
    assert (whole["body"], "invalid_utf8" in whole["repairs"]) == ("whole", False)


@pytest.mark.parametrize("broken", [b"\xc3", b"\xff\xfe", b"\xed\xa0\x80", b"ab\xe2\x82"])
@pytest.mark.parametrize(
    "place",
    ["name", "trace_state", "status", "key", "value", "nested", "event", "event key", "link state", "scope", "url"],
)
def test_invalid_utf8_in_any_string_of_a_span_costs_that_string(broken: bytes, place: str) -> None:
    """Google's classes refuse the whole body for it; a multibyte character cut in two is enough."""
    mark = "Q" * len(broken)
    request = traces(_span_with(place, mark), span())
    if place in ("scope", "url"):
        block = request.resource_spans[0].scope_spans[0]
        block.scope.name, block.schema_url = (mark, "") if place == "scope" else ("", mark)
    body = request.SerializeToString().replace(mark.encode(), broken)
    with pytest.raises(Exception, match="parsing"):
        ExportTraceServiceRequest.FromString(body)
    first, second = spans_of(normalise_spans(PROTOBUF, body))
    assert first["repairs"] == ["invalid_utf8"]
    assert second["repairs"] == (["invalid_utf8"] if place in ("scope", "url") else [])
    assert REPLACED in repr(first)


def _span_with(place: str, mark: str) -> Any:
    """A span with `mark` in one of its strings."""
    sent = span()
    if place in ("name", "trace_state"):
        setattr(sent, place, mark)
    elif place == "status":
        sent.status.message = mark
    elif place == "key":
        put(sent.attributes, {mark: 1})
    elif place == "value":
        put(sent.attributes, {"k": mark})
    elif place == "nested":
        put(sent.attributes, {"k": [{"deep": [mark]}]})
    elif place == "event":
        sent.events.add(name=mark)
    elif place == "event key":
        put(sent.events.add(name="e").attributes, {mark: 1})
    elif place == "link state":
        sent.links.add(trace_id=bytes.fromhex(TRACE_ID), span_id=bytes.fromhex(SPAN_ID), trace_state=mark)
    return sent


@pytest.mark.parametrize("place", ["severity_text", "event_name", "body", "body list", "value"])
def test_invalid_utf8_in_any_string_of_a_log_costs_that_string(place: str) -> None:
    """The same for logs."""
    record = LogRecord(time_unix_nano=RECEIVED_AT_NS)
    if place.startswith("body"):
        record.body.CopyFrom(any_value(["QQ"] if "list" in place else "QQ"))
    elif place == "value":
        put(record.attributes, {"k": "QQ"})
    else:
        setattr(record, place, "QQ")
    body = logs(record, LogRecord(time_unix_nano=RECEIVED_AT_NS)).SerializeToString().replace(b"QQ", b"\xe2\x82")
    with pytest.raises(Exception, match="parsing"):
        ExportLogsServiceRequest.FromString(body)
    first, second = logs_of(normalise_logs(PROTOBUF, body))
    assert (first["repairs"], second["repairs"]) == (["invalid_utf8"], [])
    assert REPLACED in repr(first)


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n\t"])
def test_a_byte_order_mark_costs_nothing(prefix: bytes) -> None:
    """Not even a repair: no string was changed."""
    (row,) = spans_of(normalise_spans(JSON, prefix + json_traces(json_span())))
    assert row["repairs"] == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_other_unicode_is_no_json(encoding: str) -> None:
    """RFC 8259 has UTF-8 only."""
    with pytest.raises(Invalid, match="not JSON"):
        normalise_spans(JSON, json_traces(json_span()).decode().encode(encoding))


def test_control_characters_pass() -> None:
    """NUL and raw line breaks, which strict JSON escapes."""
    body = json_traces(json_span(name="aXb")).replace(b"aXb", b"a\\u0000\n\tb")
    (row,) = spans_of(normalise_spans(JSON, body))
    assert row["name"] == "a\0\n\tb"


# --- nesting


@pytest.mark.parametrize("levels", [300, 5_000, 100_000])
def test_thousands_of_levels_cost_one_value_in_json(levels: int) -> None:
    """In an attribute, a log's body, a resource, or where nobody looks: the records are stored."""
    deep = b'{"arrayValue":{"values":[' * levels + b"]}}" * levels
    body = json_traces(json_span(attributes=attribute(4711)), json_span(spanId="1" * 16)).replace(b"4711", deep)
    first = neighbour_survives(normalise_spans(JSON, body))
    assert first["repairs"] == ["nesting_cut"]
    assert first["attributes_string"]["k"].startswith("[" * MAX_DEPTH)
    (row,) = logs_of(normalise_logs(JSON, json_logs({"body": 4711}).replace(b"4711", deep)))
    assert "nesting_cut" in row["repairs"]
    unknown = json_traces(json_span(unheardOf=4711)).replace(b"4711", b'[{"a":' * levels + b"1" + b"}]" * levels)
    assert normalise_spans(JSON, unknown).accepted == 1


@pytest.mark.parametrize("levels", [60, 300, 5_000])
def test_thousands_of_levels_cost_one_value_in_protobuf(levels: int) -> None:
    """Google's decoder gives up at fifty."""
    deep = length_field(1, b"x")
    for number in range(levels):
        deep = (
            length_field(5, length_field(1, deep))
            if number % 2
            else length_field(6, length_field(1, length_field(2, deep)))
        )
    attributes = length_field(9, length_field(1, b"k") + length_field(2, deep))
    scope = length_field(2, span().SerializeToString() + attributes) + length_field(2, span().SerializeToString())
    first = neighbour_survives(normalise_spans(PROTOBUF, length_field(1, length_field(2, scope))))
    assert first["repairs"] == ["nesting_cut"]
    record = length_field(5, deep) + b"\x09" + RECEIVED_AT_NS.to_bytes(8, "little")
    (row,) = logs_of(normalise_logs(PROTOBUF, length_field(1, length_field(2, length_field(2, record)))))
    assert row["repairs"] == ["nesting_cut"]


@pytest.mark.parametrize("levels", [5_000, 500_000])
def test_groups_in_groups_are_skipped(levels: int) -> None:
    """proto2's groups nest without lengths; what they hold is nobody's."""
    body = b"\x9b\x06" * levels + b"\x9c\x06" * levels + traces(span()).SerializeToString()
    assert normalise_spans(PROTOBUF, body).accepted == 1
    with pytest.raises(Invalid, match="past the end"):
        normalise_spans(PROTOBUF, b"\x9b\x06" * levels)


# --- the wrong endpoint


def test_logs_sent_as_traces_are_named_in_the_answer() -> None:
    """The commonest source of bad spans: both requests share their field numbers."""
    sent = logs(LogRecord(time_unix_nano=RECEIVED_AT_NS, severity_number=9)).SerializeToString()
    client = replying(counts.of_verdict("otlp_span", normalise_spans(PROTOBUF, sent)))
    said = client.post("/v1/traces", b'{"resourceSpans":[]}', **otlp()).json["partialSuccess"]
    assert said["rejectedSpans"] == 1
    assert "send it to /v1/logs" in said["errorMessage"]
    assert "invalid_trace_id" in said["errorMessage"] or "traceId" in said["errorMessage"]


@pytest.mark.parametrize(
    ("normalise", "origin", "body", "path"),
    [
        (normalise_spans, JSON, json_logs({"body": {"stringValue": "x"}}), "/v1/logs"),
        (normalise_logs, JSON, json_traces(json_span()), "/v1/traces"),
        (normalise_logs, PROTOBUF, traces(span(), span()).SerializeToString(), "/v1/traces"),
    ],
)
def test_a_body_of_the_other_signal_is_told_where_to_go(normalise: Any, origin: Any, body: bytes, path: str) -> None:
    """Nothing in it can be stored as what it is not."""
    with pytest.raises(Invalid, match=f"send it to {path}"):
        normalise(origin, body)


@pytest.mark.parametrize(
    ("origin", "body"),
    [
        (JSON, b'{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[{}]}]}]}'),
        (PROTOBUF, length_field(1, length_field(1000, length_field(2, b"")))),
    ],
)
def test_levels_of_old_exporters_are_read_and_named(origin: Any, body: bytes) -> None:
    """Their records count: here one without ids is refused."""
    client = replying(counts.of_verdict("otlp_span", normalise_spans(origin, body)))
    said = client.post("/v1/traces", b'{"resourceSpans":[]}', **otlp()).json["partialSuccess"]
    assert int(said["rejectedSpans"]) == 1
    assert "instrumentationLibrarySpans is no longer part of OTLP" in said["errorMessage"]
