"""OpenTelemetry's Go SDK with otlptracehttp and otlploghttp: its rows, and what it hears when a body is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.otel_processes import Facts, facts_of, otel_environment
from tests.clients.refusals import REFUSED_EXPORTS, TRIES, receiver
from tests.clients.sentry_clients import text_pin
from tests.clients.toolchains import go_program
from tests.live.receiver_process import Receiver

pytestmark = pytest.mark.clients

__all__ = ["receiver"]

EXPORTERS = {"spans": "otlptracehttp", "logs": "otlploghttp"}


def proves(kind: str, feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for the exporter of spans or of logs."""
    name = EXPORTERS[kind]
    return pytest.mark.proves(f"{name} (Go)", text_pin("otel-go/go.mod", rf"{name} v(\S+)"), feature, result)


@pytest.fixture(scope="module")
def shop(system: Any) -> Facts:
    """What one run of the program says it sent, with gzip, as most set it."""
    env = otel_environment(system.ready, "till-go", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    return facts_of([go_program("otel-go"), "shop"], env)


@proves("spans", "spans with an exception, a stack trace and a link, gzip", "a row each")
def test_spans_of_go_become_rows(sql: Any, shop: Facts) -> None:
    """HTTP columns, typed attributes, the link, and the error with its stack trace."""
    rows = sql.wait(f"SELECT * FROM events WHERE item_type = 'otlp_span' AND trace_id = '{shop['trace_id']}'", 2)
    spans = {row["span_id"]: row for row in rows}
    root, query = spans[shop["root"]], spans[shop["query"]]
    assert (root["name"], root["span_kind"], root["parent_span_id"]) == ("POST /pay", "server", "")
    assert (root["http_method"], root["http_route"], root["http_status_code"]) == ("POST", "/pay", 502)
    assert (root["service_name"], root["attributes"]["tags"]) == ("till-go", '["a","b"]')
    assert (root["attributes_double"]["ratio"], root["attributes_bool"]["cached"]) == (0.25, False)
    assert shop["earlier"] in root["span_links"]
    assert (query["parent_span_id"], query["db_system"]) == (root["span_id"], "postgresql")
    assert (query["status"], query["status_message"]) == ("error", "refused")
    assert (query["exception_type"], query["exception_message"]) == ("*errors.errorString", "no payment of 3")
    assert "main.pay" in query["exception_stacktrace"]
    assert not any(row["repairs"] for row in rows)


@proves("logs", "log within a span, with an event name and a map, gzip", "one row, linked to the span")
def test_a_log_of_go_becomes_a_row(sql: Any, shop: Facts) -> None:
    """Body, severity, event name, typed attributes, and the span it was written in."""
    query = f"SELECT * FROM events WHERE item_type = 'otlp_log' AND trace_id = '{shop['trace_id']}'"
    (row,) = sql.wait(query, 1)
    assert (row["body"], row["severity_number"], row["name"]) == ("stock is low: 2", 13, "stock.low")
    assert (row["span_id"], row["service_name"]) == (shop["root"], "till-go")
    assert (row["attributes"]["sku"], row["attributes_int"]["left"], row["attributes_double"]["price"]) == (
        "A-1",
        2,
        2.5,
    )
    assert row["attributes"]["cart"] == '{"items":3}'
    assert not row["repairs"]


@pytest.mark.parametrize("reason", REFUSED_EXPORTS)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=proves(kind, "large body that is refused", "gets the reason, every time"))
        for kind in EXPORTERS
    ],
)
def test_every_refusal_of_an_export_is_heard(receiver: Receiver, kind: str, reason: str) -> None:
    """401, 403, 404, 413, 415 and 429 in the middle of a large body: never a broken pipe."""
    size, headers = REFUSED_EXPORTS[reason]
    command = [go_program("otel-go"), "refused", kind, str(TRIES), str(size), *headers]
    assert facts_of(command, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}) == {reason: TRIES}
