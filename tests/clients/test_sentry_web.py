"""Django, FastAPI and Celery under sentry-sdk, streamed spans and personal data on: linked rows, no secret in any."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.sentry_clients import Facts, run, text_pin
from tests.clients.toolchains import PROGRAMS, python_interpreter

pytestmark = pytest.mark.clients

# What visitors and proxies put into requests, and what a task is called with. The SDK sends most of it as it is.
SECRETS = {
    "Authorization": "Bearer k7-authorization",
    "Cookie": "sessionid=k7-session; theme=k7-theme",
    "Proxy-Authorization": "Basic k7-proxy",
    "X-Amz-Security-Token": "k7-amz",
    "X-Api-Key": "k7-api-key",
    "X-Auth-Token": "k7-auth-token",
    "X-Csrftoken": "k7-csrf",
}
MARK = "k7-"
SET_BY_THE_SHOP = "given-by-the-shop"
RAISED = ("ZeroDivisionError", "integer division or modulo by zero")
FRAMEWORKS = {"django": "Django", "fastapi": "FastAPI", "celery": "Celery"}


@dataclass(frozen=True)
class Shop:
    """What one application sent."""

    sql: Any
    release: str
    trace_id: str
    caller: str

    def rows(self, condition: str, count: int) -> list[Facts]:
        """The `count` rows of this application, in their order."""
        where = f"release = '{self.release}' AND {condition}"
        rows: list[Facts] = self.sql.wait(f"SELECT * FROM events WHERE {where} ORDER BY timestamp", count)
        assert {row["trace_id"] for row in rows} == {self.trace_id}
        assert {row["environment"] for row in rows} == {"staging"}
        return rows

    def row(self, condition: str) -> Facts:
        """The only one."""
        (row,) = self.rows(condition, 1)
        return row


def proves(name: str, feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for one framework under the SDK."""
    package = text_pin("sentry-web/requirements.txt", rf"{name}==(\S+)")
    return pytest.mark.proves(f"{FRAMEWORKS[name]} under sentry-sdk", package, feature, result)


def applications(feature: str, result: str, *names: str) -> pytest.MarkDecorator:
    """Runs a test with what each application sent, and claims the feature for each."""
    cases = [pytest.param(name, marks=proves(name, feature, result), id=name) for name in names]
    return pytest.mark.parametrize("shop", cases, indirect=True)


@pytest.fixture(scope="module")
def shop(system: Any, sql_of_system: Any, request: pytest.FixtureRequest) -> Shop:
    """The application of the parameter, asked for a page or task that works and one that raises."""
    ready, trace_id = system.ready, uuid4().hex
    release = f"{request.param}@1.0.0+{trace_id}"
    dsn = ready["dsn"].replace(ready["public_token"], ready["api_key"])
    folder = PROGRAMS / "sentry-web"
    command = [python_interpreter("sentry-web"), folder / f"{request.param}_app.py", dsn, release, trace_id]
    said = json.loads(run(command, SHOP_SECRETS=json.dumps(SECRETS)).splitlines()[-1])
    assert said["statuses"] == [200, 500]
    assert said["version"] == text_pin("sentry-web/requirements.txt", r"sentry-sdk==(\S+)")
    return Shop(sql_of_system, release, trace_id, said["caller"])


@applications("streamed spans of requests", "one row each with HTTP columns", "django", "fastapi")
def test_requests_are_spans_of_the_callers_trace(shop: Shop) -> None:
    """Method, status, address, and the caller's span as the parent."""
    order, broken = shop.rows("span_op = 'http.server'", 2)
    assert {order["parent_span_id"], broken["parent_span_id"]} == {shop.caller}
    assert (order["name"], order["http_method"], order["http_status_code"]) == ("/orders/{number}", "GET", 200)
    assert (broken["name"], broken["http_status_code"], broken["status"]) == ("/broken", 500, "error")
    assert order["url"].endswith("/orders/41")
    assert {order["user_id"], broken["user_id"]} == {"127.0.0.1"}


@applications("streamed spans of sent and worked tasks", "one row each with messaging columns", "celery")
def test_tasks_are_spans_of_the_senders_trace(shop: Shop) -> None:
    """From the checkout that sent them to the worker that ran them; each worked one ends below what sent it."""
    checkout = shop.row("name = 'GET /checkout'")
    assert checkout["parent_span_id"] == shop.caller
    spans = {row["span_id"]: row for row in shop.rows("item_type = 'span' AND name LIKE 'shop.%'", 10)}
    order, broken = shop.rows("span_op = 'queue.process'", 2)
    assert [order["name"], broken["name"]] == ["shop.order", "shop.broken"]
    assert (order["status"], broken["status"]) == ("ok", "error")
    assert (order["messaging_system"], order["messaging_destination"]) == ("memory", "celery")
    for row in (order, broken):
        span_id = row["span_id"]
        while span_id in spans:
            span_id = spans[span_id]["parent_span_id"]
        assert span_id == checkout["span_id"]


@applications("error of a request or task, unhandled", "one row, `agent.error`", "django", "fastapi", "celery")
def test_what_was_raised_is_one_error_in_its_span(shop: Shop, request: pytest.FixtureRequest) -> None:
    """Type, message, the application's own frame, and the span in which it was raised."""
    error = shop.row("event_type = 'agent.error'")
    assert (error["exception_type"], error["exception_message"]) == RAISED
    name = request.node.callspec.params["shop"]
    assert f"{name}_app.py" in error["exception_stacktrace"].splitlines()[-1]
    assert shop.row(f"item_type = 'span' AND span_id = '{error['span_id']}'")["trace_id"] == error["trace_id"]


@applications("log within a request or task", "one row, `app.log`", "django", "fastapi", "celery")
def test_a_log_is_one_row_in_its_span(shop: Shop) -> None:
    """Rendered text, severity, logger, and the span it was written in."""
    log = shop.row("item_type = 'log' AND scope_name = 'shop.orders'")
    assert (log["body"], log["severity_number"], log["host_name"]) == ("order 41 is late", 13, "till-7")
    assert shop.row(f"item_type = 'span' AND span_id = '{log['span_id']}'")["status"] == "ok"


SECRET = "secret headers and cookies, with personal data on"


@applications(SECRET, "masked in every column", "django", "fastapi", "celery")
def test_no_secret_header_is_stored(shop: Shop, drained: Any) -> None:
    """The SDK sends them; no column of any row has them. Harmless headers stay."""
    shop.row("event_type = 'agent.error'")
    drained()
    rows = shop.sql.rows(f"SELECT * FROM events WHERE release = '{shop.release}'")
    for row in rows:
        text = json.dumps(row)
        assert MARK not in text, row["item_type"]
        assert SET_BY_THE_SHOP not in text, row["item_type"]
    for row in rows:
        if row["span_op"] == "http.server":
            assert row["attributes"]["http.request.header.host"].startswith("127.0.0.1:")
            assert row["attributes"]["http.request.header.x-api-key"] not in ("", SECRETS["X-Api-Key"])
