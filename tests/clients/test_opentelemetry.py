"""The real OTLP/HTTP exporters of OpenTelemetry, protobuf and JSON, read back by SQL."""

from __future__ import annotations

import base64
from importlib.metadata import version
from typing import Any

import pytest
import urllib3
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

pytestmark = pytest.mark.clients

KINDS = pytest.mark.parametrize("kind", ["proto", "json"])


def address(ready: dict[str, Any]) -> tuple[str, str, str]:
    """What an exporter has to know."""
    return ready["url"], ready["api_key"], str(ready["channel"])


@KINDS
def test_spans_become_rows(ready: Any, sql: Any, program: Any, kind: str) -> None:
    """Ids, times, resource, typed attributes, status, events and links of both encodings end in the same columns."""
    sent = program("otel_traces", kind, *address(ready))
    query = "SELECT *, toUnixTimestamp64Nano(timestamp) AS start_ns FROM events"
    rows = {row["span_id"]: row for row in sql.wait(f"{query} WHERE trace_id = '{sent['trace_id']}'", 2)}
    assert set(rows) == {sent["root"], sent["child"]}
    root, child = rows[sent["root"]], rows[sent["child"]]
    assert {(row["event_type"], row["item_type"]) for row in rows.values()} == {("app.span", "otlp_span")}
    assert {(row["channel_id"], row["environment"]) for row in rows.values()} == {
        (ready["channel"], ready["environment"])
    }
    assert (root["name"], root["parent_span_id"], child["parent_span_id"]) == ("GET /cart", "", sent["root"])
    assert (root["duration_ns"], root["start_ns"]) == (sent["root_ns"], sent["root_start_ns"])
    assert root["service_name"] == "till"
    assert root["resource"]["deployment.region"] == "north"
    assert (root["http_method"], root["http_status_code"]) == ("GET", 200)
    assert {"cached": "false", "ratio": "0.25"}.items() <= root["attributes"].items()
    assert root["status"] != child["status"]
    assert "table is locked" in child["span_events"]
    assert f"{0xDEF:016x}" in root["span_links"]


@KINDS
def test_log_records_become_rows(ready: Any, sql: Any, program: Any, kind: str) -> None:
    """Severity, body, trace context and resource are kept; the exporter sends gzip."""
    count = "SELECT count() AS n FROM events WHERE item_type = 'otlp_log' AND scope_name = 'till.stock'"
    before = sql.rows(count)[0]["n"]
    sent = program("otel_logs", kind, *address(ready))
    query = "SELECT * FROM events WHERE item_type = 'otlp_log' AND scope_name = 'till.stock'"
    rows = sql.wait(f"{query} ORDER BY received_at, source_ordinal", before + 2)[-2:]
    low = next(row for row in rows if row["severity_number"] == 13)
    counted = next(row for row in rows if row["severity_number"] == 9)
    assert (low["event_type"], low["body"], low["severity_text"]) == ("app.log", "stock is low", "WARNING")
    assert (low["trace_id"], low["span_id"]) == (sent["trace_id"], sent["span_id"])
    assert {"sku": "A-1", "left": "3"}.items() <= low["attributes"].items()
    assert low["service_name"] == "till"
    assert counted["name"] == "stock.counted"
    assert "structured" in counted["body"]


def test_one_invalid_span_does_not_cost_its_neighbours(ready: Any, sql: Any, program: Any) -> None:
    """A span without an id comes back as rejectedSpans 1 to the exporter that sent it; the other three are rows."""
    sent = program("otel_invalid_span", "proto", *address(ready))
    assert sent["result"] == "SUCCESS", "a partial success must not make the exporter send again"
    (answer,) = sent["answers"]
    assert (answer["status"], answer["content_type"]) == (200, "application/x-protobuf")
    response = ExportTraceServiceResponse.FromString(base64.b64decode(answer["body"]))
    assert response.partial_success.rejected_spans == 1
    assert "span" in response.partial_success.error_message.lower()
    rows = sql.wait(f"SELECT name, repairs FROM events WHERE trace_id = '{sent['trace_id']}' ORDER BY name", 3)
    assert [row["name"] for row in rows] == ["span 1", "span 2", "span 3"]


EXPORTER = "opentelemetry-exporter-otlp-proto-http (Python)"


@pytest.mark.proves(
    EXPORTER,
    version("opentelemetry-exporter-otlp-proto-http"),
    "metrics",
    "refused with 404, which says what to set; not tried again",
)
def test_a_metrics_export_is_refused_once(ready: Any, program: Any) -> None:
    """One line in the log for one export. It names the status only; the answer's text says which setting stops it."""
    sent = program("otel_metrics", "proto", *address(ready))
    assert sent["logged"] == ["ERROR Failed to export metrics batch code: 404, reason: Not Found"]
    answer = urllib3.request(
        "POST", f"{ready['url']}/v1/metrics", body=b"{}", headers={"Content-Type": "application/json"}
    )
    assert answer.status == 404
    assert "OTEL_METRICS_EXPORTER=none" in answer.json()["message"]
