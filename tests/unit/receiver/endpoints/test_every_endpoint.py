"""What holds at every Sentry endpoint with a channel in its path: keys, origins, environments, preflight.

The list is the application's own routes, so that a new endpoint is held to it too.
"""

from __future__ import annotations

import pytest

from receiver.http.routes import Route
from tests.unit.receiver.test_app import FOREIGN, OVERRIDE, PUBLIC, REVOKED, SECRET, Client, auth

PARAMS = {"{channel}": "42", "{slug}": "nightly", "{event_id}": "a" * 32, "{key}": PUBLIC}


def routes() -> list[Route]:
    """Every Sentry endpoint with a channel in its path; those with a key in it are told their key there."""
    found = Client().app._routes
    every = [*found._exact.values(), *(route for group in found._by_end.values() for _, route in group)]
    return [route for route in every if "{channel}" in route.pattern and route.dialect.name == "sentry"]


def path(route: Route, key: str, channel: str = "42") -> str:
    """The route's path for a key: in the path if it stands there, else in the query as browsers send it."""
    filled = route.pattern
    for name, value in {**PARAMS, "{channel}": channel, "{key}": key or "none"}.items():
        filled = filled.replace(name, value)
    in_query = f"&sentry_key={key}" if key and "{key}" not in route.pattern else ""
    return f"{filled}/?status=ok&sentry_version=7{in_query}"


every_route = pytest.mark.parametrize("route", routes(), ids=lambda route: route.pattern)


def test_the_list_is_the_endpoints() -> None:
    """Or the rest of this file would promise nothing."""
    assert {"/api/{channel}/envelope", "/api/{channel}/store", "/api/{channel}/cron/{slug}/{key}"} <= {
        route.pattern for route in routes()
    }


def test_names_of_routes_stay() -> None:
    """They are labels of metrics and item types of outcomes: dashboards and alerts know them."""
    assert {(route.pattern.removeprefix("/api/{channel}/"), route.name) for route in routes()} == {
        ("envelope", "sentry.envelope"),
        ("store", "sentry.store"),
        ("cron/{slug}", "sentry.cron"),
        ("cron/{slug}/{key}", "sentry.cron"),
        ("security", "sentry.security"),
        ("csp-report", "sentry.security"),
        ("minidump", "sentry.minidump"),
        ("events/{event_id}/attachments", "sentry.attachments"),
    }


@pytest.mark.parametrize(
    ("origin", "echoed"),
    [
        ("https://shop.example", "https://shop.example"),
        ("null", "null"),
        ("", "*"),
        ("https://shop.example/<b>", "*"),
        ("shop.example", "*"),
        ("https://" + "a" * 256, "*"),
    ],
)
def test_only_what_a_browser_sends_as_an_origin_is_echoed(origin: str, echoed: str) -> None:
    """Anything else is a sender's text in our headers."""
    answer = Client().send("POST", "/api/42/envelope/", b"{}", {"origin": origin} if origin else {})
    assert answer.headers["access-control-allow-origin"] == echoed


@every_route
@pytest.mark.parametrize(
    ("key", "channel", "status"),
    [("", "42", 401), ("ak_" + "x" * 32, "42", 401), (REVOKED, "42", 401), (FOREIGN, "42", 403), (SECRET, "777", 404),
     (SECRET, "x", 400)],
)  # fmt: skip
def test_keys_and_channels_are_checked(route: Route, key: str, channel: str, status: int) -> None:
    """Nothing is published for a request that may not send."""
    client = Client()
    for method in route.methods:
        answer = client.send(method, path(route, key, channel), b"{}")
        assert answer.status == status
        assert not key or key not in answer.body.decode()
    assert client.publisher.published == []


@every_route
@pytest.mark.parametrize("by_query", [True, False])
@pytest.mark.parametrize("name", ["origin", "referer"])
def test_origins_are_checked_however_the_key_came(route: Route, *, by_query: bool, name: str) -> None:
    """A page that a public token is not meant for is refused and told so in a way that it can read."""
    client = Client()
    where = path(route, PUBLIC if by_query or "{key}" in route.pattern else "")
    headers = {} if by_query else {"x-sentry-auth": auth(PUBLIC)}
    for method in route.methods:
        refused = client.send(method, where, b"{}", {**headers, name: "https://evil.example/page"})
        assert refused.status == 403
        assert "access-control-allow-origin" in refused.headers
        for origin in ("https://shop.example/cart", "https://a.wild.example"):
            taken = client.send(method, where, b"{}", {**headers, name: origin})
            assert taken.status not in (401, 403, 404)
        assert client.send(method, where, b"{}", headers).status not in (401, 403, 404)


@every_route
@pytest.mark.parametrize(
    ("key", "environment", "via"), [(SECRET, "production", "api-key"), (OVERRIDE, "staging", "header")]
)
def test_the_environment_header_counts_where_the_key_allows_it(
    route: Route, key: str, environment: str, via: str
) -> None:
    """And the answer says which environment it became."""
    client = Client()
    for method in route.methods:
        answer = client.send(method, path(route, key), b"{}", {"x-axonpush-environment": "staging"})
        assert answer.headers["x-axonpush-resolved-environment"] == environment
        assert answer.headers["x-axonpush-resolved-via"] == via
    assert all(sent["Environment"] == environment for _, _, sent in client.publisher.published)


@every_route
def test_preflight_is_answered_before_any_key(route: Route) -> None:
    """Browsers send none with it; every answer lets a page read limits and reasons."""
    answer = Client().send("OPTIONS", path(route, ""), headers={"origin": "https://evil.example"})
    assert answer.status in (200, 204)
    exposed = answer.headers["access-control-expose-headers"]
    assert all(name in exposed for name in ("x-sentry-error", "x-sentry-rate-limits", "retry-after"))


@every_route
def test_the_key_never_travels_on(route: Route) -> None:
    """Neither in the headers nor in the subject of what is published."""
    client = Client()
    for method in route.methods:
        client.send(method, path(route, SECRET), b'{"message":"x"}')
    assert SECRET not in repr(client.publisher.published)


@pytest.mark.parametrize("keys", [(PUBLIC, SECRET), (SECRET, PUBLIC), (SECRET, FOREIGN)])
@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/api/42/envelope/", "x-sentry-auth", "Sentry sentry_key={}"),
        ("/api/42/store/", "x-sentry-auth", "Sentry sentry_version=7, sentry_key={}"),
        ("/v1/logs", "x-api-key", "{}"),
        ("/event", "x-api-key", "{}"),
    ],
)
def test_two_keys_in_equal_headers_are_two_keys(path: str, name: str, value: str, keys: tuple[str, str]) -> None:
    """A header that comes twice with different keys is 401 in any order, and the same one twice is one."""
    client = Client()
    twice = [(name, value.format(key)) for key in keys]
    more = [("x-axonpush-channel", "42"), ("content-type", "application/json")]
    body = b'{"resourceLogs":[]}' if path == "/v1/logs" else b"{}"
    assert client.send("POST", path, body, [*twice, *more]).status == 401
    assert client.publisher.published == []
    same = [(name, value.format(SECRET))] * 2
    assert client.send("POST", path, body, [*same, *more]).status not in {401, 403}
