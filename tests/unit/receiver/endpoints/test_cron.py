"""Check-ins by plain HTTP: every spelling of a ping, from the request to the item that unpack makes of it."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import headers
from schemas.envelope import body as envelope
from schemas.headers import Origin
from tests.unit.receiver.test_app import OVERRIDE, PUBLIC, SECRET, Answered, Client, auth
from workers.normalise.sentry import check_in
from workers.normalise.verdict import Invalid
from workers.unpack import cron as split
from workers.unpack.readers import READERS

ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"


@pytest.fixture
def client() -> Client:
    return Client()


def origin(query: str = "", content_type: str = "", resource: str = "nightly") -> Origin:
    return Origin(
        "default", 7, "key", "production", True, 10**18, content_type=content_type, resource=resource, query=query,
        origin_id="raw-1",
    )  # fmt: skip


def fields(body: bytes = b"", **options: str) -> dict[str, Any]:
    """The payload of the one item a ping becomes."""
    [(index, worker, item)] = split.read(body, origin(**options), 1_000_000).items
    _, [one] = envelope.read(item)
    assert (index, worker, one.type) == (0, "check_in", "check_in")
    found: dict[str, Any] = orjson.loads(bytes(one.payload))
    return found


# --- the endpoint


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        f"/api/42/cron/nightly?status=ok&sentry_key={SECRET}",
        f"/api/42/cron/nightly/?sentry_key={SECRET}&status=ok",
        f"/api/42/cron/nightly/{SECRET}?status=ok",
        f"//proxy/prefix/api/42//cron/nightly/{SECRET}/?status=ok",
        f"/api/42/cron/nightly/{SECRET}/?status=ok&sentry_key={SECRET}",
    ],
)
def test_a_ping_is_a_message_without_its_key(client: Client, method: str, path: str) -> None:
    """200, and the broker learns slug and query; the key is in neither."""
    answer = client.send(method, path)
    assert (answer.status, answer.json) == (200, {})
    [(subject, body, sent)] = client.publisher.published
    found = headers.read(sent, 1)
    assert (subject, body) == ("raw.sentry.cron.42", b"")
    assert (found.resource, found.query) == ("nightly", "status=ok")
    assert SECRET not in repr(sent)


def test_equal_pings_are_two_messages_and_a_named_one_is_one(client: Client) -> None:
    """A crontab line sends the same bytes each night; a check-in with an id that comes twice is a retry."""
    path = f"/api/42/cron/nightly/{SECRET}?status=ok"
    for query in ("", "", "&check_in_id=", f"&check_in_id={'0' * 32}", f"&check_in_id={'0' * 32}"):
        client.send("GET", path + query)
    ids = [sent["Nats-Msg-Id"] for _, _, sent in client.publisher.published]
    assert len(set(ids)) == 5
    for _ in range(2):
        client.send("GET", f"{path}&check_in_id={ID}")
    assert len({sent["Nats-Msg-Id"] for _, _, sent in client.publisher.published}) == 6


def test_slugs_of_any_script_arrive_whole(client: Client) -> None:
    """A header of the broker is ASCII; the slug is encoded on its way and read again by unpack."""
    client.send("GET", f"/api/42/cron/nächtlich ☾/{SECRET}?status=ok")
    found = headers.read(client.publisher.published[0][2], 1)
    assert fields(resource=found.resource, query=found.query)["monitor_slug"] == "nächtlich ☾"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/42/cron/nightly?status=ok", 401),
        ("/api/42/cron/nightly/not-a-key?status=ok", 401),
        (f"/api/42/cron/nightly/{SECRET}?status=ok&sentry_key={OVERRIDE}", 401),
        (f"/api/x/cron/nightly/{SECRET}?status=ok", 400),
        (f"/api/77/cron/nightly/{SECRET}?status=ok", 404),
        (f"/api/42/cron/nightly/{SECRET}", 400),
        (f"/api/42/cron/nightly/{SECRET}?status=", 400),
        (f"/api/42/cron/nightly/{SECRET}/more?status=ok", 404),
        (f"/api/42/cron/?status=ok&sentry_key={SECRET}", 404),
    ],
)
def test_pings_that_cannot_be_taken_say_why(client: Client, path: str, status: int) -> None:
    """JSON with a reason, and never the key."""
    answer = client.send("GET", path)
    assert answer.status == status
    assert answer.json["detail"]
    assert SECRET not in answer.body.decode() + repr(answer.headers)
    assert client.publisher.published == []


def test_origins_and_environments_hold_for_pings_too(client: Client) -> None:
    """A page the key is not meant for is refused; the header names the environment where the key allows it."""
    path = "/api/42/cron/nightly/{}?status=ok"
    assert client.send("GET", path.format(PUBLIC), headers={"origin": "https://evil.example"}).status == 403
    assert client.send("GET", path.format(PUBLIC), headers={"origin": "https://shop.example"}).status == 200
    answer = client.send("GET", path.format(OVERRIDE), headers={"x-axonpush-environment": "staging"})
    assert answer.headers["x-axonpush-resolved-environment"] == "staging"


def test_a_json_check_in_is_published_as_it_came(client: Client) -> None:
    """The receiver looks into no body: what is in it, unpack judges."""
    answer: Answered = client.post("/api/42/cron/nightly/", b"{", x_sentry_auth=auth(), content_type="application/json")
    assert answer.status == 200
    assert client.publisher.published[0][1] == b"{"


# --- what unpack makes of it


def test_query_becomes_a_check_in() -> None:
    """Decoded, the duration as a number, and nothing but a check-in's own fields."""
    query = f"status=error&check_in_id={ID}&environment=eu%20west&duration=12.5&monitor_slug=x&junk=1"
    assert fields(query=query) == {
        "monitor_slug": "nightly", "status": "error", "check_in_id": ID, "environment": "eu west", "duration": 12.5,
    }  # fmt: skip
    assert fields(query="status=ok&duration=soon")["duration"] == "soon"


def test_json_body_becomes_a_check_in() -> None:
    """Its fields win over the query's; the slug of the path wins over its own."""
    body = orjson.dumps({"status": "ok", "monitor_slug": "other", "monitor_config": {"schedule": {"type": "crontab"}}})
    found = fields(body, query="status=error&duration=1", content_type="application/json; charset=utf-8")
    assert found == {
        "status": "ok", "duration": 1.0, "monitor_slug": "nightly", "monitor_config": {"schedule": {"type": "crontab"}},
    }  # fmt: skip
    assert fields(body, content_type="application/x-www-form-urlencoded")["status"] == "ok"


def test_form_body_becomes_a_check_in() -> None:
    """What `curl -d` sends."""
    form = "application/x-www-form-urlencoded"
    assert fields(b"status=in_progress&duration=3", content_type=form) == {
        "monitor_slug": "nightly", "status": "in_progress", "duration": 3.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b"", {}),
        (b"{}", {}),
        (b"{", {"query": "status=ok"}),
        (b"[]", {"content_type": "application/json"}),
        (b"status=ok", {"content_type": "application/json"}),
    ],
)
def test_a_ping_without_a_status_is_invalid(body: bytes, options: dict[str, str]) -> None:
    """And so is a body that claims to be JSON and is none."""
    with pytest.raises(Invalid):
        split.read(body, origin(**options), 1_000_000)


@given(st.binary(max_size=300), st.text(max_size=200), st.text(max_size=60), st.sampled_from(["", "application/json"]))
def test_any_ping_is_a_check_in_or_invalid(body: bytes, query: str, resource: str, content_type: str) -> None:
    """Whatever path, query and body hold, one row or one sentence."""
    where = origin(headers.clean(query), content_type, headers.clean(resource))
    with contextlib.suppress(Invalid):
        [(_, _, item)] = READERS["sentry.cron"](body, where, 1_000_000).items
        found = check_in.normalise(where, item)
        assert len(found.rows) + len(found.rejections) == 1
