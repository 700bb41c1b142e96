"""`/ready` follows whether bodies are stored; nothing extra is written while they are."""

from __future__ import annotations

import asyncio

import pytest

from receiver.delivery import storage
from receiver.delivery.publish import StoredBody, Unavailable
from receiver.delivery.storage import FAILURES_IN_A_ROW, Storage
from schemas import headers, refusals
from schemas.subjects import SOURCES
from tests.unit.receiver.test_app import ENVELOPE, SECRET, Client, FakePublisher


@pytest.fixture
def client() -> Client:
    return Client()


def fail(health: Storage, times: int, reason: str = "timeout") -> None:
    for _ in range(times):
        health.failed(reason)


def test_not_ready_after_a_few_failures_in_a_row_and_ready_after_one_success() -> None:
    """A single body that was refused says nothing yet; a success between starts the count again."""
    health = Storage()
    fail(health, FAILURES_IN_A_ROW - 1)
    health.stored()
    fail(health, FAILURES_IN_A_ROW - 1)
    assert health.stores
    health.failed("no_stream")
    assert not health.stores
    health.stored()
    assert health.stores


@pytest.mark.parametrize("reason", ["disconnected", "connection", "busy", "max_payload"])
def test_what_says_nothing_about_storage_is_not_counted(reason: str) -> None:
    """A connection that is away is `broker` in /ready; a busy server comes back by itself."""
    health = Storage()
    fail(health, 10, reason)
    assert health.stores


@pytest.mark.asyncio
async def test_probes_are_written_from_the_first_failure_to_the_next_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """They find out that it stores again where no traffic comes; before and after, nothing is written."""
    await _probe_until_stored(monkeypatch)


async def _probe_until_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PROBE_EVERY_S", 0.0)
    publisher, health, tried = FakePublisher(), Storage(lambda: 7), 0

    class Broken(FakePublisher):
        async def publish(self, *arguments: object, **named: object) -> StoredBody:
            nonlocal tried
            tried += 1
            if tried <= 5:
                raise Unavailable("timeout")
            return await publisher.publish(*arguments, **named)  # type: ignore[arg-type]

    running = asyncio.create_task(health.run(Broken()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert tried == 0
    health.failed("timeout")
    while not publisher.published:
        assert tried <= 6
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    assert (tried, len(publisher.published), health.stores) == (6, 1, True)


@pytest.mark.asyncio
async def test_a_probe_is_an_outcome_of_nothing_under_an_id_of_its_own() -> None:
    """A worker takes and settles it, no row comes of it, and the broker writes each one."""
    publisher, health = FakePublisher(), Storage(lambda: 7)
    await health.probe(publisher)
    await health.probe(publisher)
    (subject, body, told), (_, _, again) = publisher.published
    assert subject == SOURCES["outcome"].subject.replace("*", "0")
    assert refusals.decode(body) == []
    assert headers.read(told, 1).channel_id == 0
    assert told["Nats-Msg-Id"] != again["Nats-Msg-Id"]


def test_ready_says_so(client: Client) -> None:
    """Over HTTP: 503s in a row, then /ready; a repeat that the broker only remembers is no success."""
    client.publisher.error = None
    assert client.send("POST", f"/api/42/envelope/?sentry_key={SECRET}", ENVELOPE).status == 200
    client.publisher.error = Unavailable("timeout")
    for _ in range(FAILURES_IN_A_ROW):
        assert client.send("POST", f"/api/42/envelope/?sentry_key={SECRET}", ENVELOPE + b"\n").status == 503
    ready = client.send("GET", "/ready")
    assert (ready.status, ready.json["storage"]) == (503, False)
    client.publisher.error = None
    client.send("POST", f"/api/42/envelope/?sentry_key={SECRET}", ENVELOPE)
    assert client.send("GET", "/ready").status == 503
    client.send("POST", f"/api/42/envelope/?sentry_key={SECRET}", ENVELOPE + b"\n\n")
    assert client.send("GET", "/ready").status == 200


def test_the_first_failure_is_the_first() -> None:
    """Of a receiver that has stored nothing yet."""
    health = Storage()
    fail(health, FAILURES_IN_A_ROW - 1)
    assert health.stores
    fail(health, 1)
    assert not health.stores
