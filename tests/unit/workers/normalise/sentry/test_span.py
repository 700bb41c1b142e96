"""Sentry span items: the v2 container that SDKs stream, and the bare v1 span."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_SECOND, row_id
from workers.normalise.sentry import span
from workers.normalise.verdict import Verdict

EXAMPLE = Path(__file__).parents[4] / "examples" / "sentry" / "javascript-span-container.json"
NOW_NS = 1_795_272_367 * NANOS_PER_SECOND
TRACE = "329f3455cffe4018b0603a34ec8a9e84"
SPAN = "9bb02e88fe3d7dbf"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"


def verdict(payload: Any, *, item_count: int | None = None, **changes: Any) -> Verdict:
    fields = {"environment_from_event": True, "sender_ip": "203.0.113.9", "user_agent": BROWSER, **changes}
    origin = Origin("acme", 42, "k1", "production", received_at_ns=NOW_NS, origin_id="raw-1", **fields)
    raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    header = {"type": "span", "content_type": "application/vnd.sentry.items.span.v2+json"}
    return span.normalise(origin, write_single(b"{}", header | ({"item_count": item_count} if item_count else {}), raw))


def rows(payload: Any, **options: Any) -> list[dict[str, Any]]:
    return [dict(zip(span.COLUMNS, row, strict=True)) for row in verdict(payload, **options).rows]


def bare(**changes: Any) -> dict[str, Any]:
    return {
        "trace_id": TRACE,
        "span_id": SPAN,
        "start_timestamp": 1_795_272_365,
        "end_timestamp": 1_795_272_366,
        **changes,
    }


def test_browser_container_becomes_rows() -> None:
    """Typed attributes, promoted sender, links, inferred address and browser."""
    page, call = rows(EXAMPLE.read_bytes())
    assert (page["event_type"], page["item_type"], page["name"]) == ("app.span", "span", "/checkout")
    assert page["event_id"] == row_id("sentry.span", 42, TRACE, SPAN)
    assert (page["timestamp"], page["duration_ns"]) == (1_795_272_365_250_000_000, 1_250_000_000)
    assert (page["span_op"], page["status"], page["environment"], page["user_id"]) == (
        "pageload",
        "ok",
        "staging",
        "42",
    )
    assert page["resource"] == {
        "service.version": "shop@4.2.0",
        "deployment.environment.name": "staging",
        "telemetry.sdk.name": "sentry.javascript.react",
        "telemetry.sdk.version": "11.12.0",
        "telemetry.sdk.language": "javascript",
    }
    assert page["attributes_int"] == {"user.id": 42, "broken.number": 7}
    assert page["attributes_double"] == {"browser.web_vital.lcp.value": 1830.5}
    assert page["attributes_bool"] == {"device.is_mobile": False, "sentry.is_segment": True}
    assert page["attributes_string"]["tags"] == '["a","b"]'
    assert page["attributes_string"]["client.address"] == "203.0.113.9"
    assert page["attributes_string"]["user_agent.original"] == BROWSER
    assert page["repairs"] == ["number_from_text:broken.number", "attribute_type:too.big", "link_dropped"]
    assert orjson.loads(page["span_links"])[0]["attributes"] == {"sentry.link.type": "previous_trace"}
    assert (call["status"], call["status_message"], call["span_kind"]) == ("error", "bad_gateway", "client")
    assert call["parent_span_id"] == SPAN
    assert "host.name" not in call["resource"]


def test_server_of_a_loaded_resource_is_not_the_sender() -> None:
    """`server.address` of a script the page loads is where it came from; that of the SDK's own span is its host."""
    named = {"server.address": {"value": "till-7", "type": "string"}}
    operation = {"sentry.op": {"value": "resource.script", "type": "string"}}
    own, loaded = rows({"items": [bare(attributes=named), bare(attributes=named | operation)]})
    assert own["resource"]["host.name"] == "till-7"
    assert "host.name" not in loaded["resource"]


def test_bad_span_of_a_container_is_rejected_alone() -> None:
    """The others are stored; the index says which it was."""
    found = verdict(EXAMPLE.read_bytes())
    assert found.accepted == 2
    assert [(one.index, one.reason) for one in found.rejections] == [(2, "invalid_span_id")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": None}, "invalid_trace_id"),
        ({"end_timestamp": 1}, "end_before_start"),
        ({"start_timestamp": None}, "invalid_start_timestamp"),
        ({"attributes": {"sentry.segment.id": {"value": "zz", "type": "string"}}}, "invalid_span_id"),
    ],
)
def test_required_fields_of_a_span_are_checked(changes: dict[str, Any], reason: str) -> None:
    """Each refusal has a reason to group by."""
    found = verdict({"items": [bare(**changes)]})
    assert [one.reason for one in found.rejections] == [reason]


def test_environment_and_address_need_permission() -> None:
    """The key decides about the environment, the container about the address."""
    payload = {"version": 2, "items": [bare(attributes={"sentry.environment": {"value": "dev", "type": "string"}})]}
    (found,) = rows(payload, environment_from_event=False)
    assert found["environment"] == "production"
    assert "client.address" not in found["attributes_string"]
    assert "user_agent.original" not in found["attributes_string"]


def test_bare_v1_span_is_a_row() -> None:
    """What browsers send for interactions: data, measurements and the loose fields of the first protocol."""
    fields = bare(
        timestamp=1_795_272_365.5,
        op="ui.interaction.click",
        description="body > button",
        data={"release": "shop@4.2.0", "environment": "staging", "user": "42"},
        measurements={"inp": {"value": 24, "unit": "millisecond"}},
        segment_id=SPAN,
        is_segment=True,
        exclusive_time=500,
        sentry_tags={"browser.name": "Firefox"},
    )
    (found,) = rows(fields)
    assert (found["name"], found["span_op"], found["environment"]) == (
        "body > button",
        "ui.interaction.click",
        "staging",
    )
    assert found["duration_ns"] == 500_000_000
    assert found["resource"]["service.version"] == "shop@4.2.0"
    assert found["attributes_double"] == {"measurement.inp": 24.0}
    assert found["attributes_string"]["sentry.browser.name"] == "Firefox"
    assert found["user_id"] == "42"


@pytest.mark.parametrize("payload", [{"items": {}}, {"items": "x"}])
def test_container_without_a_list_is_rejected(payload: dict[str, Any]) -> None:
    """It is neither a container nor a span."""
    assert [one.reason for one in verdict(payload).rejections] == ["invalid_container"]


def test_wrong_item_count_is_a_warning() -> None:
    """The spans that are there are stored."""
    found = verdict({"items": [bare()]}, item_count=3)
    assert found.accepted == 1
    assert "found 1" in found.warning
    assert verdict({"items": [bare()]}, item_count=1).warning == ""


def test_untyped_attributes_are_taken_as_they_are() -> None:
    """Bare values and cells without a type; a float that is whole passes for an integer."""
    cells = {"a": 1, "b": {"value": 1.5}, "c": {"value": 3.0, "type": "integer"}, "d": {"value": 2, "type": "double"}}
    odd = {"e": {"value": None, "type": "string"}, "f": {"value": 1, "type": "complex"}, "g": {"type": "string"}}
    (found,) = rows({"items": [bare(attributes=cells | odd)]})
    assert found["attributes_int"] == {"a": 1, "c": 3}
    assert found["attributes_double"] == {"b": 1.5, "d": 2.0}
    assert found["repairs"] == ["attribute_type:f"]
