"""The OTLP reader: equal records from both encodings, and one bad value never costs more than it must."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.otlp import (
    OtlpError,
    media_type,
    partial_success,
    read_logs,
    read_traces,
    status,
    success,
)
from schemas.otlp_records import HARD_DEPTH, MAX_DEPTH, Malformed, NonFinite
from schemas.protobuf_wire import length_field, varint_bytes
from tests.unit.otlp_encoding import (
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

# --- both encodings -------------------------------------------------------------------------------------------------

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


@settings(max_examples=150, deadline=None)
@given(st.lists(_spans(), max_size=3), _attributes)
def test_spans_read_equal_from_json_and_protobuf(spans: list[Span], resource: dict[str, Any]) -> None:
    """The same ExportTraceServiceRequest gives the same records in either encoding."""
    request = traces(*spans, resource=resource)
    found = read_traces(request.SerializeToString(), "protobuf")
    assert repr(found.resources) == repr(read_traces(as_json(request), "json").resources)


@settings(max_examples=150, deadline=None)
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


@settings(max_examples=400, deadline=None)
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


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(_names, _json_value), st.dictionaries(_names, _json_value))
def test_any_json_in_a_record_costs_that_record_at_most(record: dict[str, Any], block: dict[str, Any]) -> None:
    """Wrong types anywhere give refused records, never an exception, and the neighbour is read."""
    body = json.dumps({"resourceSpans": [{**block, "scopeSpans": [{"spans": [record]}]}, _neighbour()]})
    assert read_traces(body.encode(), "json").records()[-1].name == "GET /"
    body = json.dumps({"resourceLogs": [{**block, "scopeLogs": [{"logRecords": [record]}]}]})
    assert len(read_logs(body.encode(), "json").records()) == 1


def _neighbour() -> dict[str, Any]:
    return {"scopeSpans": [{"spans": [json_span()]}]}


# --- JSON -----------------------------------------------------------------------------------------------------------


def _read_span(**members: Any) -> Any:
    (found,) = read_traces(json_traces(json_span(**members)), "json").records()
    return found


def _read_value(value: Any) -> tuple[Any, tuple[str, ...]]:
    """(what an AnyValue in JSON is read as, the flaws named)."""
    found = _read_span(attributes=[{"key": "k", "value": value}])
    return (found, ()) if isinstance(found, Malformed) else (found.attributes["k"], found.flaws)


def test_base64_ids_are_told_by_their_length() -> None:
    """A plain protobuf-to-JSON printer's ids are repaired: no id in hex has 24 or 12 digits."""
    found = _read_span(traceId="W47/95gDgQPSabYzgT/GDA==", spanId="7uGbfsPBsXQ=", parentSpanId="7uGbfsPBsXQ=")
    assert (found.trace_id, found.span_id, found.parent_span_id) == (TRACE_ID, SPAN_ID, SPAN_ID)
    assert found.flaws == ("parent_span_id_base64", "span_id_base64", "trace_id_base64")


def test_ids_in_upper_case_are_the_same_ids() -> None:
    """OTLP/JSON ids are case-insensitive."""
    assert _read_span(traceId=TRACE_ID.upper()).trace_id == TRACE_ID


@pytest.mark.parametrize(
    ("kind", "code", "expected", "flaws"),
    [
        (2, 1, (2, 1), ()),
        ("SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", (3, 2), ("enum_name",)),
        ("3", "2", (3, 2), ()),
        (99, 7, (99, 7), ()),
        ("SPAN_KIND_ROBOT", None, (0, 0), ("enum_unknown",)),
        (None, None, (0, 0), ()),
    ],
)
def test_enums_are_numbers_or_names(kind: Any, code: Any, expected: tuple[int, int], flaws: tuple[str, ...]) -> None:
    """Names are repaired, unknown numbers survive, unknown names become 0: none of them costs the span."""
    found = _read_span(kind=kind, status={"code": code})
    assert (found.kind, found.status_code) == expected
    assert found.flaws == flaws


@pytest.mark.parametrize(
    ("value", "expected", "flaws"),
    [
        ({"intValue": "9223372036854775807"}, 2**63 - 1, ()),
        ({"intValue": "-9223372036854775808"}, -(2**63), ()),
        ({"intValue": 9007199254740993}, 9007199254740993, ()),
        ({"intValue": 5.0}, 5, ()),
        ({"intValue": 1e21}, 1e21, ("integer_as_double",)),
        ({"intValue": "1e21"}, 1e21, ("integer_as_double",)),
        ({"intValue": 1.5}, 1.5, ("integer_as_double",)),
        ({"doubleValue": 1}, 1.0, ()),
        ({"doubleValue": "2.5"}, 2.5, ()),
        ({"doubleValue": None}, None, ("double_null",)),
        ({"stringValue": None}, None, ()),
        ({}, None, ()),
        (None, None, ()),
        ({"boolValue": False}, False, ()),
        ({"bytesValue": "+/8="}, b"\xfb\xff", ()),
        ({"bytesValue": "-_8"}, b"\xfb\xff", ()),
        ({"bytesValue": {"type": "Buffer", "data": [251, 255]}}, b"\xfb\xff", ("bytes_buffer",)),
        ({"bytesValue": "no base64!"}, "no base64!", ("bytes_unreadable",)),
        ({"arrayValue": {}}, [], ()),
        ({"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "x"}, {}]}}, [1, "x", None], ()),
        (
            {"kvlistValue": {"values": [{"key": "a"}, {"key": "b", "value": {"boolValue": True}}]}},
            {"a": None, "b": True},
            (),
        ),
        ({"stringValue": "first", "intValue": "2"}, 2, ()),
        ({"string_value": "snake"}, "snake", ("snake_case",)),
        ({"stringValueStrindex": 3}, None, ("string_index_ignored",)),
        ({"newMember": 3}, None, ()),
    ],
)
def test_values_are_read_as_liberally_as_they_are_sent(value: Any, expected: Any, flaws: tuple[str, ...]) -> None:
    """Every form of AnyValue the field has seen, with the repair it counts as."""
    found, named = _read_value(value)
    assert (found, type(found), named) == (expected, type(expected), flaws)


@pytest.mark.parametrize(("text", "check"), [("NaN", math.isnan), ("Infinity", math.isinf), ("-Infinity", math.isinf)])
def test_non_finite_doubles_are_read_in_both_spellings(text: str, check: Any) -> None:
    """As the OTLP/JSON string, and bare, as Python writes them, which a strict parser refuses for the whole body."""
    quoted, _ = _read_value({"doubleValue": text})
    body = json_traces(json_span(attributes=[{"key": "k", "value": {"doubleValue": 0}}])).replace(
        b":0}", f":{text}}}".encode()
    )
    (bare,) = read_traces(body, "json").records()
    assert check(quoted)
    assert check(bare.attributes["k"])
    assert isinstance(bare.attributes["k"], NonFinite)
    assert repr(quoted) == repr(bare.attributes["k"])


@pytest.mark.parametrize(
    "value",
    [
        *({"stringValue": 5}, {"boolValue": "true"}, {"intValue": "five"}, {"intValue": True}, {"doubleValue": []}),
        *({"arrayValue": []}, {"kvlistValue": {"values": {}}}, {"bytesValue": 7}, "text", 5),
    ],
)
def test_a_value_of_the_wrong_type_costs_its_record(value: Any) -> None:
    """And only that one, with what was expected and what was found."""
    found, _ = _read_value(value)
    assert isinstance(found, Malformed)
    assert found.reason == "malformed_record"
    assert "expected" in found.detail
    assert "found" in found.detail


@pytest.mark.parametrize(
    "members",
    [
        *({"attributes": {"a": 1}}, {"attributes": "a=1"}, {"attributes": [5]}, {"attributes": [{"key": 5}]}),
        *({"name": 5}, {"events": {}}, {"links": [7]}, {"status": "ok"}, {"traceId": 5}, {"flags": []}, {"kind": {}}),
    ],
)
def test_a_member_of_the_wrong_type_costs_its_record(members: dict[str, Any]) -> None:
    """The neighbour is read."""
    bad, good = read_traces(json_traces(json_span(**members), json_span()), "json").records()
    assert isinstance(bad, Malformed)
    assert good.name == "GET /"


def test_everything_may_be_null_or_missing() -> None:
    """null is absent, absent is the default."""
    nulls = dict.fromkeys(("kind", "traceState", "attributes", "events", "links", "status", "flags"))
    assert _read_span(**nulls) == _read_span()
    body = {
        "resourceSpans": [
            {"resource": None, "schemaUrl": None, "scopeSpans": [{"scope": None, "spans": [None, json_span()]}]},
            None,
        ]
    }
    assert read_traces(orjson.dumps(body), "json").records() == [_read_span()]


def test_snake_case_is_accepted_and_named() -> None:
    """On every level, as the collector accepts it; the camelCase member wins where both are there."""
    times = {"start_time_unix_nano": "5", "end_time_unix_nano": 6}
    record = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "name": "a",
        "parent_span_id": "",
        **times,
        "dropped_links_count": 1,
    }
    body = {"resource_spans": [{"scope_spans": [{"schema_url": "u", "spans": [record]}]}]}
    request = read_traces(orjson.dumps(body), "json")
    (found,) = request.records()
    assert (found.trace_id, found.span_id, found.start_ns, found.end_ns, found.dropped_links) == (
        TRACE_ID,
        SPAN_ID,
        5,
        6,
        1,
    )
    assert "snake_case" in found.flaws
    assert request.resources[0].scopes[0].schema_url == "u"
    assert _read_span(trace_id="ff").trace_id == TRACE_ID


def test_unknown_members_are_ignored_on_every_level() -> None:
    """The spec's MUST."""
    odd = {"unheardOf": {"deep": [1]}}
    body = {
        "resourceSpans": [{**odd, "resource": odd, "scopeSpans": [{**odd, "scope": odd, "spans": [json_span(**odd)]}]}],
        **odd,
    }
    assert read_traces(orjson.dumps(body), "json").records() == [_read_span()]


def test_of_duplicate_keys_the_last_counts() -> None:
    """JSON members as attributes, in JSON as in protobuf."""
    body = json_traces(json_span()).replace(b'"name":"GET /"', b'"name":"a","name":"b"')
    assert read_traces(body, "json").records()[0].name == "b"
    twice = [{"key": "k", "value": {"stringValue": "a"}}, {"key": "k", "value": {"intValue": "2"}}]
    found = _read_span(attributes=twice)
    assert found.attributes == {"k": 2}
    assert found.flaws == ("duplicate_attribute",)
    sent = span()
    put(sent.attributes, {"k": "a"})
    put(sent.attributes, {"k": 2})
    assert read_traces(traces(sent).SerializeToString(), "protobuf").records()[0] == found


@pytest.mark.parametrize(
    ("value", "expected", "flaws"),
    [
        ("12", 12, ()),
        (12, 12, ()),
        (12.0, 12, ()),
        ("18446744073709551615", 2**64 - 1, ()),
        ("soon", 0, ("number_unreadable",)),
        (-1, 0, ("number_unreadable",)),
        (1e30, 0, ("number_unreadable",)),
        (None, 0, ()),
    ],
)
def test_times_are_numbers_or_strings(value: Any, expected: int, flaws: tuple[str, ...]) -> None:
    """What is no time at all counts as absent, and is named."""
    found = _read_span(startTimeUnixNano=value)
    assert (found.start_ns, found.flaws) == (expected, flaws)


def test_a_lone_surrogate_costs_one_string() -> None:
    """A strict parser refuses the whole body; here the neighbours do not even notice."""
    body = json_traces(json_span(name="CUT"), json_span()).replace(b"CUT", b"a\\ud800b")
    bad, good = read_traces(body, "json").records()
    assert (bad.name, bad.flaws) == ("a\ufffdb", ("invalid_utf8",))
    assert good == _read_span()


def test_invalid_utf8_gives_the_same_record_in_both_encodings() -> None:
    """A truncated multibyte string becomes U+FFFD, with a flaw, in that string alone."""
    sent = span(name="naiXve")
    put(sent.attributes, {"cut": "XX", "whole": "naïve"})
    sent.events.add(name="X")
    request = traces(sent, span(), resource={"service.name": "X"})
    binary = request.SerializeToString().replace(b"X", b"\xc3")
    text = as_json(request).replace(b"X", b"\xc3")
    found = read_traces(binary, "protobuf")
    assert found.resources == read_traces(text, "json").resources
    bad, good = found.records()
    assert bad.name == "nai\ufffdve"
    assert bad.attributes == {"cut": "\ufffd\ufffd", "whole": "naïve"}
    assert bad.flaws == ("invalid_utf8",)
    assert good.flaws == ()
    assert found.resources[0].flaws == ("invalid_utf8",)


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b" \n"])
def test_a_byte_order_mark_is_no_obstacle(prefix: bytes) -> None:
    """Nor is white space."""
    assert read_traces(prefix + json_traces(json_span()), "json").records() == [_read_span()]


def test_numbers_beyond_a_double_are_kept_as_infinity() -> None:
    """1e400 makes a strict parser refuse the body."""
    body = json_traces(json_span(attributes=[{"key": "k", "value": {"doubleValue": 4711}}])).replace(b"4711", b"1e400")
    assert read_traces(body, "json").records()[0].attributes["k"] == math.inf


def test_nul_characters_pass() -> None:
    """U+0000 is a character like any other."""
    assert _read_span(name="a\0b").name == "a\0b"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"null", b'"x"', b"{", b'{"resourceSpans":[]} trailing', b'{"resourceSpans":{}}'),
        *(b'{"resourceSpans":"x"}', b"\xff\xfe", b'{"a":"' + b"\\" * 9, b"[" * 100_000, b'{"resourceLogs":[]}'),
    ],
)
def test_a_body_that_is_no_request_is_an_otlp_error(body: bytes) -> None:
    """With what was expected, and what was found."""
    with pytest.raises(OtlpError, match=r"expected .*found "):
        read_traces(body, "json")


def test_an_empty_list_is_a_valid_request() -> None:
    """And so are zero bytes of protobuf: the empty message."""
    assert read_traces(b'{"resourceSpans":[]}', "json").records() == []
    assert read_logs(b'{"resourceLogs":null}', "json").records() == []
    assert read_logs(b"", "protobuf").records() == []


def test_logs_on_the_traces_path_are_named_in_json() -> None:
    """The commonest mistake deserves its own sentence."""
    with pytest.raises(OtlpError, match="send it to /v1/logs"):
        read_traces(json_logs({"body": {"stringValue": "x"}}), "json")


def test_levels_of_old_otlp_are_named_in_a_warning() -> None:
    """instrumentationLibrarySpans went away before OTLP 1.0: zero spans, a warning."""
    body = b'{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[]}]}]}'
    request = read_traces(body, "json")
    assert request.records() == []
    assert "instrumentationLibrarySpans" in request.warnings[0]
    old = length_field(1, length_field(1000, b""))
    assert "instrumentationLibrarySpans" in read_traces(old, "protobuf").warnings[0]


def test_a_malformed_resource_costs_the_records_under_it() -> None:
    """Each of them is refused, so that the counts are true; other resources are not touched."""
    body = {
        "resourceSpans": [
            {"resource": "host-1", "scopeSpans": [{"spans": [json_span(), json_span()]}]},
            {"scopeSpans": [{"scope": 5, "spans": [json_span()]}, {"spans": "x"}]},
            {"scopeSpans": 7},
            "x",
            _neighbour(),
        ]
    }
    *refused, good = read_traces(orjson.dumps(body), "json").records()
    assert [record.reason for record in refused] == ["malformed_resource"] * 6
    assert good.name == "GET /"


# --- protobuf -------------------------------------------------------------------------------------------------------


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


# --- depth ----------------------------------------------------------------------------------------------------------


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
    assert _read_span(attributes=[{"key": "k", "value": text}]) == found
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


# --- answers --------------------------------------------------------------------------------------------------------


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
