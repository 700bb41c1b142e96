"""The Sentry SDK for browsers in a real, headless one, on pages of another origin than the receiver's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.clients.browser_shop import Shop, Visit, open_shop
from tests.clients.sentry_clients import npm_pin

pytestmark = pytest.mark.clients

VERSION = npm_pin("sentry-browser", "@sentry/browser")
VISITS = ("everything", "replayed", "message", "preflighted", "deviceMode")
Visits = dict[str, Visit]


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for the SDK in the browser."""
    return pytest.mark.proves("@sentry/browser", VERSION, feature, result)


@pytest.fixture(scope="module")
def shop(system: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop for all tests, with a release of its own."""
    with open_shop(system, tmp_path_factory.mktemp("shop"), f"shop@1.0.0+{uuid4().hex}") as running:
        yield running


@pytest.fixture(scope="module")
def visits(shop: Shop) -> Visits:
    """One browser visits every page, the last two through a tunnel and from an origin that the key does not allow."""
    pages = [shop.page(name) for name in VISITS]
    pages += [shop.page("tunnelled", tunnel=f"{shop.api}/envelope/"), shop.page("message", host="localhost")]
    return dict(zip((*VISITS, "tunnelled", "refused"), shop.visit(*pages), strict=True))


@pytest.fixture
def event(sql: Any, shop: Shop) -> Any:
    """The row of an event id, after looking at what all have in common."""

    def find(event_id: str) -> dict[str, Any]:
        (row,) = sql.wait(f"SELECT * FROM events WHERE event_id = '{UUID(event_id)}'", 1)
        assert (row["release"], row["environment"]) == (shop.release, "web")
        assert (row["sdk_name"], row["sdk_version"]) == ("sentry.javascript.browser", VERSION)
        assert not row["repairs"]
        found: dict[str, Any] = row
        return found

    return find


@proves("error with user, tag, breadcrumb", "one row, `agent.error`")
def test_an_error_of_a_page_is_one_row(visits: Visits, event: Any) -> None:
    """Type, message, stack, user, page and browser."""
    sent = visits["everything"].facts
    assert sent["version"] == VERSION
    row = event(sent["error_id"])
    assert (row["event_type"], row["item_type"], row["severity_number"]) == ("agent.error", "event", 17)
    assert (row["exception_type"], row["exception_message"]) == ("TypeError", "no payment of 3")
    assert "shop.js" in row["exception_stacktrace"]
    assert (row["user_id"], row["user_email"]) == ("u-42", "ada@example.com")
    assert row["attributes"]["till"] == "seven"
    assert row["attributes"]["user_agent.original"].startswith("Mozilla/")
    assert row["url"].endswith("/shop.html")
    assert row["trace_id"] == sent["trace_id"]


@proves("authentication by query string, no preflight", "accepted")
def test_a_page_needs_no_preflight(visits: Visits) -> None:
    """The SDK's requests are simple ones; the key is in the query."""
    requests = visits["everything"].requests
    assert {one["method"] for one in requests} == {"POST"}
    assert all("sentry_key=pt_" in one["url"] for one in requests)
    assert 200 in visits["everything"].statuses("POST")


@proves("headers of the page's own: preflight", "accepted")
def test_a_page_that_adds_headers_asks_first(visits: Visits, event: Any) -> None:
    """The browser's own OPTIONS is answered, and the event that follows arrives."""
    visit = visits["preflighted"]
    assert visit.statuses("OPTIONS") == {200}
    assert event(visit.facts["message_id"])["body"] == "after a preflight"


@proves("page of an origin the token does not allow", "refused with 403, no row")
def test_a_page_of_another_origin_is_refused(visits: Visits, event: Any, sql: Any) -> None:
    """The same page under another host name gets 403 for everything it sends."""
    visit = visits["refused"]
    assert visit.statuses("POST") == {403}
    event(visits["tunnelled"].facts["message_id"])
    assert sql.rows(f"SELECT 1 FROM events WHERE event_id = '{UUID(visit.facts['message_id'])}'") == []


@proves("tunnel: key only in the envelope's dsn", "one row")
def test_a_tunnelled_envelope_is_a_row(visits: Visits, event: Any) -> None:
    """No key in the address, none in a header."""
    visit = visits["tunnelled"]
    assert not any("sentry_key" in one["url"] for one in visit.requests)
    assert event(visit.facts["message_id"])["body"] == "through a tunnel"


@proves("distributed trace into a Python backend", "rows of both with one trace_id")
def test_a_trace_goes_on_in_the_backend(visits: Visits, sql: Any) -> None:
    """The backend's transaction is a child of the browser's request, which is a child of the page's span."""
    sent = visits["everything"].facts
    in_trace = f"FROM events WHERE trace_id = '{sent['trace_id']}'"
    (backend,) = sql.wait(f"SELECT * {in_trace} AND item_type = 'transaction'", 1)
    (request,) = sql.wait(f"SELECT * {in_trace} AND span_id = '{backend['parent_span_id']}'", 1)
    assert (backend["name"], backend["sdk_name"]) == ("GET /checkout", "sentry.python")
    assert (request["span_op"], request["sdk_name"]) == ("http.client", "sentry.javascript.browser")
    assert request["parent_span_id"] in {sent["root"], sent["child"]}
    (said,) = sql.wait(f"SELECT * {in_trace} AND item_type = 'event' AND sdk_name = 'sentry.python'", 1)
    assert (said["body"], said["span_id"]) == ("checkout is slow", backend["span_id"])


@proves("streamed spans, page load among them", "one row each, `app.span`")
def test_spans_of_a_page_are_one_row_each(visits: Visits, sql: Any) -> None:
    """Own spans with their parents; the page load; a resource's server is not taken for the sender."""
    sent = visits["everything"].facts
    query = f"SELECT * FROM events WHERE item_type = 'span' AND trace_id = '{sent['trace_id']}'"
    (root,) = sql.wait(f"{query} AND span_id = '{sent['root']}'", 1)
    (child,) = sql.wait(f"{query} AND span_id = '{sent['child']}'", 1)
    assert (root["name"], root["span_op"], root["event_type"]) == ("pay", "ui.action", "app.span")
    assert (child["name"], child["parent_span_id"], child["user_id"]) == ("checkout", sent["root"], "u-42")
    sql.wait(f"{query} AND span_op = 'pageload'", 1)
    resources = sql.wait(f"{query} AND span_op = 'resource.script'", 2)
    assert {row["host_name"] for row in resources} == {""}


@proves("structured log", "one row each, `app.log`")
def test_a_log_of_a_page_is_one_row(visits: Visits, sql: Any, shop: Shop) -> None:
    """In the span that wrote it."""
    sent = visits["everything"].facts
    (row,) = sql.wait(f"SELECT * FROM events WHERE item_type = 'log' AND release = '{shop.release}'", 1)
    assert (row["event_type"], row["body"], row["severity_number"]) == ("app.log", "stock is low", 13)
    assert (row["trace_id"], row["span_id"], row["user_id"]) == (sent["trace_id"], sent["root"], "u-42")


@proves("metric", "one row each, `custom`")
def test_a_metric_of_a_page_is_one_row(visits: Visits, sql: Any, shop: Shop) -> None:
    """Name, value and trace."""
    (row,) = sql.wait(f"SELECT * FROM events WHERE item_type = 'trace_metric' AND release = '{shop.release}'", 1)
    assert (row["name"], row["attributes"]["metric.value"]) == ("cart.added", "3")
    assert (row["event_type"], row["trace_id"]) == ("custom", visits["everything"].facts["trace_id"])


@proves("user feedback", "one row, `custom`")
def test_feedback_of_a_visitor_is_one_row(visits: Visits, event: Any) -> None:
    """The words, who wrote them, and the error they are about."""
    sent = visits["everything"].facts
    row = event(sent["feedback_id"])
    assert (row["event_type"], row["item_type"], row["body"]) == ("custom", "feedback", "the shop is slow")
    assert (row["user_email"], row["user_name"]) == ("ada@example.com", "Ada")
    assert row["metadata"] == {"feedback": True, "associatedEventId": sent["error_id"]}


@proves("session", "one row for each update, `custom`")
def test_sessions_of_a_page_are_rows(visits: Visits, sql: Any, shop: Shop) -> None:
    """Each has a release and the environment of the key."""
    assert visits
    query = f"SELECT * FROM events WHERE item_type = 'session' AND release = '{shop.release}' AND user_id = 'u-42'"
    (row,) = sql.wait(f"{query} ORDER BY timestamp DESC LIMIT 1", 1)
    assert (row["event_type"], row["environment"], row["metadata"]["session"]) == ("custom", "web", True)


@proves("attachment of an error", "one row, `app.log`, content as base64")
def test_an_attachment_of_a_page_is_one_row(visits: Visits, sql: Any) -> None:
    """Linked to its event."""
    sent = visits["everything"].facts
    about = f"attributes['sentry.event_id'] = '{sent['error_id']}'"
    (row,) = sql.wait(f"SELECT * FROM events WHERE item_type = 'attachment' AND {about}", 1)
    assert (row["name"], row["trace_id"], row["environment"]) == ("cart.txt", sent["trace_id"], "web")


@proves("session replay", "no row; counted in `outcomes` with its reason")
def test_a_replay_is_counted_and_named(visits: Visits, sql: Any, event: Any) -> None:
    """Both items of a replay are drops of the page's key; nothing of it is stored."""
    assert 200 in visits["replayed"].statuses("POST")
    key_id = event(visits["message"].facts["message_id"])["key_id"]
    dropped = f"FROM outcomes WHERE key_id = '{key_id}' AND outcome = 'dropped' AND item_type LIKE 'replay%'"
    rows = sql.wait(f"SELECT DISTINCT item_type, reason {dropped} ORDER BY item_type", 2)
    assert [row["item_type"] for row in rows] == ["replay_event", "replay_recording"]
    assert all(row["item_type"] in row["reason"] for row in rows)
    assert sql.rows("SELECT 1 FROM events WHERE item_type LIKE 'replay%'") == []


@proves("device mode: setUser on identify, setTag, release, server name, logger", "columns and attributes of the row")
def test_what_a_device_mode_integration_sets_arrives(visits: Visits, event: Any) -> None:
    """User and traits, release, server name and logger, from the SDK loaded by a script tag."""
    row = event(visits["deviceMode"].facts["error_id"])
    assert (row["user_id"], row["user_email"], row["user_name"]) == ("u-42", "ada@example.com", "ada")
    assert row["host_name"] == "till-7"
    expected = {"logger": "storefront", "serverName": "till-7", "user.plan": "gold", "sentry.environment": "staging"}
    assert expected.items() <= row["attributes"].items()


@pytest.mark.parametrize(
    "by_reporting_api",
    [
        pytest.param(
            by_reporting_api,
            id=how,
            marks=pytest.mark.proves("Chromium", "any", f"CSP report by {how}", "one row, `app.log`"),
        )
        for how, by_reporting_api in (("report-uri", False), ("report-to (Reporting API)", True))
    ],
)
def test_the_browser_itself_reports_a_broken_policy(shop: Shop, sql: Any, *, by_reporting_api: bool) -> None:
    """Content-Security-Policy, sent by the browser without any SDK: what was blocked, where, and by which directive."""
    mark = uuid4().hex
    (visit,) = shop.visit(shop.policy(mark, by_reporting_api=by_reporting_api))
    assert visit.facts == {"how": "report-to" if by_reporting_api else "report-uri"}
    (row,) = sql.wait(f"SELECT * FROM events WHERE item_type = 'csp' AND payload LIKE '%mark={mark}%'", 1)
    assert (row["event_type"], row["environment"]) == ("app.log", "web")
    assert row["metadata"]["sentryItemType"] == "csp"
    assert "style-src-elem" in row["payload"]
    assert "inline" in row["body"]
