"""OTLP/JSON: every way members and values are sent in the field, and what each of them costs."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from schemas.otlp.http_bodies import read_traces
from schemas.otlp.records import Malformed, NonFinite
from tests.unit.otlp_encoding import (
    SPAN_ID,
    TRACE_ID,
    json_span,
    json_traces,
    put,
    read_span,
    span,
    traces,
)


def _read_value(value: Any) -> tuple[Any, tuple[str, ...]]:
    """(what an AnyValue in JSON is read as, the flaws named)."""
    found = read_span(attributes=[{"key": "k", "value": value}])
    return (found, ()) if isinstance(found, Malformed) else (found.attributes["k"], found.flaws)


def test_base64_ids_are_told_by_their_length() -> None:
    """A plain protobuf-to-JSON printer's ids are repaired: no id in hex has 24 or 12 digits."""
    found = read_span(traceId="W47/95gDgQPSabYzgT/GDA==", spanId="7uGbfsPBsXQ=", parentSpanId="7uGbfsPBsXQ=")
    assert (found.trace_id, found.span_id, found.parent_span_id) == (TRACE_ID, SPAN_ID, SPAN_ID)
    assert found.flaws == ("parent_span_id_base64", "span_id_base64", "trace_id_base64")


def test_ids_in_upper_case_are_the_same_ids() -> None:
    """OTLP/JSON ids are case-insensitive."""
    assert read_span(traceId=TRACE_ID.upper()).trace_id == TRACE_ID


@pytest.mark.parametrize(
    ("kind", "code", "expected", "flaws"),
    [
        (2, 1, (2, 1), ()),
        ("SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", (3, 2), ("enum_name",)),
        ("3", "2", (3, 2), ()),
        (99, 7, (99, 7), ()),
        ("SERVER", "ERROR", (2, 2), ("enum_name",)),
        (" consumer", "Ok", (5, 1), ("enum_name",)),
        ("internal", "UNSET", (1, 0), ("enum_name",)),
        ("", "", (0, 0), ("enum_unknown",)),
        (2**31 - 1, -(2**31), (2**31 - 1, -(2**31)), ()),
        (2**31, -(2**31), (0, -(2**31)), ("enum_unknown",)),
        (2**31 - 1, -(2**31) - 1, (2**31 - 1, 0), ("enum_unknown",)),
        (None, None, (0, 0), ()),
    ],
)
def test_enums_are_numbers_or_names(kind: Any, code: Any, expected: tuple[int, int], flaws: tuple[str, ...]) -> None:
    """Names are repaired, with their prefix or without, and unknown numbers survive: none of them costs the span."""
    found = read_span(kind=kind, status={"code": code})
    assert (found.kind, found.status_code) == expected
    assert found.flaws == flaws


@pytest.mark.parametrize("members", [{"kind": "SPAN_KIND_ROBOT"}, {"status": {"code": "FAILED"}}])
def test_a_word_that_is_no_enum_refuses_its_span(members: dict[str, Any]) -> None:
    """It is not turned into `unset`: the answer names what is expected."""
    sent = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": TRACE_ID, "spanId": SPAN_ID, **members}]}]}]}
    (refused,) = read_traces(orjson.dumps(sent), "json").records()
    assert isinstance(refused, Malformed)
    assert "expected a number or one of" in refused.detail


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
    assert read_span(**nulls) == read_span()
    body = {
        "resourceSpans": [
            {"resource": None, "schemaUrl": None, "scopeSpans": [{"scope": None, "spans": [json_span()]}]}
        ]
    }
    assert read_traces(orjson.dumps(body), "json").records() == [read_span()]


def test_a_null_in_a_list_of_records_is_a_refused_record() -> None:
    """An exporter that lost a record says null: dropped without a word, its number would be wrong."""
    body = {"resourceSpans": [None, {"scopeSpans": [None, {"spans": [None, json_span()]}]}]}
    *refused, good = read_traces(orjson.dumps(body), "json").records()
    assert [one.reason for one in refused] == ["malformed_resource", "malformed_resource", "malformed_record"]
    assert good == read_span()


def test_a_null_inside_of_a_record_is_named() -> None:
    """It costs itself alone."""
    lists = {"attributes": [None], "events": [None], "links": [None]}
    assert read_span(**lists) == read_span(attributes=[])._replace(flaws=("null_dropped",))


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
    assert read_span(trace_id="ff").trace_id == TRACE_ID


def test_unknown_members_are_ignored_on_every_level() -> None:
    """The spec's MUST."""
    odd = {"unheardOf": {"deep": [1]}}
    body = {
        "resourceSpans": [{**odd, "resource": odd, "scopeSpans": [{**odd, "scope": odd, "spans": [json_span(**odd)]}]}],
        **odd,
    }
    assert read_traces(orjson.dumps(body), "json").records() == [read_span()]


def test_of_duplicate_keys_the_last_counts() -> None:
    """JSON members as attributes, in JSON as in protobuf."""
    body = json_traces(json_span()).replace(b'"name":"GET /"', b'"name":"a","name":"b"')
    assert read_traces(body, "json").records()[0].name == "b"
    twice = [{"key": "k", "value": {"stringValue": "a"}}, {"key": "k", "value": {"intValue": "2"}}]
    found = read_span(attributes=twice)
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
    found = read_span(startTimeUnixNano=value)
    assert (found.start_ns, found.flaws) == (expected, flaws)
