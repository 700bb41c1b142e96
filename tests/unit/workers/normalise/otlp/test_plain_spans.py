"""The fast ways of spans, in C and in Python, column by column: what they make is what the careful way makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.otlp import protobuf_records
from schemas.otlp.http_bodies import Encoding
from schemas.otlp.protobuf_wire import length_field
from tests.fuzz import bench
from tests.fuzz.targets import TABLE
from tests.fuzz.twins import Twins, read_by, said
from tests.unit.otlp_encoding import JSON, as_json, json_span, json_traces, put, span, traces
from workers.normalise.otlp import plain_spans

SECOND = 1_000_000_000

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
_scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | _text
_values = _scalars | st.lists(_scalars, max_size=2) | st.binary(max_size=3)
_ids = st.sampled_from([b"\x01" * 16, b"\x02" * 8, b"", b"\0" * 16])


@contextmanager
def careful_only() -> Iterator[None]:
    """With neither fast way: every span is read and made into a row by itself."""
    with read_by(None), pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_spans, "rows", lambda *_: None)
        patch.setattr(protobuf_records, "plain_spans", lambda chunks, _: (([],) * 16, list(range(len(chunks)))))
        yield


def check_ways(compiled: Twins, encoding: Encoding, body: bytes) -> str:
    """All ways say the same."""
    with careful_only():
        careful = said(encoding, body)
    for twins in (None, compiled):
        with read_by(twins):
            assert said(encoding, body) == careful
    return careful


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.dictionaries(_text, _values, max_size=3), _text, _ids, st.integers(-2, 30), st.booleans()),
        max_size=3,
    ),
    st.integers(0, 2**64 - 1) | st.just(JSON.received_at_ns),
)
def test_every_way_makes_the_same_rows(compiled: Twins, sent: list[Any], start: int) -> None:
    """Of any spans, in both encodings, plain ones and others in one scope."""
    spans = []
    for attributes, name, parent_id, kind, has_event in sent:
        one = span(start_time_unix_nano=start, end_time_unix_nano=start, kind=kind, name=name, parent_span_id=parent_id)
        put(one.attributes, attributes)
        one.status.message = name
        if has_event:
            one.events.add(name="exception")
        spans.append(one)
    request = traces(*spans, resource={"service.name": "till"})
    check_ways(compiled, "protobuf", request.SerializeToString())
    check_ways(compiled, "json", as_json(request))


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_every_way_says_the_same_of_mutated_bodies(compiled: Twins, encoding: Encoding) -> None:
    """Rows, refusals and reasons of what the fuzzer makes of real exports."""
    target = TABLE[f"otlp-{encoding}-traces"]
    bodies = [sample.body for sample in target.corpus()] + [bench.input_of(target, 11, index) for index in range(400)]
    verdicts = [check_ways(compiled, encoding, body) for body in bodies]
    assert sum(not verdict.startswith("Invalid") for verdict in verdicts) > 50


def test_plain_bodies_take_the_fast_way(compiled: Twins) -> None:
    """Else the tests above would compare the careful way with itself."""
    one = span(start_time_unix_nano=JSON.received_at_ns, end_time_unix_nano=JSON.received_at_ns + SECOND)
    put(one.attributes, {"a": "text", "b": 7, "c": 0.5, "d": True})
    columns, odd = compiled.messages([one.SerializeToString()])
    assert not odd
    assert columns[9] == [{"a": "text", "b": 7, "c": 0.5, "d": True}]
    assert columns[15] == [({"a": "text"}, {"b": 7}, {"c": 0.5}, {"d": True})]
    read = compiled.text(as_json(traces(one)), False)
    assert read
    pieces, ((found, rest),) = read
    assert orjson.loads(b"".join(pieces))["resourceSpans"][0]["scopeSpans"][0]["spans"] == 0
    assert not rest
    assert compiled.messages(found) == (columns, [])


def _with_attribute(attribute: bytes) -> Callable[[bytes], bytes]:
    return lambda text: text.replace(b'"attributes":[', b'"attributes":[' + attribute + b",")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"name"', b'"n\\u0061me"'),
        lambda text: text.replace(b'"GET /"', b'"GET \\"\\u00e9\\" /"'),
        lambda text: text.replace(b'"GET /"', b'"\\ud800"'),
        lambda text: text.replace(b'"GET /"', b'"\xff"'),
        lambda text: text.replace(b'"spans":[', b'"spans":[null,'),
        lambda text: text.replace(b'"spans":[', b'"spans":[7,'),
        lambda text: text.replace(b'"spans":[', b'"spans":[],"spans":['),
        lambda text: text.replace(b'"spans":[', b'"spans":0,"other":['),
        lambda text: text.replace(b'"scopeSpans"', b'"scope_spans"'),
        lambda text: text.replace(b'"traceId"', b'"trace_id"'),
        lambda text: text.replace(b"{", b" {\r\n\t").replace(b"]", b" ]"),
        lambda text: text.replace(b'"kind":2', b'"kind":"SPAN_KIND_SERVER"'),
        lambda text: text.replace(b'"kind":2', b'"kind":02'),
        lambda text: text.replace(b'"kind":2', b'"kind":2.0'),
        lambda text: text.replace(b'"kind":2', b'"kind":2,"kind":3'),
        _with_attribute(b'{"key":"k","value":{"doubleValue":1e400}}'),
        _with_attribute(b'{"key":"k","value":{"doubleValue":-0}}'),
        lambda text: text.replace(
            b'"attributes":[', b'"attributes":[{"key":"k","value":{"doubleValue":12345678901234567890}},'
        ),
        _with_attribute(b'{"key":"k","value":{"intValue":"-007"}}'),
        _with_attribute(b'{"value":{"intValue":7},"key":"k"}'),
        lambda text: text + b"x",
        lambda text: text[:-1],
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"resourceSpans", b"resourceLogs"),
    ],
)
def test_odd_json_is_read_as_before(compiled: Twins, change: Callable[[bytes], bytes]) -> None:
    """What the strict reader in C must leave to the others."""
    body = json_traces(json_span(kind=2, attributes=[{"key": "a", "value": {"stringValue": "b"}}]))
    assert change(body) != body
    check_ways(compiled, "json", change(body))


def test_every_prefix_of_a_body_is_read_as_before(compiled: Twins) -> None:
    """Nothing is read behind the end of what there is."""
    one = span(flags=256, trace_state="a=b")
    put(one.attributes, {"a": "text", "b": 7, "c": 0.5, "d": True})
    raw = one.SerializeToString()
    for size in range(len(raw)):
        check_ways(compiled, "protobuf", length_field(1, length_field(2, length_field(2, raw[:size]) * 2)))
    text = as_json(traces(one))
    for size in range(len(text)):
        check_ways(compiled, "json", text[:size])
