"""OTLP verdicts: what is refused, what is repaired and named, what is cut."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.rows import NANOS_PER_DAY
from tests.unit.otlp_encoding import (
    JSON,
    PROTOBUF,
    RECEIVED_AT_NS,
    SPAN_ID,
    TRACE_ID,
    json_logs,
    json_span,
    json_span_row,
    json_traces,
    log_row,
    logs_of,
    put,
    span,
    span_row,
    spans_of,
    traces,
)
from workers.normalise.otlp.body import normalise_logs, normalise_spans
from workers.normalise.otlp.values import MAX_RECORD_LENGTH


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


def test_a_huge_record_is_cut_and_says_so() -> None:
    """Body and attributes alike; cut, not refused."""
    huge = "é\0" * (MAX_RECORD_LENGTH // 5)
    row = log_row(body={"stringValue": huge}, attributes=[{"key": "k", "value": {"stringValue": huge}}], eventName=huge)
    assert len(row["payload"]) <= MAX_RECORD_LENGTH
    assert row["repairs"] == ["record_truncated", "cut:event_name", "cut:body", "cut:k"]
    assert row["dropped_attributes_count"] == 3
    assert huge.startswith(row["body"])
    assert row["body"]
    sent = span(name=huge)
    put(sent.attributes, {"list": [huge, huge], "after": "kept"})
    put(sent.events.add(name="exception").attributes, {"exception.stacktrace": huge})
    found = span_row(sent)
    assert len(found["payload"]) <= MAX_RECORD_LENGTH
    assert found["repairs"] == ["record_truncated", "cut:name", "cut:list", "cut:events"]
    assert found["attributes_string"]["after"] == "kept"


def test_a_huge_resource_is_not_multiplied() -> None:
    """It is stored with each row, so what many rows may hold of it is bounded."""
    body = traces(
        *(span(span_id=bytes(6) + n.to_bytes(2, "big")) for n in range(1, 3000)), resource={"x": "y" * 1_000_000}
    )
    verdict = normalise_spans(PROTOBUF, body.SerializeToString())
    rows = spans_of(verdict)
    assert sum(len(row["resource"]["x"]) for row in rows) < 70_000_000
    assert rows[0]["repairs"] == ["resource_truncated", "cut:x"]
