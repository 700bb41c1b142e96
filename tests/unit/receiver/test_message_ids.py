"""The message id of a body, as a literal: a retry that reaches a receiver of another version is the same message."""

from __future__ import annotations

import pytest

from receiver.delivery import identity
from tests.unit.receiver.test_app import ENVELOPE, EVENT_ID, LOGS, Client, auth, otlp

SENT = [
    ("/api/42/envelope/", ENVELOPE, {"x_sentry_auth": auth()}, "26f19965a49b0c0797c5718b6db64481"),
    ("/v1/logs", LOGS, otlp(), "c7acd04c1d5a4e07d0cdd1e7871b8c00"),
    ("/v1/traces", b'{"resourceSpans":[]}', otlp(), "5f6eef3407893a685c9a557c880b3f24"),
    (
        "/api/42/store/",
        b'{"event_id":"%s"}' % EVENT_ID.encode(),
        {"x_sentry_auth": auth()},
        "835b5292d16cfc5cc42f996528a55a32",
    ),
]


@pytest.mark.parametrize(("path", "body", "headers", "expected"), SENT, ids=[path for path, *_ in SENT])
def test_the_same_request_is_the_same_message_in_every_version(
    path: str, body: bytes, headers: dict[str, str], expected: str
) -> None:
    """Through the whole application: what is hashed, and in which order."""
    client = Client()
    assert client.post(path, body, **headers).status == 200
    [(_, _, told)] = client.publisher.published
    assert told["Nats-Msg-Id"] == expected


def test_the_hash_itself() -> None:
    """Every part has its length in front; the body, and a salt before it, have none."""
    sender = identity.prefix("acme", 7, True)
    assert identity.message_id(sender, b"body") == "59a35319205237ac85c70e3751619940"
    assert identity.message_id(sender, b"body", b"salt") == "0cf1baa13da7ec76426ddeb2db237ae9"
    assert identity.message_id(identity.prefix("acme", 7, True), b"body") == identity.message_id(sender, b"body")
