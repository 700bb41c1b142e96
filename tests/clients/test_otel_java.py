"""A Java program under OpenTelemetry's agent with its defaults, which are protobuf over HTTP for all three signals."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.clients.otel_processes import Facts, facts_and_log_of, otel_environment
from tests.clients.sentry_clients import text_pin
from tests.clients.toolchains import java_project, require_java

pytestmark = pytest.mark.clients

VERSION = text_pin("java-otel/pom.xml", r"opentelemetry-javaagent</artifactId>\s*<version>([^<]+)")
RAISED = ("java.lang.IllegalStateException", "no payment of 3")


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for the agent."""
    return pytest.mark.proves("OpenTelemetry Java agent", VERSION, feature, result)


@pytest.fixture(scope="module")
def shop(system: Any) -> Facts:
    """What one run of the program says, the trace it was part of, and what the agent wrote to the log."""
    env = otel_environment(system.ready, "till-java")
    del env["OTEL_METRICS_EXPORTER"]
    project, trace_id = java_project("java-otel"), uuid4().hex
    agent = project / "jars" / f"opentelemetry-javaagent-{VERSION}.jar"
    command = [require_java(), f"-javaagent:{agent}", "-cp", project / "classes", "Shop", trace_id]
    said, log = facts_and_log_of(command, env)
    assert said["status"] == 502
    return {**said, "trace_id": trace_id, "log": log}


@proves("spans of served and made requests", "linked rows with HTTP columns")
def test_requests_become_linked_spans(sql: Any, shop: Facts) -> None:
    """The served request continues its caller's trace; the one it makes, and that one's other side, hang below it."""
    query = f"SELECT * FROM events WHERE item_type = 'otlp_span' AND trace_id = '{shop['trace_id']}' ORDER BY timestamp"
    order, asked, stock = sql.wait(query, 3)
    assert [row["span_kind"] for row in (order, asked, stock)] == ["server", "client", "server"]
    assert order["parent_span_id"] == shop["caller"]
    assert (asked["parent_span_id"], stock["parent_span_id"]) == (order["span_id"], asked["span_id"])
    assert (order["name"], order["http_route"], order["http_status_code"]) == ("GET /orders", "/orders", 502)
    assert (order["status"], stock["status"]) == ("error", "unset")
    assert asked["url"].endswith("/stock")
    assert {row["service_name"] for row in (order, asked, stock)} == {"till-java"}
    assert order["resource"]["telemetry.distro.name"] == "opentelemetry-java-instrumentation"
    assert not any(row["repairs"] for row in (order, asked, stock))


@proves("log of java.util.logging with an exception", "one row, linked to the span")
def test_a_log_with_an_exception_becomes_a_row(sql: Any, shop: Facts) -> None:
    """Text, severity, logger, and the exception with its stack trace."""
    query = f"SELECT * FROM events WHERE item_type = 'otlp_log' AND trace_id = '{shop['trace_id']}'"
    (row,) = sql.wait(query, 1)
    assert (row["body"], row["severity_number"], row["severity_text"]) == ("order 41 is late", 17, "SEVERE")
    assert row["scope_name"] == "shop.orders"
    assert (row["exception_type"], row["exception_message"]) == RAISED
    assert "at Shop.order(Shop.java:" in row["exception_stacktrace"]


@proves("metrics, which it exports by default", "refused with 404; its log says which setting stops it")
def test_the_agents_log_says_how_to_stop_metrics(shop: Facts) -> None:
    """Once for each export."""
    lines = [line for line in shop["log"].splitlines() if "status code 404" in line]
    assert lines
    assert all("OTEL_METRICS_EXPORTER=none" in line for line in lines)
