"""A test event goes to the receivers of the settings, with the key that was pasted, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from aiohttp import web

from tests.unit.console.fakes import READ_ONLY, FakeClickHouse, client, services

pytestmark = pytest.mark.asyncio
ROOT: Final = Path(__file__).parents[4]
PATH = "/api/0/projects/acme/web/sample-event/"
KEY = "pt_0123456789abcdefghijkl"


class Receiver:
    """Notes what it is sent; says what a test wants."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answer = web.json_response({"id": "x"})

    async def reply(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, dict(request.headers), await request.json()))
        return self.answer


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """A server on a free port of this machine, and its address."""
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.reply)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield made, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.mark.parametrize("given", [KEY, f"  {KEY}\n", f"https://{KEY}@elsewhere.example/7"])
async def test_it_is_sent_with_the_key_to_the_receivers_of_the_settings(receiver: Any, given: str) -> None:
    """Of a DSN only the key counts: neither its host nor its channel."""
    made, url = receiver
    async with client(services(FakeClickHouse(), console_ingest_url=url), READ_ONLY) as asking:
        answer = await asking.post(PATH, json={"key": given})
    assert answer.status_code == 201
    ((path, headers, event),) = made.requests
    assert path == "/api/1/store/"
    assert headers["X-Sentry-Auth"] == f"Sentry sentry_key={KEY}"
    assert event["event_id"] == answer.json()["eventID"]
    assert KEY not in answer.text


async def test_the_consoles_own_way_to_receivers_counts_before_that_of_senders(receiver: Any) -> None:
    """In containers the public address may be out of reach, or have a certificate that the console does not know."""
    made, url = receiver
    settings = {"console_receiver_url": url, "console_ingest_url": "https://in.example.com"}
    async with client(services(FakeClickHouse(), **settings)) as asking:
        assert (await asking.post(PATH, json={"key": KEY})).status_code == 201
    assert len(made.requests) == 1


@pytest.mark.parametrize("place", ["docker-compose.yml", "ops/deploy/k8s/base/console.yaml"])
async def test_the_containers_know_where_receivers_are(place: str) -> None:
    """Without it the button of the page answers 400."""
    assert re.search(r"AXONPUSH_CONSOLE_RECEIVER_URL\S* (?:value: )?\"?http://receiver", (ROOT / place).read_text())


@pytest.mark.parametrize(
    "given",
    ["", "never", "pt_a b", "pt_a\r\nX: y", f"{KEY}/../", "http://host/1", "file:///etc/passwd", "pt_" + "a" * 400, 7],
)
async def test_what_is_no_key_is_refused_unsent(receiver: Any, given: Any) -> None:
    """And not repeated."""
    made, url = receiver
    async with client(services(FakeClickHouse(), console_ingest_url=url)) as asking:
        answer = await asking.post(PATH, json={"key": given})
    assert answer.status_code == 400
    assert made.requests == []
    assert not given or str(given) not in answer.json()["detail"] or given == 7


async def test_a_refusal_is_told(receiver: Any) -> None:
    """In the receiver's words; redirects are not followed."""
    made, url = receiver
    made.answer = web.json_response({"detail": "unknown key"}, status=401)
    async with client(services(FakeClickHouse(), console_ingest_url=url)) as asking:
        told = (await asking.post(PATH, json={"key": KEY})).json()
        assert (told["status"], told["detail"]) == (401, "unknown key")
        made.answer = web.Response(status=307, headers={"Location": f"{url}/elsewhere"})
        assert (await asking.post(PATH, json={"key": KEY})).json()["status"] == 307
    assert len(made.requests) == 2


async def test_without_a_receiver_it_says_so() -> None:
    """An address that is not known, and one where nobody listens."""
    async with client(services(FakeClickHouse())) as asking:
        assert (await asking.post(PATH, json={"key": KEY})).status_code == 400
    async with client(services(FakeClickHouse(), console_ingest_url="http://127.0.0.1:1")) as asking:
        assert (await asking.post(PATH, json={"key": KEY})).json()["status"] == 0
