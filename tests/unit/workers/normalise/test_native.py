"""Native events to rows: columns, names of the conventions, repairs; and that no JSON gets around them."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import native_event
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from tests.unit.workers.normalise.sentry.test_any_json import TEXT_COLUMNS, UNSIGNED_BITS, anything
from workers.normalise.native.event import COLUMNS, normalise
from workers.normalise.verdict import Invalid, Verdict

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"
SPAN = "a7cb0ac040c271b8"
EVENT: dict[str, Any] = {"identifier": "web_search", "payload": {"query": "ships"}, "channel_id": 42}


def origin(**fields: Any) -> Origin:
    base: dict[str, Any] = {
        "organisation": "o",
        "channel_id": 42,
        "key_id": "k",
        "environment": "production",
        "environment_from_event": False,
        "received_at_ns": NOW_NS,
        "origin_id": "m",
        "origin_seq": 7,
    }
    return Origin(**(base | fields))


def normalised(body: Any, **fields: Any) -> Verdict:
    return normalise(origin(**fields), body if isinstance(body, bytes) else json.dumps(body).encode())


def rows(body: Any, **fields: Any) -> list[dict[str, Any]]:
    verdict = normalised(body, **fields)
    assert not verdict.rejections
    return [dict(zip(COLUMNS, row, strict=True)) for row in verdict.rows]


def row(payload: Any = None, **members: Any) -> dict[str, Any]:
    body = EVENT | ({} if payload is None else {"payload": payload}) | members
    (found,) = rows(body)
    return found


def test_an_event_becomes_one_row() -> None:
    """Name, environment and time from what the receiver knows; the body as it came in `payload`."""
    found = row(agentId="researcher", traceId=TRACE.upper(), spanId=SPAN, metadata={"framework": "langchain"})
    assert found["event_id"] == native_event.event_id(42, "m")
    assert (found["event_type"], found["item_type"], found["name"]) == ("custom", "native", "web_search")
    assert (found["timestamp"], found["original_timestamp_ns"]) == (NOW_NS, 0)
    assert (found["trace_id"], found["span_id"], found["parent_span_id"]) == (TRACE, SPAN, "")
    assert json.loads(found["metadata"]) == {"framework": "langchain"}
    assert json.loads(found["payload"])["payload"] == {"query": "ships"}
    assert found["body"] == '{"query":"ships"}'
    assert found["resource"] == {"deployment.environment.name": "production"}
    assert found["attributes_string"] == {"gen_ai.agent.id": "researcher", "gen_ai.agent.name": "researcher"}
    assert found["repairs"] == []


@pytest.mark.parametrize("event_type", sorted(native_event.EVENT_TYPES))
def test_every_event_type_is_kept(event_type: str) -> None:
    """The words of the SDKs are the words of the column."""
    assert row(eventType=event_type)["event_type"] == event_type


def test_a_redelivery_makes_the_same_row() -> None:
    """Nothing but the message decides."""
    assert row(eventType="agent.start") == row(eventType="agent.start")


def test_compressed_bodies_are_read() -> None:
    """As the receiver stores them."""
    body = gzip.compress(json.dumps(EVENT).encode())
    assert rows(body, content_encoding="gzip")[0]["name"] == "web_search"


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ({"body": "a log line", "message": "no"}, "a log line"),
        ({"message": "hello"}, "hello"),
        ({"token": "The"}, "The"),
        ({"content": ["a", 1]}, '["a",1]'),
        ({"error": {"message": "down", "type": "X"}}, "down"),
        ({"body": 5}, "5"),
        ({}, ""),
    ],
)
def test_the_body_is_the_message(payload: dict[str, Any], body: str) -> None:
    """By any of its names; the payload's JSON where there is none."""
    assert row(payload)["body"] == body


# --- ids


def test_a_uuid_is_a_trace_id() -> None:
    """SDKs from 0.0.10 on send one, with hyphens."""
    found = row(traceId=str(UUID(TRACE)))
    assert (found["trace_id"], found["repairs"]) == (TRACE, [])


def test_ids_of_another_kind_are_hashed_and_kept() -> None:
    """Events of one trace still meet, under the id that the SDK gives in `traceparent`; the text is an attribute."""
    trace, span = "tr_0123456789abcdef", "sp_0123456789abcdef_0001"
    found = row(traceId=trace, spanId=span, parentSpanId=SPAN)
    assert found["trace_id"] == hashlib.sha256(trace.encode()).hexdigest()[:32]
    assert found["span_id"] == hashlib.sha256(span.encode()).hexdigest()[:16]
    assert found["parent_span_id"] == SPAN
    assert found["attributes_string"]["axonpush.trace_id"] == trace
    assert found["attributes_string"]["axonpush.span_id"] == span
    assert found["repairs"] == ["trace_id_hashed", "span_id_hashed"]


def test_a_parent_links_to_its_child() -> None:
    """The same text hashes to the same id, whether it stands for a span or for its parent."""
    assert row(spanId="step-1")["span_id"] == row(parentSpanId="step-1")["parent_span_id"]


def test_zeros_are_no_id() -> None:
    """All zeros mean that there is none."""
    found = row(traceId="0" * 32, spanId="0" * 16)
    assert (found["trace_id"], found["span_id"]) == ("", "")
    assert found["repairs"] == ["trace_id_invalid", "span_id_invalid"]


@pytest.mark.parametrize("parent", [17, "17", "2f1c"])
def test_the_parent_event_is_an_attribute(parent: Any) -> None:
    """A number in the first SDKs, text in later ones."""
    assert row(parentEventId=parent)["attributes_string"]["axonpush.parent_event_id"] == str(parent)


# --- what integrations send


def test_a_log_record_has_its_own_time_severity_and_attributes() -> None:
    """The logging integrations send the shape of an OTLP log record."""
    payload = {
        "timeUnixNano": str(NOW_NS - 5),
        "severityNumber": 13,
        "severityText": "WARN",
        "body": "stock is low",
        "attributes": {"code.lineno": 7, "logger.name": "shop", "ok": True, "ratio": 0.5, "nested": {"a": 1}},
        "resource": {"service.name": "shop", "service.version": "1.2.3"},
    }
    found = row(payload, eventType="app.log")
    assert found["timestamp"] == NOW_NS - 5
    assert (found["severity_number"], found["severity_text"], found["body"]) == (13, "WARN", "stock is low")
    assert found["attributes_int"] == {"code.lineno": 7}
    assert found["attributes_bool"]["ok"] is True
    assert found["attributes_double"] == {"ratio": 0.5}
    assert found["attributes_string"] == {"logger.name": "shop", "nested": '{"a":1}'}
    assert found["resource"]["service.name"] == "shop"


def test_a_span_has_duration_kind_and_status() -> None:
    """The OpenTelemetry integration sends the shape of an OTLP span."""
    payload = {
        "startTimeUnixNano": str(NOW_NS - 50),
        "endTimeUnixNano": str(NOW_NS - 20),
        "kind": 3,
        "status": {"code": 2, "message": "refused"},
        "parentSpanId": SPAN,
    }
    found = row(payload, eventType="app.span", traceId=TRACE, spanId="b" * 16)
    assert (found["timestamp"], found["duration_ns"]) == (NOW_NS - 50, 30)
    assert (found["span_kind"], found["status"], found["status_message"]) == ("client", "error", "refused")
    assert found["parent_span_id"] == SPAN


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"eventType": "agent.error"}, (17, "error")),
        ({"eventType": "app.log"}, (9, "info")),
        ({"eventType": "agent.log", "payload": {"level": "WARNING"}}, (13, "warning")),
        ({"eventType": "app.log", "payload": {"severityText": "fatal"}}, (21, "fatal")),
        ({"eventType": "agent.start"}, (0, "")),
        ({"payload": {"level": "debug"}}, (5, "debug")),
    ],
)
def test_severity_is_that_of_the_payload_or_of_the_type(members: dict[str, Any], expected: tuple[int, str]) -> None:
    """OpenTelemetry's numbers."""
    found = row(**members)
    assert (found["severity_number"], found["severity_text"]) == expected


def test_an_error_fills_the_exception_columns() -> None:
    """Which the table computes from these attributes."""
    flat = row({"error": "no route", "error_type": "NetworkError"}, eventType="agent.error")["attributes_string"]
    nested = row({"error": {"type": "NetworkError", "message": "no route", "stack": "at a"}}, eventType="agent.error")[
        "attributes_string"
    ]
    for found in (flat, nested):
        assert (found["exception.type"], found["exception.message"]) == ("NetworkError", "no route")
    assert nested["exception.stacktrace"] == "at a"


def test_agents_tools_models_and_tokens_have_conventional_names() -> None:
    """Semantic conventions for generative AI; what the sender names itself wins."""
    found = row(
        {
            "tool_name": "search",
            "tool_use_id": "t1",
            "model": "m-1",
            "usage": {"prompt_tokens": 11, "output_tokens": 7},
            "thread_id": "c1",
        },
        eventType="agent.tool_call.start",
        agentId="researcher",
        metadata={"gen_ai.prompt.id": "p1", "gen_ai.agent.name": "Ada"},
    )
    strings = found["attributes_string"]
    assert strings["gen_ai.tool.name"] == "search"
    assert strings["gen_ai.tool.call.id"] == "t1"
    assert strings["gen_ai.request.model"] == "m-1"
    assert strings["gen_ai.operation.name"] == "execute_tool"
    assert strings["gen_ai.conversation.id"] == "c1"
    assert (strings["gen_ai.agent.id"], strings["gen_ai.agent.name"]) == ("researcher", "Ada")
    assert strings["gen_ai.prompt.id"] == "p1"
    assert found["attributes_int"] == {"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7}


# --- time


def test_a_given_time_is_kept_within_the_partitions() -> None:
    """`timestamp` in ISO 8601 or seconds; one beyond the range is moved and named."""
    assert row(timestamp="2026-11-21T12:46:05Z")["timestamp"] == 1_795_265_165 * NANOS_PER_SECOND
    found = row(timestamp=10**9)
    assert (found["timestamp"], found["original_timestamp_ns"]) == (NOW_NS - 30 * NANOS_PER_DAY, 10**18)
    assert found["repairs"] == ["timestamp_too_old"]
    unset = row(timestamp=1)
    assert (unset["timestamp"], unset["repairs"]) == (NOW_NS, ["timestamp_impossible"])
    assert row({"timeUnixNano": "soon"}, eventType="app.log")["repairs"] == ["timestamp_invalid"]


# --- metadata


def test_metadata_with_two_members_for_one_path_is_disambiguated() -> None:
    """ClickHouse's JSON type refuses it, and with it every query that reads the row."""
    found = row(metadata={"a.b": 1, "a": {"b": 2, "c": 3}, "l": [{"x.y": 1, "x": {"y": 2}}]})
    assert json.loads(found["metadata"]) == {"a.b": 1, "a": {"c": 3}, "l": [{"x.y": 1, "x": {}}]}
    assert found["repairs"] == ["metadata_path_dropped"]


def test_metadata_without_end_is_left_out() -> None:
    """It still stands in the payload."""
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    found = row(metadata={"deep": deep, "small": 1})
    assert (found["metadata"], found["repairs"]) == ('{"small":1}', ["metadata_left_out"])


@pytest.mark.parametrize("is_first", [True, False])
def test_one_long_member_of_metadata_costs_no_other(is_first: bool) -> None:
    """It is cut and named; all of it stands in the payload."""
    long, small = {"long": "x" * 1_000_001}, {"checkIn": True, "n": 1}
    found = row(metadata=long | small if is_first else small | long)
    kept = json.loads(found["metadata"])
    assert {name: kept[name] for name in small} == small
    assert set(kept["long"]) == {"x"}
    assert len(found["metadata"]) <= 1_000_000
    assert found["repairs"] == ["metadata_cut", "cut:long"]


def test_of_a_resource_with_too_many_keys_what_columns_read_stays() -> None:
    """Wherever it stands, and the cut is named."""
    resource = {f"a{n}": n for n in range(300)} | {"service.name": "till", "telemetry.sdk.name": "x"}
    found = row({"resource": resource})
    assert found["resource"]["service.name"] == "till"
    assert found["resource"]["telemetry.sdk.name"] == "x"
    assert found["repairs"] == ["resource_truncated"]


def test_native_errors_are_issues() -> None:
    """The same error with another number in its message is the same one; another type is another."""
    first, second, other = (
        row({"error": message, "error_type": kind}, eventType="agent.error")["group_hash"]
        for kind, message in (("ToolError", "call 17 failed"), ("ToolError", "call 18 failed"), ("KeyError", "call 1"))
    )
    assert first == second != other
    assert len(first) == 32
    assert row({"error": "call"}, eventType="agent.message")["group_hash"] == ""


# --- batches and refusals


def test_a_batch_makes_a_row_each() -> None:
    """Each with an id of its own; one that is no event is refused alone."""
    body = {"channel_id": "42", "events": [{"identifier": "a", "payload": {}}, 7, {"identifier": "b", "payload": {}}]}
    verdict = normalised(body, resource="batch")
    found = [dict(zip(COLUMNS, one, strict=True)) for one in verdict.rows]
    assert [(one["name"], one["source_ordinal"]) for one in found] == [("a", 0), ("b", 2)]
    assert [one["event_id"] for one in found] == [native_event.event_id(42, "m", ordinal) for ordinal in (0, 2)]
    assert json.loads(found[1]["payload"]) == {"identifier": "b", "payload": {}}
    ((index, reason, detail),) = [(one.index, one.reason, one.detail) for one in verdict.rejections]
    assert (index, reason) == (1, "not_an_object")
    assert "events[1]" in detail
    assert verdict.accepted == 2


def test_what_is_no_event_is_rejected_by_name() -> None:
    """The receiver refuses it first; nothing relies on that."""
    verdict = normalised({"identifier": "a"})
    assert (verdict.rows, verdict.accepted, verdict.rejections[0].reason) == ([], 0, "payload_invalid")


@pytest.mark.parametrize("identifier", ["a", "x" * native_event.MAX_IDENTIFIER_LENGTH, "ä" * 1_000, " a "])
def test_an_identifier_may_be_as_long_as_the_limit(identifier: str) -> None:
    """In characters; it is stored as it came."""
    ((index, row),) = enumerate(normalised({"identifier": identifier, "payload": {}}).rows)
    assert (index, dict(zip(COLUMNS, row, strict=True))["name"]) == (0, identifier)


@pytest.mark.parametrize(
    ("identifier", "found"),
    [("x" * 1_001, "text of 1001 characters"), ("   ", "text of 3 characters"), ("", ""), (None, ""), (7, "")],
)
def test_an_identifier_that_is_none_is_named(identifier: object, found: str) -> None:
    """With what was found."""
    verdict = normalised({"identifier": identifier, "payload": {}})
    assert (verdict.rows, verdict.rejections[0].reason) == ([], "identifier_invalid")
    assert f"identifier: expected text of 1 to 1000 characters, found {found}" in verdict.rejections[0].detail


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        (b"{", {}),
        (b"x", {"content_encoding": "gzip"}),
        (b"{}", {"content_encoding": "lzma"}),
        (b'{"events":{}}', {"resource": "batch"}),
    ],
)
def test_what_is_no_json_is_malformed_as_a_whole(body: bytes, fields: dict[str, Any]) -> None:
    """It goes to the dead letters, with its reason."""
    with pytest.raises(Invalid, match="expected"):
        normalised(body, **fields)


members = st.fixed_dictionaries(
    {"identifier": st.just("a") | anything, "payload": st.dictionaries(st.text(max_size=5), anything) | anything},
    optional={
        "eventType": st.sampled_from(sorted(native_event.EVENT_TYPES)) | anything,
        "metadata": st.dictionaries(st.sampled_from(("a", "a.b", "b", "gen_ai.x", "")), anything) | anything,
        **dict.fromkeys(
            ("agentId", "traceId", "spanId", "parentSpanId", "parentEventId", "timestamp", "dedupKey"),
            st.none() | st.text(max_size=40) | anything,
        ),
    },
)
KNOWN_NAMES = (
    "timeUnixNano", "startTimeUnixNano", "endTimeUnixNano", "severityNumber", "severityText", "level", "kind", "body",
    "message", "error", "error_type", "attributes", "resource", "status", "usage", "model", "tool_name",
)  # fmt: skip
payloads = st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN_NAMES, anything))


def check(verdict: Verdict) -> None:
    """Every value fits its column; everything refused has its reason."""
    assert verdict.accepted == len(verdict.rows)
    assert all(one.reason and one.detail for one in verdict.rejections)
    for values in verdict.rows:
        found = dict(zip(COLUMNS, values, strict=True))
        for name in TEXT_COLUMNS & found.keys():
            found[name].encode()
        for name in UNSIGNED_BITS.keys() & found.keys():
            assert 0 <= found[name] < 2 ** UNSIGNED_BITS[name], name
        assert NOW_NS - 30 * NANOS_PER_DAY <= found["timestamp"] <= NOW_NS + NANOS_PER_DAY
        assert all(type(value) is str for value in found["resource"].values())
        assert all(-(2**63) <= value < 2**63 for value in found["attributes_int"].values())
        json.loads(found["metadata"])
        json.loads(found["payload"])


@given(event=members)
def test_any_event_is_a_row_or_a_named_rejection(event: dict[str, Any]) -> None:
    """Never an exception, never a value the table does not take."""
    check(normalised(event))


@given(payload=payloads, event_type=st.sampled_from(sorted(native_event.EVENT_TYPES)))
def test_any_payload_is_a_row(payload: dict[str, Any], event_type: str) -> None:
    """Whatever stands under the names we know."""
    verdict = normalised(EVENT | {"payload": payload, "eventType": event_type})
    assert verdict.accepted == 1
    check(verdict)


@given(events=st.lists(members | anything, min_size=1, max_size=4))
def test_any_batch_loses_nothing(events: list[Any]) -> None:
    """Rows and rejections together are the events that were sent."""
    verdict = normalised({"events": events}, resource="batch")
    assert len(verdict.rows) + len(verdict.rejections) == len(events)
    check(verdict)


@given(body=st.binary(max_size=200), encoding=st.sampled_from(("", "gzip", "br", "zstd", "deflate")))
def test_any_bytes_are_read_or_named(body: bytes, encoding: str) -> None:
    """Bytes that are no JSON are malformed, with a reason."""
    try:
        verdict = normalise(origin(content_encoding=encoding), body)
    except Invalid:
        return
    check(verdict)
