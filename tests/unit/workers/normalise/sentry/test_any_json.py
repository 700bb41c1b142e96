"""Whatever JSON stands where: Sentry normalisers answer with rows a table takes, or with named rejections."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from workers.normalise.sentry import event, log, span, transaction
from workers.normalise.verdict import Verdict

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"
SPAN = "a7cb0ac040c271b8"

TEXT_COLUMNS = {
    "organisation", "key_id", "environment", "event_type", "item_type", "trace_id", "span_id", "parent_span_id",
    "span_kind", "span_op", "status", "status_message", "severity_text", "name", "body", "scope_name",
    "exception_type", "exception_message", "exception_stacktrace", "user_id", "group_hash", "span_links", "payload",
}  # fmt: skip
UNSIGNED_BITS = {
    "channel_id": 64, "version": 64, "source_seq": 64, "original_timestamp_ns": 64, "duration_ns": 64, "event_id": 128,
    "source_item": 32, "source_ordinal": 32, "dropped_attributes_count": 32, "severity_number": 8,
}  # fmt: skip

# Text that means something somewhere, so that what comes after the first check is reached too.
MEANINGFUL = (
    TRACE, SPAN, "0" * 32, "{{auto}}", "{{ default }}", "%s %(a)s {} {a} %9.9d", "E: v", "2026-11-21T14:46:05Z",
    "9999-12-31T23:59:59.999999999-23:59", "0001-01-01", "a\nb", "\x00", "\ud800", "é" * 300, "None", "latest", "1e5",
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.sampled_from(MEANINGFUL)
    | st.text(st.characters(), max_size=20)
)
keys = st.sampled_from(("values", "value", "type", "frames", "id", "name", "items", "a", "", "key", "user.id", "data"))
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=5)
)


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of the names, each with any JSON; or any JSON instead of the object."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything))


frames = objects("filename", "abs_path", "module", "function", "lineno", "colno", "in_app", "package")
stacktraces = st.fixed_dictionaries({"frames": st.lists(frames | anything, max_size=3)}) | anything
raised = st.fixed_dictionaries({"stacktrace": stacktraces, "mechanism": anything, "type": anything, "value": anything})
exceptions = st.fixed_dictionaries({"values": st.lists(raised | anything, max_size=3)}) | raised | anything
messages = objects("message", "formatted", "params") | anything
users = objects("id", "username", "email", "ip_address", "name", "geo", "data", "odd") | anything
requests = objects("url", "method", "query_string", "headers", "env", "cookies", "data") | anything
traces = objects("trace_id", "span_id", "parent_span_id", "op", "status", "data", "links", "origin") | anything
contexts = (
    st.fixed_dictionaries(
        {},
        optional={
            "trace": traces,
            **dict.fromkeys(("os", "device", "app", "response", "flags", "otel", "x"), anything),
        },
    )
    | anything
)
shared = {
    **dict.fromkeys(
        ("event_id", "timestamp", "level", "platform", "logger", "server_name", "site", "release", "environment",
         "dist", "transaction", "transaction_info", "modules", "extra", "tags", "breadcrumbs", "sdk", "fingerprint",
         "culprit"),
        anything,
    ),
    "user": users,
    "request": requests,
    "contexts": contexts,
}  # fmt: skip
events = st.fixed_dictionaries(
    {},
    optional={
        **shared,
        "exception": exceptions,
        "sentry.interfaces.Exception": exceptions,
        "message": messages,
        "logentry": messages,
        "stacktrace": stacktraces,
        "threads": anything,
    },
)
span_names = ("trace_id", "span_id", "parent_span_id", "op", "description", "status", "start_timestamp", "timestamp",
              "data", "tags", "measurements", "links", "origin", "exclusive_time", "sentry_tags", "name",
              "end_timestamp", "is_segment")  # fmt: skip
spans = objects(*span_names).map(
    lambda fields: (
        {"trace_id": TRACE, "span_id": SPAN, "start_timestamp": 1, "end_timestamp": 2, "timestamp": 2} | fields
    )
)
transactions = st.fixed_dictionaries(
    {"spans": st.lists(spans | anything, max_size=3) | anything}, optional={**shared, "measurements": anything}
).map(
    lambda fields: {
        "start_timestamp": 1_795_272_360,
        "timestamp": 1_795_272_361,
        **fields,
        "contexts": {
            **(fields["contexts"] if isinstance(fields.get("contexts"), dict) else {}),
            "trace": {"trace_id": TRACE, "span_id": SPAN},
        },
    }
)
attributes = st.dictionaries(
    st.text(max_size=5) | st.sampled_from(("sentry.release", "sentry.environment", "user.id", "sentry.segment.id")),
    anything
    | st.fixed_dictionaries(
        {"value": anything, "type": st.sampled_from(("string", "integer", "double", "boolean", "array")) | anything}
    ),
    max_size=4,
)
v2_spans = st.tuples(spans, attributes | anything).map(lambda pair: pair[0] | {"attributes": pair[1]})
log_names = ("timestamp", "trace_id", "span_id", "level", "body", "severity_number")
logs = st.tuples(objects(*log_names), attributes | anything).map(
    lambda pair: {"trace_id": TRACE, "level": "info", "body": "x", "attributes": pair[1]} | pair[0]
)


def container(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"items": st.lists(entries | anything, max_size=3) | anything},
        optional={"version": anything, "ingest_settings": anything},
    )


def check(verdict: Verdict, columns: tuple[str, ...]) -> None:
    """Every value is of the type and in the range of its column."""
    assert bool(verdict.rows) == bool(verdict.accepted)
    for rejection in verdict.rejections:
        assert rejection.reason.isidentifier()
        assert len(rejection.detail) < 500
    for row in verdict.rows:
        for column, value in zip(columns, row, strict=True):
            check_value(column, value)


def check_value(column: str, value: Any) -> None:
    if column in TEXT_COLUMNS:
        assert type(value) is str, column
        value.encode()
    elif column in UNSIGNED_BITS:
        assert type(value) is int, column
        assert 0 <= value < 2 ** UNSIGNED_BITS[column], column
    elif column in ("timestamp", "received_at"):
        assert NOW_NS - 30 * NANOS_PER_DAY <= value <= NOW_NS + NANOS_PER_DAY
    elif column in ("fingerprint", "repairs"):
        assert all(type(part) is str and part.encode().decode() == part for part in value)
    else:
        check_map(column, value)


def check_map(column: str, value: Any) -> None:
    kinds = {"attributes_int": int, "attributes_double": float, "attributes_bool": bool}
    kind = kinds.get(column, str)
    assert all(type(key) is str and type(content) is kind for key, content in value.items()), column
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    if kind is int:
        assert all(-(2**63) <= content < 2**63 for content in value.values())


def run(module: Any, payload: Any, header: dict[str, Any] | None = None) -> Verdict:
    origin = Origin("acme", 42, "k1", "production", True, NOW_NS, sender_ip="203.0.113.9", user_agent="Mozilla/5.0")
    body = write_single(b'{"sent_at":"2026-11-21T10:46:06Z"}', header or {"type": "x"}, json.dumps(payload).encode())
    verdict: Verdict = module.normalise(origin, body)
    check(verdict, module.COLUMNS)
    return verdict


@settings(max_examples=150, deadline=None)
@given(events)
def test_any_event_is_one_row(payload: dict[str, Any]) -> None:
    """Whatever its fields hold, an event that is an object is stored."""
    assert len(run(event, payload).rows) == 1


@settings(max_examples=100, deadline=None)
@given(transactions)
def test_any_transaction_with_ids_and_times_answers(payload: dict[str, Any]) -> None:
    """Rows and rejections together account for the transaction and each of its spans."""
    verdict = run(transaction, payload)
    spans_sent = payload["spans"] if isinstance(payload["spans"], list) else []
    assert len(verdict.rows) + verdict.rejected().total() == (1 + len(spans_sent) if verdict.rows else 1)
    assert verdict.rows or verdict.rejections, "a transaction is a row, or it is said why not"


@settings(max_examples=100, deadline=None)
@given(container(v2_spans) | spans | anything)
def test_any_span_item_answers(payload: Any) -> None:
    """Containers account for each entry."""
    check_entries(run(span, payload, {"type": "span", "item_count": 1}), payload)


@settings(max_examples=100, deadline=None)
@given(container(logs) | anything)
def test_any_log_container_answers(payload: Any) -> None:
    """Containers account for each entry."""
    check_entries(run(log, payload, {"type": "log", "item_count": 1}), payload)


def check_entries(verdict: Verdict, payload: Any) -> None:
    if isinstance(payload, dict) and isinstance(payload.get("items"), list):
        assert len(verdict.rows) + len(verdict.rejections) == len(payload["items"])


@pytest.mark.parametrize("module", [event, transaction, span, log])
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(module: Any, body: bytes) -> None:
    """Not a crash, not a row."""
    origin = Origin("acme", 42, "k1", "production", True, NOW_NS)
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"event"}\n' + body):
        check(module.normalise(origin, raw), module.COLUMNS)


@pytest.mark.parametrize(
    ("module", "around"),
    [
        (event, '{"extra":{"a":%s},"message":%s,"tags":{"a":%s},"fingerprint":[%s],"contexts":{"x":{"y":%s}}}'),
        (
            event,
            '{"exception":{"type":%s,"value":%s,"stacktrace":{"frames":[{"function":%s,"filename":%s,"module":%s}]}}}',
        ),
        (
            log,
            f'{{"items":[{{"trace_id":"{TRACE}","level":%s,"body":%s,"attributes":{{"a":{{"value":%s}},"b":%s}}}}]}}',
        ),
    ],
)
def test_values_nested_beyond_a_writers_depth_are_stored(module: Any, around: str) -> None:
    """Three hundred levels can be read but not written by the fast writer; nine hundred are near Python's own limit."""
    for depth in (300, 900):
        deep = "[" * depth + "]" * depth
        payload = around % ((deep,) * around.count("%s"))
        origin = Origin("acme", 42, "k1", "production", True, NOW_NS)
        verdict = module.normalise(origin, write_single(b"{}", {"type": "x"}, payload.encode()))
        check(verdict, module.COLUMNS)
        assert verdict.accepted == 1
