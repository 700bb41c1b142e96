"""A Flask application under `opentelemetry-instrument`, real requests made against it, read back by SQL."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.clients.otel_processes import Facts, facts_of, otel_environment
from tests.clients.sentry_clients import text_pin
from tests.clients.toolchains import PROGRAMS, python_interpreter

pytestmark = pytest.mark.clients

# Exporter, and which generation of attribute names the instrumentation writes: both fill the same columns.
FLASK = "Flask under opentelemetry-instrument"
VERSION = text_pin("otel-flask/requirements.txt", r"opentelemetry-distro==(\S+)")
WAYS = {"proto": ("otlp_proto_http", "http,database"), "json": ("otlp_json_http", "default")}


@pytest.fixture(scope="module")
def shop() -> Any:
    """Runs the shop once with an exporter; returns what it asked itself."""

    def run(ready: Facts, kind: str) -> Facts:
        python = python_interpreter("otel-flask")
        exporter, names = WAYS[kind]
        settings = {"OTEL_TRACES_EXPORTER": exporter, "OTEL_LOGS_EXPORTER": exporter}
        env = otel_environment(ready, f"shop-{kind}", OTEL_SEMCONV_STABILITY_OPT_IN=names, **settings)
        instrument = python.with_name("opentelemetry-instrument")
        app = PROGRAMS / "otel-flask" / "app.py"
        return facts_of([instrument, python, app, uuid4().hex, uuid4().hex], env)

    return run


@pytest.mark.proves(
    FLASK, VERSION, "spans of requests and queries, logs, an exception", "linked rows with HTTP columns"
)
@pytest.mark.parametrize("kind", WAYS)
def test_an_instrumented_flask_app_becomes_linked_rows(ready: Any, sql: Any, shop: Any, kind: str) -> None:
    """Server spans with HTTP columns, the query beneath, logs linked to their span, and what was raised."""
    sent = shop(ready, kind)
    assert sent["statuses"] == [200, 500]
    _check_order(sql.wait(_trace(sent["order"]), 3), sent["caller"], f"shop-{kind}")
    _check_failure(sql.wait(_trace(sent["failure"]), 2))


def _trace(trace_id: str) -> str:
    return f"SELECT * FROM events WHERE trace_id = '{trace_id}' ORDER BY item_type, timestamp"


def _check_order(rows: list[dict[str, Any]], caller: str, service: str) -> None:
    log, server, query = rows
    assert [row["item_type"] for row in rows] == ["otlp_log", "otlp_span", "otlp_span"]
    assert {row["service_name"] for row in rows} == {service}
    assert {row["sdk_name"] for row in rows} == {"opentelemetry"}
    assert (server["name"], server["span_kind"]) == ("GET /orders/<int:number>", "server")
    assert server["parent_span_id"] == caller, "the span of a request continues the caller's trace"
    assert (server["http_method"], server["http_status_code"]) == ("GET", 200)
    assert server["http_route"] == "/orders/<int:number>"
    assert (query["db_system"], query["parent_span_id"]) == ("sqlite", server["span_id"])
    assert server["duration_ns"] >= query["duration_ns"] > 0
    assert (log["body"], log["severity_number"]) == ("order 41 is late", 13)
    assert log["span_id"] == server["span_id"], "the log belongs to the span it was written in"
    assert log["attributes_int"]["order.number"] == 41


def _check_failure(rows: list[dict[str, Any]]) -> None:
    log, server = rows
    assert (server["status"], server["http_status_code"], server["name"]) == ("error", 500, "GET /broken")
    assert {row["exception_type"] for row in rows} == {"ZeroDivisionError"}, "of the log, and of the span's event"
    assert {row["exception_message"] for row in rows} == {"integer division or modulo by zero"}
    assert all("in broken" in row["exception_stacktrace"] for row in rows)
    assert (log["severity_number"], log["span_id"]) == (17, server["span_id"])
