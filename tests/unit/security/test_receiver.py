"""What a stranger learns from the receiver's answers: nothing about channels, keys or other people's traffic."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.http.request import Request
from schemas.registry import Channel
from tests.unit.receiver.test_app import FOREIGN, LOGS, ONE_CHANNEL, REVOKED, SECRET, Client, auth, otlp

OTHERS_CHANNEL = 77


@pytest.fixture
def client() -> Client:
    made = Client()
    made.registry.channels[OTHERS_CHANNEL] = Channel(id=OTHERS_CHANNEL, organisation="other")
    return made


@pytest.mark.parametrize("key", ["", "ak_" + "x" * 32, REVOKED])
@pytest.mark.parametrize("where", ["envelope", "otlp", "native"])
def test_without_a_key_every_channel_looks_alike(client: Client, key: str, where: str) -> None:
    """One's own, somebody else's, none at all: 401, and the same bytes."""

    def answered(channel: int) -> tuple[int, bytes, dict[str, str]]:
        if where == "envelope":
            answer = client.post(f"/api/{channel}/envelope/", b"{}\n", **({"x_sentry_auth": auth(key)} if key else {}))
        elif where == "otlp":
            answer = client.post("/v1/logs", LOGS, **otlp(key, str(channel)))
        else:
            answer = client.post(
                "/event", b'{"channel_id":%d}' % channel, x_api_key=key, content_type="application/json"
            )
        return answer.status, answer.body, answer.headers

    found = [answered(channel) for channel in (42, OTHERS_CHANNEL, 123_456)]
    assert found[0][0] == 401
    assert found[0] == found[1] == found[2]
    assert client.publisher.published == []


def test_a_key_of_another_channel_learns_no_more_than_the_status(client: Client) -> None:
    """403 where the channel is somebody else's or not for this key, 404 where there is none; never an owner."""
    for key, channel, status in (
        (SECRET, OTHERS_CHANNEL, 403),
        (FOREIGN, 42, 403),
        (ONE_CHANNEL, 43, 403),
        (SECRET, 5, 404),
    ):
        answer = client.post(f"/api/{channel}/envelope/", b"{}\n", x_sentry_auth=auth(key))
        assert answer.status == status
        assert b"default" not in answer.body
        assert b"other " not in answer.body.replace(b"other channels", b"").replace(b"another organisation", b"")
    assert client.publisher.published == []


def test_metrics_name_no_key_channel_or_sender(client: Client) -> None:
    """Their labels are words of ours: after any traffic the text has none of the senders'."""
    client.post(f"/api/{OTHERS_CHANNEL}/envelope/", b"{}\n", x_sentry_auth=auth(FOREIGN), user_agent="spy/1")
    client.post("/api/424242/envelope/", b"{}\n", x_sentry_auth=auth(SECRET))
    client.post(f"/{SECRET}/nowhere", b"{}\n")
    text = client.send("GET", "/metrics").body.decode()
    assert "axonpush_receiver_requests_total" in text
    for told in (SECRET, FOREIGN, "424242", "spy", "nowhere", "production", "default"):
        assert told not in text


def test_metrics_can_have_a_port_of_their_own() -> None:
    """Then the senders' port does not know them."""
    assert Client(receiver_metrics_port=9109).send("GET", "/metrics").status == 404
    assert Client().send("GET", "/metrics").status == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_no_foreign_page_can_read_what_is_for_operators(client: Client, path: str) -> None:
    """Or a page an operator visits could read them through the operator's browser."""
    for method in ("GET", "OPTIONS"):
        answer = client.send(method, path, headers={"origin": "https://evil.example"})
        assert not [
            name for name in answer.headers if name in ("access-control-allow-origin", "cross-origin-resource-policy")
        ]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example\r\nset-cookie: a=b", "https://a\tb", "javascript:alert(1)", "https://x" * 200, "*",
        "https://\u00e9.example", "https://a b", "<script>",
    ],
)  # fmt: skip
def test_an_origin_that_is_none_is_not_repeated(client: Client, origin: str) -> None:
    """What we echo is a scheme, a host and a port; no cookie is ever set or read, so credentials are worth nothing."""
    answer = client.post("/api/42/envelope/", b"", origin=origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("length", ["9" * 5_000, "-1", "1e3", "\u0661", "0x10", " 1", ""])
def test_a_length_that_is_no_number_is_none(length: str) -> None:
    """Never an exception, whatever a server in front lets through."""
    scope: dict[str, Any] = {"method": "POST", "path": "/", "headers": [(b"content-length", length.encode())]}
    assert Request.from_scope(scope, None).declared_length() is None  # type: ignore[arg-type]
