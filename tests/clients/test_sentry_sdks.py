"""The Sentry SDKs of several languages and ages, each running the same shop; every item they send, read back by SQL."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.clients.sentry_clients import GO, JAVA, NODE, NODE_7, PYTHON, PYTHON_1, RAVEN, RUST, Sent, sends

pytestmark = pytest.mark.clients

ERROR = "one row, `agent.error`"
MESSAGE = "one row, `app.log`"
SPANS = "a row for it and for each child, `app.span`"
LOG = "one row each, `app.log`"
CUSTOM = "one row each, `custom`"


@sends("error with causes, user, tag, breadcrumb", ERROR, PYTHON, PYTHON_1, RAVEN, NODE, NODE_7, GO, JAVA, RUST)
def test_an_error_is_one_row(sent: Sent) -> None:
    """Type, message, causes, stack, user, tags, server and payload; nothing was repaired."""
    (row,) = [row for row in sent.rows("event", _events(sent)) if row["event_type"] == "agent.error"]
    assert row["event_id"].replace("-", "") == sent.facts["error_id"]
    assert (row["severity_number"], row["severity_text"]) == (17, "error")
    assert (row["exception_type"], row["exception_message"]) == sent.client.error
    # also of Rust, whose SDK sends the stack of the thread that captured the error
    assert row["exception_stacktrace"]
    assert (row["user_id"], row["user_email"]) == ("u-42", "ada@example.com")
    assert row["attributes"]["till"] == "seven"
    assert row["attributes"]["breadcrumbs.count"] != "0"
    assert row["host_name"] == "till-7"
    assert all(cause in row["attributes"]["exception.chain"] for cause in sent.client.causes)
    assert "added 3 apples" in row["payload"]


def _events(sent: Sent) -> int:
    return 1 + ("message_id" in sent.facts)


@sends("message", MESSAGE, PYTHON_1, RAVEN, NODE_7)
def test_a_message_is_one_row(sent: Sent) -> None:
    """Body and level; no exception."""
    (row,) = [row for row in sent.rows("event", 2) if row["event_type"] == "app.log"]
    assert row["event_id"].replace("-", "") == sent.facts["message_id"]
    assert row["body"].startswith("stock is low")
    assert "%s" not in row["body"]
    assert (row["severity_number"], row["exception_type"]) == (13, "")


def assert_family(sent: Sent, root: dict[str, Any], child: dict[str, Any]) -> None:
    """Root and child of one trace, which the error shares."""
    assert (root["span_id"], child["span_id"]) == (sent.facts["root"], sent.facts["child"])
    assert (root["parent_span_id"], child["parent_span_id"]) == ("", sent.facts["root"])
    assert {root["trace_id"], child["trace_id"]} == {sent.facts["trace_id"]}
    assert (root["name"], root["span_op"]) == ("close till", "task")
    assert (child["name"], child["span_op"]) == ("SELECT cart", "db.query")
    assert root["duration_ns"] >= child["duration_ns"] > 0
    assert {root["event_type"], child["event_type"]} == {"app.span"}
    assert sent.row(sent.facts["error_id"])["trace_id"] == sent.facts["trace_id"]


@sends("transaction with a child span", SPANS, PYTHON, PYTHON_1, NODE_7, GO, JAVA, RUST)
def test_a_transaction_is_a_row_and_one_for_each_child(sent: Sent) -> None:
    """Both share the trace with the error that happened in it, and have user and server of the transaction."""
    (root,), (child,) = sent.rows("transaction", 1), sent.rows("span", 1)
    assert_family(sent, root, child)
    assert {root["user_id"], child["user_id"]} == {"u-42"}
    assert {root["host_name"], child["host_name"]} == {"till-7"}


@sends("streamed spans", "one row each, `app.span`", NODE)
def test_streamed_spans_are_one_row_each(sent: Sent) -> None:
    """What the SDK sends instead of a transaction."""
    rows = {row["span_id"]: row for row in sent.rows("span", 2)}
    assert_family(sent, rows[sent.facts["root"]], rows[sent.facts["child"]])
    assert rows[sent.facts["root"]]["attributes"]["cart.items"] == "3"
    assert {row["user_id"] for row in rows.values()} == {"u-42"}


@sends("structured log", LOG, PYTHON, NODE, GO, JAVA, RUST)
def test_a_log_is_one_row(sent: Sent) -> None:
    """Rendered body, severity, attributes, server, and the span it was written in."""
    (row,) = sent.rows("log", 1)
    assert (row["event_type"], row["body"], row["severity_number"]) == ("app.log", "stock is low: 2", 13)
    assert (row["trace_id"], row["span_id"]) == (sent.facts["trace_id"], sent.facts["child"])
    assert row["attributes"]["sku"] == "A-1"
    assert row["host_name"] == "till-7"


@sends("metrics: counter, gauge, distribution", CUSTOM, PYTHON, NODE, GO, JAVA, RUST)
def test_metrics_are_one_row_each(sent: Sent) -> None:
    """Kind, value, unit, attributes and the trace they were counted in."""
    rows = {row["name"]: row for row in sent.rows("trace_metric", 3)}
    kinds = {name: (row["metadata"]["type"], float(row["attributes"]["metric.value"])) for name, row in rows.items()}
    assert kinds == {
        "cart.added": ("counter", 3),
        "queue.length": ("gauge", 7),
        "page.load": ("distribution", 12.5),
    }
    assert {row["trace_id"] for row in rows.values()} == {sent.facts["trace_id"]}
    assert {row["event_type"] for row in rows.values()} == {"custom"}
    assert all(row["metadata"]["metric"] is True for row in rows.values())
    assert rows["cart.added"]["attributes"]["shop"] == "A"
    assert rows["page.load"]["metadata"]["unit"] == "millisecond"


def check_ins(sent: Sent, jobs: int) -> list[dict[str, Any]]:
    """Start and end of each of `jobs` runs: two rows of one check-in id."""
    rows = sent.rows("check_in", 2 * jobs)
    assert {row["event_type"] for row in rows} == {"custom"}
    assert all(row["metadata"]["checkIn"] is True for row in rows)
    assert len({row["metadata"]["checkInId"] for row in rows}) == jobs
    assert len({row["event_id"] for row in rows}) == 2 * jobs
    stock = [row for row in rows if row["name"] == "nightly-stock"]
    assert sorted(row["status"] for row in stock) == ["in_progress", "ok"]
    assert next(row for row in stock if row["status"] == "ok")["duration_ns"] > 0
    assert {row["trace_id"] for row in rows} == {sent.facts["trace_id"]}
    return rows


@sends("cron check-ins of a monitored job", CUSTOM, PYTHON_1)
def test_check_ins_are_one_row_each(sent: Sent) -> None:
    """Start and end of a job, in the trace it ran in."""
    check_ins(sent, 1)


@sends("cron check-ins with the monitor's configuration", CUSTOM, PYTHON, NODE, NODE_7, GO, JAVA)
def test_check_ins_carry_the_configuration_of_their_monitor(sent: Sent) -> None:
    """Schedule and limits as attributes."""
    rows = check_ins(sent, 2 if sent.client is PYTHON else 1)
    attributes = next(row["attributes"] for row in rows if row["status"] == "in_progress")
    is_daily = sent.client is NODE
    assert attributes["monitor.schedule.type"] == ("interval" if is_daily else "crontab")
    assert attributes["monitor.schedule.value"] == ("1" if is_daily else "5 * * * *")
    if sent.client is not NODE_7:
        assert attributes["monitor.timezone"] == "Europe/Rome"
        assert (attributes["monitor.checkin_margin"], attributes["monitor.max_runtime"]) == ("10", "20")


@sends("cron check-in of a failed job", CUSTOM, PYTHON)
def test_a_failed_job_checks_in_with_an_error(sent: Sent) -> None:
    """The end of the second job says so."""
    failed = [row["status"] for row in check_ins(sent, 2) if row["name"] == "nightly-broken"]
    assert sorted(failed) == ["error", "in_progress"]


@sends("session", "one row for each update, `custom`", PYTHON, PYTHON_1, NODE, NODE_7, JAVA, RUST)
def test_a_session_ends_as_one_row_for_each_update(sent: Sent) -> None:
    """The last one tells how it ended, how long it took, and whose it was."""
    query = f"SELECT DISTINCT session_id FROM events WHERE release = '{sent.release}' AND status = 'exited'"
    ended = "SELECT * FROM events WHERE item_type = 'session' AND status = 'exited' AND release ="
    sessions = sent.sql.wait(query, 2 if sent.client in (NODE, NODE_7) else 1)
    for session in sessions:
        (row,) = sent.sql.wait(f"{ended} '{sent.release}' AND session_id = '{session['session_id']}'", 1)
        assert (row["event_type"], row["environment"]) == ("custom", "staging")
        assert row["metadata"]["session"] is True
        assert len(row["session_id"]) == 32
        assert row["user_id"] == "u-42"
        assert row["duration_ns"] > 0


@sends(
    "attachment of an error", "one row, `app.log`, content as base64", PYTHON, PYTHON_1, NODE, NODE_7, GO, JAVA, RUST
)
def test_an_attachment_is_one_row_linked_to_its_event(sent: Sent) -> None:
    """Name, content and type; the event's id and trace."""
    about = f"attributes['sentry.event_id'] = '{sent.facts['error_id']}'"
    (row,) = sent.sql.wait(f"SELECT * FROM events WHERE item_type = 'attachment' AND {about}", 1)
    assert (row["event_type"], row["name"], base64.b64decode(row["body"])) == ("app.log", "cart.txt", b"3 apples")
    # of the envelope's header, or where that names no trace (Rust), of the event beside it
    assert (row["trace_id"], row["environment"]) == (sent.facts["trace_id"], "staging")
    assert row["attributes"]["attachment.content_type"] == "text/plain"
    assert row["metadata"]["eventId"] == sent.facts["error_id"]


@sends("user feedback", "one row, `custom`", NODE, JAVA)
def test_feedback_is_one_row_linked_to_its_event(sent: Sent) -> None:
    """What the user wrote, who it was, and which error it is about."""
    (row,) = sent.rows("feedback", 1)
    assert row["event_id"].replace("-", "") == sent.facts["feedback_id"]
    assert (row["event_type"], row["body"]) == ("custom", "the till is slow")
    assert (row["user_id"], row["user_email"], row["user_name"]) == ("u-42", "ada@example.com", "Ada")
    assert row["metadata"] == {"feedback": True, "associatedEventId": sent.facts["error_id"]}


@sends("client report of events it dropped itself", "counted in `outcomes`", PYTHON)
def test_what_a_client_dropped_itself_is_counted(sent: Sent) -> None:
    """The SDK's own discards are outcomes, with its reason."""
    channel = f"channel_id = {sent.ready['channel']} AND outcome = 'client_discarded'"
    query = f"SELECT item_type, sum(quantity) AS n FROM outcomes WHERE {channel} AND reason = 'before_send'"
    assert sent.sql.wait(f"{query} GROUP BY item_type", 1) == [{"item_type": "event", "n": 1}]
