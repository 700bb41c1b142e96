"""Sentry transactions: one row for it, one per span, and a bad span costs itself alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND, row_id
from workers.normalise.sentry import transaction
from workers.normalise.verdict import Verdict

EXAMPLE = Path(__file__).parents[4] / "examples" / "sentry" / "transaction.json"
NOW_NS = 1_795_272_366 * NANOS_PER_SECOND
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"
SPAN = "a7cb0ac040c271b8"


def verdict(payload: dict[str, Any], header: bytes = b"{}") -> Verdict:
    origin = Origin("acme", 42, "k1", "production", False, NOW_NS, origin_id="raw-1", origin_seq=7)
    return transaction.normalise(origin, write_single(header, {"type": "transaction"}, orjson.dumps(payload)))


def rows(payload: dict[str, Any], header: bytes = b"{}") -> list[dict[str, Any]]:
    return [dict(zip(transaction.COLUMNS, row, strict=True)) for row in verdict(payload, header).rows]


def minimal(**changes: Any) -> dict[str, Any]:
    end = NOW_NS // NANOS_PER_SECOND - 1
    trace = {"trace": {"trace_id": TRACE, "span_id": SPAN}}
    return {"start_timestamp": end - 2, "timestamp": end, "contexts": trace, **changes}


def child(**changes: Any) -> dict[str, Any]:
    end = NOW_NS // NANOS_PER_SECOND - 1
    return {
        "trace_id": TRACE,
        "span_id": "1000000000000001",
        "start_timestamp": end - 1.5,
        "timestamp": end - 1,
        **changes,
    }


def test_transaction_and_its_spans_are_rows() -> None:
    """Names, times, ids, status and attributes of the transaction and of both good spans."""
    root, query, call = rows(orjson.loads(EXAMPLE.read_bytes()))
    assert (root["item_type"], root["event_type"]) == ("transaction", "app.span")
    assert root["event_id"] == 0x26E31E9CC7B74AD0B11D3A8A265B9E38
    assert root["name"] == "/users/*/orders/*"
    assert root["timestamp"] == 1_795_272_360 * NANOS_PER_SECOND
    assert root["duration_ns"] == 2_500_000_000
    assert (root["status"], root["span_op"], root["parent_span_id"]) == ("ok", "http.server", "b7cb0ac040c271b8")
    assert (root["severity_number"], root["user_id"]) == (9, "ann@example.com")
    assert root["attributes_double"] == {"measurement.lcp": 812.0, "measurement.cls": 0.01}
    assert root["attributes_string"]["sentry.transaction.source"] == "sanitized"
    assert root["repairs"] == ["transaction_name_parameterised", "measurement_invalid"]

    assert (query["item_type"], query["name"], query["span_op"], query["status"]) == ("span", "SELECT 1", "db", "ok")
    assert query["event_id"] == row_id("sentry.span", 42, TRACE, "1000000000000001")
    assert query["duration_ns"] == 250_000_000
    assert query["attributes_int"] == {"rows": 3}
    assert query["attributes_bool"] == {"cached": False}
    assert query["resource"] == root["resource"]
    assert orjson.loads(query["payload"])["description"] == "SELECT 1"

    assert (call["name"], call["span_op"], call["status"], call["status_message"]) == (
        "http", "http", "error", "deadline_exceeded",
    )  # fmt: skip
    assert call["timestamp"] + call["duration_ns"] == root["timestamp"] + root["duration_ns"]
    assert call["repairs"] == ["span_end_missing"]


def test_bad_spans_cost_themselves_alone() -> None:
    """One accepted transaction; each span without ids, or ending before it began, is a rejection with its index."""
    found = verdict(orjson.loads(EXAMPLE.read_bytes()))
    assert found.accepted == 1
    assert [(one.index, one.reason) for one in found.rejections] == [
        (2, "end_before_start"),
        (3, "invalid_trace_id"),
        (4, "invalid_span"),
    ]
    assert "spans[3].trace_id" in found.rejections[1].detail


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"contexts": None}, "invalid_trace_id"),
        ({"contexts": {"trace": {"trace_id": "0" * 32, "span_id": SPAN}}}, "invalid_trace_id"),
        ({"contexts": {"trace": {"trace_id": TRACE, "span_id": "0" * 16}}}, "invalid_span_id"),
        ({"contexts": {"trace": {"trace_id": TRACE, "span_id": 7}}}, "invalid_span_id"),
        ({"start_timestamp": None}, "invalid_start_timestamp"),
        ({"timestamp": "soon"}, "invalid_end_timestamp"),
        ({"start_timestamp": 2_000_000_000}, "end_before_start"),
    ],
)
def test_transaction_without_ids_or_times_is_rejected_by_name(changes: dict[str, Any], reason: str) -> None:
    """There is nothing to hang its spans on."""
    found = verdict(minimal(**changes))
    assert (found.accepted, found.rows, [one.reason for one in found.rejections]) == (0, [], [reason])


def test_unnamed_transaction_has_sentrys_name_and_default_op() -> None:
    """Absent fields take the defaults of the protocol."""
    (found,) = rows(minimal())
    assert (found["name"], found["span_op"]) == ("<unlabeled transaction>", "default")
    assert (found["status"], found["status_message"], found["span_kind"]) == ("unset", "", "unspecified")


@pytest.mark.parametrize(
    ("sent", "stored", "message"),
    [
        ("ok", "ok", ""), ("success", "ok", ""), ("failure", "error", "internal_error"), (0, "ok", ""),
        ("unknown_error", "error", "internal_error"), (13, "error", "internal_error"), ("5", "error", "not_found"),
        ("error", "error", ""), ("cancelled", "unset", "cancelled"), ("canceled", "unset", "cancelled"),
        ("unknown", "unset", "unknown"), ("odd", "unset", "unknown"), ({}, "unset", "unknown"), (None, "unset", ""),
    ],
)  # fmt: skip
def test_status_names_aliases_and_numbers(sent: Any, stored: str, message: str) -> None:
    """All 17 statuses, their aliases and gRPC numbers: OpenTelemetry's code, and Sentry's own word as its message."""
    (_, span) = rows(minimal(spans=[child(status=sent)]))
    assert (span["status"], span["status_message"]) == (stored, message)


@pytest.mark.parametrize(
    ("sent", "kind"),
    [("SERVER", "server"), ("SPAN_KIND_CLIENT", "client"), ("consumer", "consumer"), ("odd", "unspecified"),
     (7, "unspecified"), (None, "unspecified")],
)  # fmt: skip
def test_kinds_are_opentelemetrys_words(sent: Any, kind: str) -> None:
    """What is none of them was not said."""
    (_, span) = rows(minimal(spans=[child(data={"otel.kind": sent})]))
    assert span["span_kind"] == kind


def test_clock_drift_moves_the_whole_tree() -> None:
    """Transaction and spans keep their distance."""
    payload = minimal(start_timestamp=1000, timestamp=1002, spans=[child(start_timestamp=1001, timestamp=1001.5)])
    root, span = rows(payload, b'{"sent_at":"1970-01-01T00:16:42Z"}')
    assert root["timestamp"] == NOW_NS - 2 * NANOS_PER_SECOND
    assert span["timestamp"] == NOW_NS - NANOS_PER_SECOND
    assert root["original_timestamp_ns"] == 1000 * NANOS_PER_SECOND
    assert root["repairs"] == span["repairs"] == ["clock_drift"]


def test_transaction_from_the_future_moves_with_its_spans() -> None:
    """It ends when it was received, and its spans keep their distance and their length."""
    day = NANOS_PER_DAY // NANOS_PER_SECOND
    end = NOW_NS // NANOS_PER_SECOND + day
    payload = minimal(
        start_timestamp=end - 2, timestamp=end, spans=[child(start_timestamp=end - 1.5, timestamp=end - 1)]
    )
    root, span = rows(payload)
    assert root["timestamp"] == NOW_NS - 2 * NANOS_PER_SECOND
    assert span["timestamp"] - root["timestamp"] == 500_000_000
    assert (root["duration_ns"], span["duration_ns"]) == (2 * NANOS_PER_SECOND, 500_000_000)
    assert (root["repairs"], span["repairs"]) == (["timestamp_future"], ["moved_with_transaction"])


NOW_S = NOW_NS // NANOS_PER_SECOND


@pytest.mark.parametrize(
    ("start", "end", "timestamp_ns", "duration_ns", "repairs"),
    [
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", NOW_NS, 0, ["timestamp_future", "start_impossible"]),
        (NOW_S - 5, 253_402_300_799, NOW_NS - 5 * NANOS_PER_SECOND, 0, ["end_impossible"]),
        (0, NOW_S - 1, NOW_NS - NANOS_PER_SECOND, 0, ["start_impossible"]),
        (-62_135_596_800, NOW_S - 1, NOW_NS - NANOS_PER_SECOND, 0, ["start_impossible"]),
        (3, 5, NOW_NS, 2 * NANOS_PER_SECOND, ["timestamp_impossible"]),
    ],
)
def test_a_time_that_cannot_be_costs_itself_alone(
    start: Any, end: Any, timestamp_ns: int, duration_ns: int, repairs: list[str]
) -> None:
    """Of a transaction and of its spans: no duration of centuries, and a good start stays."""
    (found,) = rows(minimal(start_timestamp=start, timestamp=end))
    assert (found["timestamp"], found["duration_ns"], found["repairs"]) == (timestamp_ns, duration_ns, repairs)
    whole = minimal(start_timestamp=NOW_S - 9, timestamp=NOW_S, spans=[child(start_timestamp=start, timestamp=end)])
    root, span = rows(whole)
    assert (span["timestamp"], span["duration_ns"], span["repairs"]) == (timestamp_ns, duration_ns, repairs)
    assert (root["timestamp"], root["repairs"]) == (NOW_NS - 9 * NANOS_PER_SECOND, [])


def test_links_without_ids_are_dropped_and_named() -> None:
    """A bad link does not cost the span."""
    good = {"trace_id": TRACE, "span_id": SPAN, "attributes": {"a": {"value": 1, "type": "integer"}}}
    (_, span) = rows(minimal(spans=[child(links=[good, {"trace_id": "x"}, None])]))
    assert orjson.loads(span["span_links"]) == [{"trace_id": TRACE, "span_id": SPAN, "attributes": {"a": 1}}]
    assert span["repairs"] == ["link_dropped"]
