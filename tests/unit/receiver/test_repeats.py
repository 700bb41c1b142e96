"""What the receiver remembers of a sender must never become another sender's, nor outlive a key."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.unit.receiver.test_app import ENVELOPE, ONE_CHANNEL, SECRET, Client, auth, key

PATH = "/api/42/envelope/"


@pytest.fixture
def client() -> Client:
    return Client()


def headers_of(client: Client, number: int) -> dict[str, str]:
    return client.publisher.published[number][2]


@pytest.mark.parametrize(
    ("changed", "name", "expected"),
    [
        ({"user_agent": "other/2"}, "User-Agent", "other/2"),
        ({"content_type": "text/plain"}, "Content-Type", "text/plain"),
        ({"x_sentry_auth": f"{auth()}, sentry_client=other/2"}, "Sentry-Client", "other/2"),
        ({"x_sentry_auth": auth(ONE_CHANNEL)}, "Key-Id", key(ONE_CHANNEL).id),
    ],
)
def test_a_message_has_its_own_senders_headers(client: Client, changed: Any, name: str, expected: str) -> None:
    """One, another, and the first again: nothing of the one is left in the other."""
    usual = {"x_sentry_auth": auth(), "user_agent": "usual/1", "content_type": "application/x-sentry-envelope"}
    for number, headers in enumerate((usual, usual | changed, usual)):
        assert client.post(PATH, ENVELOPE + b" " * number, **headers).status == 200
    first, second, third = (headers_of(client, number) for number in range(3))
    assert second[name] == expected
    own = {"Nats-Msg-Id"}
    assert {name: first[name] for name in first if name not in own} == {
        name: third[name] for name in third if name not in own
    }
    assert len({one["Nats-Msg-Id"] for one in (first, second, third)}) == 3


def test_a_published_message_changes_nobody_elses(client: Client) -> None:
    """The client library writes into the headers it is given."""
    client.publisher.on_publish = lambda headers: headers.update({"Nats-Batch-Commit": "1"})
    client.post(PATH, ENVELOPE, x_sentry_auth=auth())
    client.publisher.on_publish = lambda _headers: None
    client.post(PATH, ENVELOPE + b" ", x_sentry_auth=auth())
    assert "Nats-Batch-Commit" not in headers_of(client, 1)


def test_what_a_key_may_is_asked_every_time(client: Client) -> None:
    """A text that was read before opens nothing by itself: the registry has the word."""
    assert client.post(PATH, ENVELOPE, x_sentry_auth=auth()).status == 200
    gone = key(SECRET, revoked=True)
    client.registry.keys[gone.sha256] = gone
    assert client.post(PATH, ENVELOPE + b" ", x_sentry_auth=auth()).status == 401


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_end_of_a_whole_body_is_not_waited_for(client: Client, encoding: str) -> None:
    """When the declared length has come, there is nothing more to ask the server for."""
    body = gzip.compress(ENVELOPE) if encoding == "gzip" else ENVELOPE
    headers = [(b"x-sentry-auth", auth().encode()), (b"content-encoding", encoding.encode())]
    headers.append((b"content-length", b"%d" % len(body)))
    told = {"type": "http.request", "body": body, "more_body": True}
    assert client.run("POST", PATH, headers, [told]).status == 200  # asked again, it would hear of a disconnect
    assert client.publisher.published[0][1] == body
    short = [*headers[:2], (b"content-length", b"%d" % (len(body) + 1))]
    assert client.run("POST", PATH, short, [told]).status == 400
