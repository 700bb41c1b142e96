"""Sentry trace metrics: one row per measured value, each judged alone."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import orjson
import pytest
import sentry_sdk
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope.body import write_single
from schemas.rows import NANOS_PER_SECOND, row_id
from tests.unit import normalised
from tests.unit.normalised import NOW_NS, SPAN, TRACE, anything, items_of, origin, sdk
from workers.normalise.sentry import trace_metric
from workers.normalise.verdict import Verdict

rows = partial(normalised.rows, columns=trace_metric.COLUMNS)
check_storable = partial(normalised.check_storable, columns=trace_metric.COLUMNS)


def verdict(payload: Any, **changes: Any) -> Verdict:
    wire = write_single(b"{}", {"type": "trace_metric", "item_count": 1}, json.dumps(payload).encode())
    return trace_metric.normalise(origin(**changes), wire)


def row(**fields: Any) -> dict[str, Any]:
    (found,) = rows(verdict({"items": [metric(**fields)]}))
    return found


def metric(**fields: Any) -> dict[str, Any]:
    return {"timestamp": 1_795_272_360, "trace_id": TRACE, "name": "queue.wait", "type": "gauge", "value": 7, **fields}


def test_metric_becomes_a_row() -> None:
    """Name, value, type, unit, trace, sender."""
    attributes = {
        "region": {"value": "eu", "type": "string"},
        "sentry.environment": {"value": "staging", "type": "string"},
        "sentry.release": {"value": "shop@1.2", "type": "string"},
        "user.id": {"value": "7", "type": "string"},
    }
    found = row(span_id=SPAN, unit="millisecond", attributes=attributes)
    assert (found["event_type"], found["item_type"], found["name"]) == ("custom", "trace_metric", "queue.wait")
    assert found["attributes_double"] == {"metric.value": 7.0}
    assert (found["trace_id"], found["span_id"], found["user_id"]) == (TRACE, SPAN, "7")
    assert (found["environment"], found["resource"]["service.version"]) == ("staging", "shop@1.2")
    assert found["attributes_string"]["metric.unit"] == "millisecond"
    assert found["timestamp"] == NOW_NS - 6 * NANOS_PER_SECOND
    assert orjson.loads(found["metadata"]) == {"metric": True, "type": "gauge", "unit": "millisecond"}
    assert found["event_id"] == row_id("sentry.trace_metric", 42, "raw-1", 3, 0)
    assert found["repairs"] == []


def test_invalid_metrics_are_rejected_alone() -> None:
    """The index says which it was, and its neighbours are stored."""
    items = [
        metric(),
        metric(type="set"),
        metric(value="7x"),
        metric(value=True),
        metric(value=None),
        metric(name=" "),
        metric(name=7),
        "x",
        metric(value=-0.5, type="counter"),
    ]
    found = verdict({"items": items})
    assert [(one.index, one.reason) for one in found.rejections] == [
        (1, "invalid_metric_type"),
        (2, "invalid_metric_value"),
        (3, "invalid_metric_value"),
        (4, "invalid_metric_value"),
        (5, "missing_metric_name"),
        (6, "missing_metric_name"),
        (7, "invalid_metric"),
    ]
    assert (found.accepted, [one["source_ordinal"] for one in rows(found)]) == (2, [0, 8])
    assert found.warning != ""


def test_odd_characters_in_a_name_become_underscores() -> None:
    """As in Sentry, and named."""
    found = row(name="queue wait/größe")
    assert (found["name"], found["repairs"]) == ("queue_wait_gr__e", ["metric_name_changed"])
    assert row(name="n" * 201)["name"] == "n" * 200


def test_attribute_of_our_name_does_not_hide_the_value() -> None:
    """The payload still has it."""
    found = row(attributes={"metric.value": {"value": "mine", "type": "string"}})
    assert found["attributes_double"] == {"metric.value": 7.0}
    assert "metric.value" not in found["attributes_string"]


def test_metric_without_valid_ids_is_kept_and_named() -> None:
    """A value is worth a row outside of a trace too."""
    found = row(trace_id="x", span_id="y")
    assert (found["trace_id"], found["span_id"]) == ("", "")
    assert found["repairs"] == ["trace_id_invalid", "span_id_invalid"]
    assert row(trace_id=None)["repairs"] == []


@pytest.mark.parametrize("records", [None, {}, "x"])
def test_container_without_a_list_is_rejected(records: Any) -> None:
    """There is nothing in it to count."""
    assert [one.reason for one in verdict({"items": records}).rejections] == ["invalid_container"]


def test_real_sdk_sends_metrics() -> None:
    """Counter, gauge and distribution with unit and attributes, one container."""
    with sdk() as captured:
        sentry_sdk.metrics.count("orders", 2, attributes={"region": "eu", "paid": True})
        sentry_sdk.metrics.gauge("queue.depth", 12)
        sentry_sdk.metrics.distribution("latency", 12.5, unit="millisecond")
    (single,) = items_of(captured, "trace_metric")
    found = rows(trace_metric.normalise(origin(received_at_ns=time.time_ns()), single))
    assert [(one["name"], one["attributes_double"]["metric.value"]) for one in found] == [
        ("orders", 2.0),
        ("queue.depth", 12.0),
        ("latency", 12.5),
    ]
    assert [orjson.loads(one["metadata"])["type"] for one in found] == ["counter", "gauge", "distribution"]
    assert orjson.loads(found[2]["metadata"])["unit"] == "millisecond"
    assert (found[0]["attributes_string"]["region"], found[0]["attributes_bool"]["paid"]) == ("eu", True)
    assert {(one["environment"], one["resource"]["service.version"]) for one in found} == {("staging", "shop@1.2")}
    assert all(len(one["trace_id"]) == 32 for one in found)
    assert all(one["repairs"] == [] for one in found)


names = ("timestamp", "trace_id", "span_id", "name", "type", "value", "unit", "attributes")
cells = st.fixed_dictionaries(
    {"value": anything, "type": st.sampled_from(("string", "integer", "double", "array")) | anything}
)
attributes = st.dictionaries(st.sampled_from(("metric.value", "user.id", "sentry.release", "a")), cells | anything)
metrics = st.fixed_dictionaries({}, optional={**dict.fromkeys(names, anything), "attributes": attributes})


@settings(max_examples=150, deadline=None)
@given(st.lists(metrics.map(lambda fields: metric(**fields)) | anything, max_size=3))
def test_any_container_is_accounted_for(items: list[Any]) -> None:
    """Each entry is a row or a rejection."""
    found = verdict({"items": items})
    check_storable(found)
    assert len(found.rows) + len(found.rejections) == len(items)


@settings(deadline=None)
@given(anything)
def test_any_json_is_answered(payload: Any) -> None:
    """Rows or a named rejection."""
    check_storable(verdict(payload))


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: a row or a named rejection."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"trace_metric"}\n' + body):
        check_storable(trace_metric.normalise(origin(), raw))
