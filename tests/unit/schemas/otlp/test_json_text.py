"""OTLP/JSON bodies: text that a strict parser refuses, and requests that are none."""

from __future__ import annotations

import math

import orjson
import pytest

from schemas.otlp.http_bodies import OtlpError, read_logs, read_traces
from schemas.otlp.protobuf_wire import length_field
from tests.unit.otlp_encoding import (
    as_json,
    json_logs,
    json_span,
    json_traces,
    neighbour,
    put,
    read_span,
    span,
    traces,
)


def test_a_lone_surrogate_costs_one_string() -> None:
    """A strict parser refuses the whole body; here the neighbours do not even notice."""
    body = json_traces(json_span(name="CUT"), json_span()).replace(b"CUT", b"a\\ud800b")
    bad, good = read_traces(body, "json").records()
    assert (bad.name, bad.flaws) == ("a\ufffdb", ("invalid_utf8",))
    assert good == read_span()


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
    assert read_traces(prefix + json_traces(json_span()), "json").records() == [read_span()]


def test_numbers_beyond_a_double_are_kept_as_infinity() -> None:
    """1e400 makes a strict parser refuse the body."""
    body = json_traces(json_span(attributes=[{"key": "k", "value": {"doubleValue": 4711}}])).replace(b"4711", b"1e400")
    assert read_traces(body, "json").records()[0].attributes["k"] == math.inf


def test_nul_characters_pass() -> None:
    """U+0000 is a character like any other."""
    assert read_span(name="a\0b").name == "a\0b"


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
            neighbour(),
        ]
    }
    *refused, good = read_traces(orjson.dumps(body), "json").records()
    assert [record.reason for record in refused] == ["malformed_resource"] * 6
    assert good.name == "GET /"
