"""OTLP rows from anything: equal from both encodings, and Invalid at worst."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.unit.otlp_encoding import (
    JSON,
    PROTOBUF,
    any_value,
    as_json,
    logs,
    put,
    span,
    spans_of,
    traces,
)
from workers.normalise.otlp.body import LOG_COLUMNS, SPAN_COLUMNS, normalise_logs, normalise_spans
from workers.normalise.verdict import Invalid

EXAMPLES = Path(__file__).parents[4] / "examples" / "otlp"


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
        for text in (row["name"], *row["attributes_string"], *row["attributes_string"].values()):
            assert text.encode().decode() == text
        assert 0 <= row["duration_ns"] < 2**64
        assert 0 <= row["original_timestamp_ns"] < 2**64
        assert all(-(2**63) <= value < 2**63 for value in row["attributes_int"].values())


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_examples_are_read_without_a_repair(example: Path) -> None:
    """The spec's own kind of request, one file per signal: as they stand they are whole."""
    normalise, columns = (normalise_spans, SPAN_COLUMNS) if "span" in example.stem else (normalise_logs, LOG_COLUMNS)
    verdict = normalise(replace(JSON, received_at_ns=1_763_700_000_000_000_000), example.read_bytes())
    assert verdict.rows
    assert verdict.rejections == []
    assert [row[columns.index("repairs")] for row in verdict.rows] == [[]] * len(verdict.rows)
