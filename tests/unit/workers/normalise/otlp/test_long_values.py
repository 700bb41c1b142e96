"""One long value costs no other, and one resource none beside it."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from tests.unit.otlp_encoding import (
    JSON,
    PROTOBUF,
    json_logs,
    json_span,
    json_traces,
    logs_of,
    put,
    span,
    spans_of,
    traces,
)
from workers.normalise.otlp.body import normalise_logs, normalise_spans
from workers.normalise.otlp.values import MAX_RECORD_LENGTH, MAX_SHARED_BYTES
from workers.normalise.size_limits import Cuts, fit, shares, smallest

LONG = "x" * 1_300_000
SMALL = {"gen_ai.usage.input_tokens": 12, "error.type": "timeout", "user.id": "u1", "ok": True, "ratio": 0.5}
ORDERS = list(itertools.permutations(range(3)))


def in_order(order: tuple[int, ...]) -> dict[str, Any]:
    """Two long values and the small ones, in some order."""
    parts = [{"gen_ai.input.messages": LONG}, SMALL, {"gen_ai.output.messages": LONG}]
    return {key: value for place in order for key, value in parts[place].items()}


def check_small(row: dict[str, Any]) -> None:
    assert row["attributes_int"]["gen_ai.usage.input_tokens"] == 12
    assert row["attributes_string"]["error.type"] == "timeout"
    assert row["attributes_string"]["user.id"] == "u1"
    assert row["attributes_bool"]["ok"] is True
    assert row["attributes_double"]["ratio"] == 0.5


@pytest.mark.parametrize("order", ORDERS)
def test_long_attributes_of_a_span_are_cut_alone(order: tuple[int, ...]) -> None:
    """Whatever order they come in; counted, named and said in the answer."""
    sent = span()
    put(sent.attributes, in_order(order))
    verdict = normalise_spans(PROTOBUF, traces(sent).SerializeToString())
    (row,) = spans_of(verdict)
    check_small(row)
    for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
        assert len(row["attributes_string"][key]) > 100_000
    assert len(row["payload"]) <= MAX_RECORD_LENGTH
    assert row["dropped_attributes_count"] == 2
    assert {"record_truncated", "cut:gen_ai.input.messages", "cut:gen_ai.output.messages"} == set(row["repairs"])
    assert verdict.rejections == []
    assert "1 span(s) had more than 1048576 characters and were cut" in verdict.warning
    assert "gen_ai.input.messages" in verdict.warning


@pytest.mark.parametrize("order", ORDERS)
def test_a_long_member_of_a_log_body_is_cut_alone(order: tuple[int, ...]) -> None:
    """Beside long attributes, too."""
    members = in_order(order)
    body = {"kvlistValue": {"values": [{"key": key, "value": value_of(value)} for key, value in members.items()]}}
    attributes = [{"key": key, "value": value_of(value)} for key, value in members.items()]
    verdict = normalise_logs(JSON, json_logs({"body": body, "attributes": attributes}))
    (row,) = logs_of(verdict)
    check_small(row)
    found = orjson.loads(row["body"])
    assert {key: found[key] for key in SMALL} == SMALL
    assert row["dropped_attributes_count"] == 4
    assert "1 log record(s) had more than" in verdict.warning


def value_of(value: Any) -> dict[str, Any]:
    """A scalar as an AnyValue of OTLP/JSON."""
    kind = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}[type(value)]
    return {kind: value}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_long_event_costs_no_other(is_first: bool) -> None:
    """Nor do long events cost attributes; what has no room at all is counted."""
    sent = span()
    put(sent.attributes, SMALL)
    texts = [LONG, "short"] if is_first else ["short", LONG]
    for text in texts:
        put(sent.events.add(name="exception").attributes, {"exception.stacktrace": text, "exception.type": "E"})
    put(sent.links.add(trace_id=b"1" * 16, span_id=b"1" * 8).attributes, {"k": "v"})
    (row,) = spans_of(normalise_spans(PROTOBUF, traces(sent).SerializeToString()))
    check_small(row)
    events = orjson.loads(row["span_events"])
    assert [event["attributes"]["exception.type"] for event in events] == ["E", "E"]
    assert events[texts.index("short")]["attributes"]["exception.stacktrace"] == "short"
    assert row["span_links"]
    assert "cut:events" in row["repairs"]
    assert row["dropped_events_count"] == 0


def test_a_long_value_among_very_many_small_ones() -> None:
    """More keys than there is room for: as many small ones as fit, and the others are counted."""
    sent = {f"key-{n:06d}-{'k' * 40}": "v" * 40 for n in range(20_000)} | {"a": LONG}
    found, cuts = (Cuts(), Cuts())
    kept = fit(sent, 500_000, cuts)
    assert 3_000 < len(kept) < 20_000
    assert {value for key, value in kept.items() if key != "a"} == {"v" * 40}
    assert cuts.count == len(sent) - len(kept.keys() - {"a"})
    assert len(orjson.dumps(kept)) <= 520_000
    assert fit({"a": 1}, 500, found) == {"a": 1}
    assert found.count == 0


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [
        ([10, 20, 30], 100, [10, 20, 30]),
        ([1000, 10, 1000], 210, [100, 10, 100]),
        ([1000, 1000, 10], 100, [45, 45, 10]),
        ([10, 10], 0, [0, 0]),
        ([], 10, []),
    ],
)
def test_small_sizes_get_all_they_need(sizes: list[int], budget: int, expected: list[int]) -> None:
    """The large ones share the rest."""
    assert shares(sizes, budget, smallest(budget)) == expected


JAVA = {"process.command_args": "x" * 9_000, "process.pid": 1, "service.name": "till", "telemetry.sdk.language": "java"}


def body(*blocks: tuple[dict[str, Any], int]) -> bytes:
    """A request with so many spans under each of these resources."""
    request = traces()
    del request.resource_spans[:]
    ids = itertools.count(1)
    for resource, count in blocks:
        block = request.resource_spans.add()
        put(block.resource.attributes, resource)
        block.scope_spans.add().spans.extend(span(span_id=next(ids).to_bytes(8, "big")) for _ in range(count))
    return request.SerializeToString()


def test_services_keep_their_names_under_a_long_resource() -> None:
    """8,192 spans of a Java agent, whose long attribute sorts before the name of its service."""
    verdict = normalise_spans(PROTOBUF, body((JAVA, 8192)))
    rows = spans_of(verdict)
    assert {row["service_name"] for row in rows} == {"till"}
    assert {row["resource"]["telemetry.sdk.language"] for row in rows} == {"java"}
    assert sum(len(str(row["resource"])) for row in rows) < MAX_SHARED_BYTES * 1.1
    assert rows[0]["repairs"] == ["resource_truncated", "cut:process.command_args"]
    assert "long resource or scope attributes were cut" in verdict.warning


@pytest.mark.parametrize("is_first", [True, False])
def test_a_long_resource_is_measured_by_its_own_records(is_first: bool) -> None:
    """One span of it among thousands of another service is stored whole, and so are they."""
    blocks = [(JAVA, 1), ({"service.name": "other", "a": "b" * 500}, 8191)]
    rows = spans_of(normalise_spans(PROTOBUF, body(*(blocks if is_first else blocks[::-1]))))
    (java,) = (row for row in rows if row["service_name"] == "till")
    assert len(java["resource"]["process.command_args"]) == 9_000
    assert {row["resource"]["a"] for row in rows if row is not java} == {"b" * 500}
    assert not any(row["repairs"] for row in rows)


def test_a_resource_that_is_copied_too_often_harms_nobody_beside_it() -> None:
    """It is cut; the small one is not, nor the one with few records."""
    rows = spans_of(normalise_spans(PROTOBUF, body((JAVA, 9000), ({"service.name": "b", "x": "y" * 2_000}, 900))))
    assert {row["resource"]["x"] for row in rows if row["service_name"] == "b"} == {"y" * 2_000}
    assert sum(row["service_name"] == "till" for row in rows) == 9000


def test_columns_of_a_resource_come_before_other_service_attributes() -> None:
    """Thousands of service.* keys do not cost the name, nor do they take more than the limit."""
    many = {f"service.a{n:05d}": "v" * 30 for n in range(3_000)} | {"service.name": "till", "host.name": "h1"}
    rows = spans_of(normalise_spans(PROTOBUF, body((many, 5_000))))
    assert {(row["service_name"], row["resource"]["host.name"]) for row in rows} == {("till", "h1")}
    assert len(str(rows[0]["resource"])) < 30_000


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_long_value_is_cut_alike_in_both_encodings(order: tuple[int, int]) -> None:
    """Compiled readers and careful ones end up with the same row."""
    parts = [{"long": LONG}, {"small": "s"}]
    members = {key: value for place in order for key, value in parts[place].items()}
    sent = span()
    put(sent.attributes, members)
    attributes = [{"key": key, "value": value_of(value)} for key, value in members.items()]
    (proto,) = spans_of(normalise_spans(PROTOBUF, traces(sent).SerializeToString()))
    (plain,) = spans_of(normalise_spans(JSON, json_traces(json_span(attributes=attributes))))
    assert proto["attributes_string"] == plain["attributes_string"]
    assert proto["attributes_string"]["small"] == "s"
