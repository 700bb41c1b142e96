"""After a refusal the rest of the body is read and thrown away, within bounds, so that the refusal is heard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from receiver.http import unread_body
from receiver.http.unread_body import MAX_BODIES_OF_ADDRESS, MAX_BYTES, UnreadBodies
from tests.unit.held_requests import Held, settled
from tests.unit.receiver.test_app import PUBLIC, SECRET, Client, auth, otlp

LARGE = {"content_length": "5000000"}
WRONG = auth("ak_" + "x" * 32)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/42/envelope/", {"x_sentry_auth": WRONG}, 401),
        ("/api/42/envelope/", {"x_sentry_auth": auth(PUBLIC), "origin": "https://else.example"}, 403),
        ("/api/44/envelope/", {"x_sentry_auth": auth()}, 403),
        ("/api/46/envelope/", {"x_sentry_auth": auth()}, 404),
        ("/api/42/envelope/", {"x_sentry_auth": auth(), "content_length": "7000000"}, 413),
        ("/api/42/envelope/", {"x_sentry_auth": auth(), "content_encoding": "rar"}, 415),
        ("/v1/logs", otlp(content_type="text/plain"), 415),
        ("/v1/logs", otlp(secret="ak_" + "x" * 32), 401),
        ("/event", {"x_api_key": SECRET, "content_type": "text/html"}, 415),
        ("/nothing", {}, 404),
    ],
)
@pytest.mark.asyncio
async def test_the_answer_is_sent_first_and_then_the_rest_is_read(
    path: str, headers: dict[str, str], status: int
) -> None:
    """A sender in the middle of its body hears the refusal at once, is asked to stop, and is read until its end."""
    request = Held(Client().app, path, LARGE | headers)
    answer = await request.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    await settled()
    assert not request.task.done()
    for _ in range(10):
        request.give(b"x" * 60_000)
    await settled()
    assert not request.task.done()
    request.give(b"", more=False)
    await request.task


@pytest.mark.parametrize("end", ["bytes", "time", "gone"])
@pytest.mark.asyncio
async def test_it_is_bounded(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes, by time, and by the sender's going away."""
    client = Client()
    client.app.unread_bodies = UnreadBodies(max_s=0.05 if end == "time" else 600.0)
    request = Held(client.app, "/api/42/envelope/", LARGE | {"x_sentry_auth": WRONG})
    assert (await request.answer()).status == 401
    if end == "bytes":
        for _ in range(MAX_BYTES // 1_000_000 + 5):
            request.give(b"x" * 1_000_000)
    elif end == "gone":
        request.leave()
    await request.task
    assert request.asked <= MAX_BYTES // 1_000_000 + 1
    assert client.steps.bodies.budget.held_bytes == client.steps.bodies.unauthenticated.held_bytes == 0


@pytest.mark.asyncio
async def test_one_address_has_its_share_of_it() -> None:
    """Beyond it a refused body is not read but waited for a moment; another address's is read."""
    client = Client(refused_per_minute=0)
    client.app.unread_bodies = UnreadBodies(max_s=600.0, wait_s=0.0)

    def refused(address: str) -> Held:
        return Held(client.app, "/api/42/envelope/", LARGE | {"x_sentry_auth": WRONG}, address=address)

    crowd = [refused("192.0.2.1") for _ in range(MAX_BODIES_OF_ADDRESS)]
    await settled()
    late, other = refused("192.0.2.1"), refused("192.0.2.2")
    await late.task
    await settled()
    assert (late.asked, other.asked, other.task.done()) == (0, 1, False)
    for one in (*crowd, other):
        one.leave()
    await asyncio.gather(*(one.task for one in (*crowd, other)))
    again = refused("192.0.2.1")
    await settled()
    assert again.asked == 1
    again.leave()
    await again.task
    assert not client.app.unread_bodies.addresses


@pytest.mark.asyncio
async def test_all_addresses_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many bodies as that are read at the same time, and the next one when one of them has ended."""
    monkeypatch.setattr(unread_body, "MAX_BODIES", 3)
    client = Client(refused_per_minute=0)
    client.app.unread_bodies = UnreadBodies(max_s=600.0, wait_s=0.0)

    def refused(number: int) -> Held:
        headers = LARGE | {"x_sentry_auth": WRONG}
        return Held(client.app, "/api/42/envelope/", headers, address=f"192.0.2.{number}")

    crowd = [refused(number) for number in range(3)]
    await settled()
    late = refused(3)
    await late.task
    assert ([one.asked for one in crowd], late.asked) == ([1, 1, 1], 0)
    crowd[0].leave()
    await crowd[0].task
    following = refused(4)
    await settled()
    assert following.asked == 1
    for one in (*crowd[1:], following):
        one.leave()
        await one.task


@pytest.mark.asyncio
async def test_whoever_is_refused_all_the_time_is_not_read() -> None:
    """Without a known key, an address that was refused too often has its connections closed."""
    client = Client(refused_per_minute=1)
    first = Held(client.app, "/api/42/envelope/", LARGE | {"x_sentry_auth": WRONG})
    first.leave()
    await first.task
    second = Held(client.app, "/api/42/envelope/", LARGE | {"x_sentry_auth": WRONG})
    await second.task
    assert second.asked == 0


@pytest.mark.parametrize(
    ("headers", "is_closed"),
    [
        ({"content_length": "5000"}, False),
        ({"content_length": "500000"}, True),
        ({"transfer_encoding": "chunked"}, True),
    ],
)
@pytest.mark.asyncio
async def test_a_small_rest_does_not_cost_the_connection(headers: dict[str, str], *, is_closed: bool) -> None:
    """What is small is read, and the connection kept."""
    request = Held(Client().app, "/api/42/envelope/", headers | {"x_sentry_auth": WRONG})
    assert ("connection" in (await request.answer()).headers) is is_closed
    request.give(b"x", more=False)
    await request.task
    assert request.asked == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"content_length": "5000000", "expect": "100-continue"}, None), ({}, None), ({"content_length": "2"}, b"{}")],
    ids=["expects 100", "no body", "all has come"],
)
@pytest.mark.asyncio
async def test_nothing_is_waited_for_that_will_not_come(headers: dict[str, str], body: bytes | None) -> None:
    """A sender that waits for `100 Continue` sends nothing after a refusal, and neither does one without a rest."""
    told: dict[str, Any] = headers | (
        {"x_sentry_auth": WRONG} if body is None else {"x_sentry_auth": auth(), "content_encoding": "gzip"}
    )
    request = Held(Client().app, "/api/42/envelope/", told)
    if body is not None:
        request.give(body, more=False)
    answer = await request.answer()
    assert answer.status == (401 if body is None else 400)
    await request.task
    assert request.asked == (0 if body is None else 1)
