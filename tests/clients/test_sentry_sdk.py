"""The real Sentry SDK for Python, each time in a fresh interpreter, read back by SQL."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

PROGRAMS = Path(__file__).with_name("programs")
WITHOUT_BROTLI = {"PYTHONPATH": str(PROGRAMS / "without_brotli")}

pytestmark = pytest.mark.clients


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for docs/clients.md."""
    return pytest.mark.proves("sentry-sdk (Python)", version("sentry-sdk"), feature, result)


def secret_dsn(ready: dict[str, Any]) -> str:
    """The DSN with the secret key, which allows the event to name its environment."""
    dsn: str = ready["dsn"]
    return dsn.replace(ready["public_token"], ready["api_key"])


def test_an_exception_becomes_an_error_row(ready: Any, sql: Any, program: Any) -> None:
    """Type, message, trace, user, tags, release and the event's own id stand in columns of their own."""
    sent = program("sentry_exception", secret_dsn(ready))
    (row,) = sql.wait(f"SELECT * FROM events WHERE event_id = '{UUID(sent['event_id'])}'", 1)
    assert row["event_type"] == "agent.error"
    assert row["item_type"] == "event"
    assert row["channel_id"] == ready["channel"]
    assert row["environment"] == "staging"
    assert row["trace_id"] == sent["trace_id"]
    assert (row["severity_number"], row["severity_text"]) == (17, "error")
    assert (row["exception_type"], row["exception_message"]) == ("PaymentRefused", "no payment of 3")
    assert row["name"] == "PaymentRefused: no payment of 3"
    assert "in pay" in row["exception_stacktrace"]
    assert row["release"] == "shop@1.2.3"
    assert row["user_id"] == "u-42"
    assert row["attributes"]["till"] == "seven"
    assert row["metadata"].__class__ is dict
    assert "card expired" in row["payload"]


@proves("public token, event that names another environment", "one row, environment of the token")
def test_a_public_token_keeps_its_own_environment(ready: Any, sql: Any, program: Any) -> None:
    """A key that does not allow it never takes the environment an event names."""
    sent = program("sentry_exception", ready["dsn"])
    (row,) = sql.wait(f"SELECT environment FROM events WHERE event_id = '{UUID(sent['event_id'])}'", 1)
    assert row["environment"] == ready["environment"]


@proves("message, compressed with brotli and with gzip", "one row, `app.log`")
@pytest.mark.parametrize(("compression", "env"), [("br", {}), ("gzip", WITHOUT_BROTLI)])
def test_a_message_becomes_a_log_row(ready: Any, sql: Any, program: Any, compression: str, env: dict[str, str]) -> None:
    """The SDK sends brotli where it can and gzip where it cannot; both arrive."""
    sent = program("sentry_message", ready["dsn"], env=env)
    assert sent["compression"] == compression
    (row,) = sql.wait(f"SELECT * FROM events WHERE event_id = '{UUID(sent['event_id'])}'", 1)
    assert (row["event_type"], row["item_type"]) == ("app.log", "event")
    assert row["body"] == "stock is low"
    assert row["severity_number"] == 13
    assert row["exception_type"] == ""


def test_a_transaction_becomes_a_row_and_one_for_each_child(ready: Any, sql: Any, program: Any) -> None:
    """Parents, operations, durations and states of spans are kept; all rows share the trace."""
    sent = program("sentry_transaction", secret_dsn(ready))
    rows = {row["span_id"]: row for row in sql.wait(f"SELECT * FROM events WHERE trace_id = '{sent['trace_id']}'", 4)}
    assert set(rows) == {sent[name] for name in ("root", "query", "nested", "failed")}
    assert {row["event_type"] for row in rows.values()} == {"app.span"}
    assert {row["environment"] for row in rows.values()} == {"staging"}
    assert {row["release"] for row in rows.values()} == {"shop@1.2.3"}
    root, query, nested = rows[sent["root"]], rows[sent["query"]], rows[sent["nested"]]
    assert (root["item_type"], root["name"], root["span_op"]) == ("transaction", "GET /cart", "http.server")
    assert query["item_type"] == "span"
    assert (query["name"], query["span_op"]) == ("SELECT cart", "db.query")
    assert (query["parent_span_id"], nested["parent_span_id"]) == (sent["root"], sent["query"])
    assert root["duration_ns"] >= query["duration_ns"] >= nested["duration_ns"] > 0
    assert query["attributes"]["db.system"] == "sqlite"
    assert rows[sent["failed"]]["status"] not in {"", query["status"]}


def test_structured_logs_become_one_row_each(ready: Any, sql: Any, program: Any) -> None:
    """A container of five logs gives five rows with their severities and typed attributes."""
    before = sql.rows("SELECT count() AS n FROM events WHERE item_type = 'log'")[0]["n"]
    program("sentry_logs", ready["dsn"])
    query = "SELECT body, severity_number, attributes, event_type, trace_id FROM events WHERE item_type = 'log'"
    rows = sql.wait(f"{query} ORDER BY timestamp, source_ordinal", before + 5)[-5:]
    severity = {row["body"]: row["severity_number"] for row in rows}
    assert severity == {"log debug": 5, "log info": 9, "log warning": 13, "log error": 17, "log fatal": 21}
    assert {row["event_type"] for row in rows} == {"app.log"}
    assert all(len(row["trace_id"]) == 32 for row in rows)
    attributes = next(row["attributes"] for row in rows if row["body"] == "log info")
    assert {"order.id": "42", "paid": "true", "ratio": "0.5", "shop": "A"}.items() <= attributes.items()


@proves("streamed spans", "one row each, `app.span`")
def test_streamed_spans_become_one_row_each(ready: Any, sql: Any, program: Any) -> None:
    """Span containers, which the SDK sends in place of transactions when it streams."""
    sent = program("sentry_streamed_spans", ready["dsn"])
    rows = {row["span_id"]: row for row in sql.wait(f"SELECT * FROM events WHERE trace_id = '{sent['trace_id']}'", 2)}
    assert set(rows) == {sent["segment"], sent["child"]}
    segment, child = rows[sent["segment"]], rows[sent["child"]]
    assert {(row["event_type"], row["item_type"]) for row in rows.values()} == {("app.span", "span")}
    assert (segment["name"], segment["attributes"]["cart.items"]) == ("checkout", "3")
    assert (child["name"], child["attributes"]["card.brand"]) == ("charge card", "visa")
    assert (segment["parent_span_id"], child["parent_span_id"]) == ("", sent["segment"])
    assert segment["duration_ns"] >= child["duration_ns"] > 0
