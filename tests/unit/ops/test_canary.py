"""The canary's own decisions: where to send, what to send, when it is late. Flying is tests/live's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from ops.canary.round_trips import (
    NO_ROW,
    Canary,
    CanaryResult,
    CanarySettings,
    CanaryTarget,
    envelope,
    target_of_dsn,
    target_of_settings,
)
from ops.runtime.failures import Failed

KEY = "pt_" + "k" * 32


@pytest.mark.parametrize(
    ("dsn", "url", "channel"),
    [
        (f"https://{KEY}@in.example.com/7", "https://in.example.com", 7),
        (f"http://{KEY}@127.0.0.1:8080/prefix/9", "http://127.0.0.1:8080/prefix", 9),
        (f"http://{KEY}:secret@[::1]:8080/1", "http://[::1]:8080", 1),
    ],
)
def test_a_dsn_says_where_to(dsn: str, url: str, channel: int) -> None:
    """With its port and path prefix, without its secret; and the key is in no text."""
    target = target_of_dsn(dsn)
    assert target == CanaryTarget(url, KEY, channel)
    assert KEY not in repr(target)


@pytest.mark.parametrize(
    "dsn", ["", "in.example.com/7", "https://in.example.com/7", f"ftp://{KEY}@a/7", f"https://{KEY}@a"]
)
def test_a_text_that_is_no_dsn_is_refused_without_quoting_it(dsn: str) -> None:
    """It may hold a key."""
    with pytest.raises(Failed) as error:
        target_of_dsn(dsn)
    assert KEY not in str(error.value)


def test_settings_say_where_to() -> None:
    """Key and channel are both needed."""
    settings = CanarySettings(canary_url="http://a/", canary_key=SecretStr(KEY), canary_channel=7)
    assert target_of_settings(settings) == CanaryTarget("http://a", KEY, 7)
    assert KEY not in repr(settings)
    for wrong, found in (
        ({"canary_key": SecretStr("")}, "found no AXONPUSH_CANARY_KEY"),
        ({"canary_channel": 0}, "found no AXONPUSH_CANARY_CHANNEL"),
        ({"canary_key": SecretStr(""), "canary_channel": 0}, "found neither"),
    ):
        with pytest.raises(Failed, match=found):
            target_of_settings(settings.model_copy(update=wrong))


def test_the_event_says_what_it_is() -> None:
    """Marked by a tag, which is an attribute in SQL."""
    head, item, event = envelope("a" * 32).splitlines()
    assert json.loads(head) == {"event_id": "a" * 32}
    assert json.loads(item)["type"] == "event"
    assert json.loads(event)["tags"] == {"axonpush.canary": "true"}


class Servers:
    """A receiver and a ClickHouse with given answers: `statuses` and `rows` counts, in turn."""

    def __init__(self, statuses: list[int], rows: list[str]) -> None:
        self.statuses, self.rows = statuses, rows
        self.sent: list[bytes] = []

    async def take(self, request: web.Request) -> web.Response:
        assert KEY in request.headers["X-Sentry-Auth"]
        assert KEY not in str(request.url)
        self.sent.append(await request.read())
        return web.Response(status=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    async def count(self, request: web.Request) -> web.Response:
        answer = self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]
        if answer == "hang":
            await asyncio.sleep(60)
        return web.Response(text=answer, status=200 if answer.isdigit() else 500)

    async def send_and_wait(
        self, deadline_s: float, patience_s: float, *, ends_refused: bool = False
    ) -> tuple[CanaryResult, list[CanaryResult]]:
        """One flight, and what was told as late."""
        late: list[CanaryResult] = []
        async with self._listening() as url, aiohttp.ClientSession() as session:
            settings = CanarySettings(clickhouse_url=f"{url}/sql")
            canary = Canary(session, settings, CanaryTarget(url, KEY, 7), ends_refused=ends_refused)
            return await canary.send_and_wait(deadline_s, patience_s, late.append), late

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/api/7/envelope/", self.take)
        app.router.add_post("/sql", self.count)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


@pytest.mark.asyncio
async def test_a_row_that_comes_in_time_is_no_news() -> None:
    """Sent once, looked for until it is there."""
    servers = Servers([200], ["0", "0", "1"])
    found, late = await servers.send_and_wait(30, 30)
    assert found.in_time
    assert (late, len(servers.sent)) == ([], 1)


@pytest.mark.asyncio
async def test_an_event_is_sent_again_with_its_id_until_it_is_stored() -> None:
    """So that it is one row, whatever became of the first."""
    servers = Servers([503, 200], ["1"])
    found, _ = await servers.send_and_wait(30, 30)
    assert found.in_time
    assert len(servers.sent) == 2
    assert len(set(servers.sent)) == 1


@pytest.mark.parametrize(
    ("status", "rows", "stage", "error"),
    [
        (401, "1", "receiver", "the receiver answered 401: its key is unknown or revoked"),
        (200, "0", "workers", NO_ROW),
        (200, "Code: 241. DB::Exception", "query", "ClickHouse answered 500: Code: 241. DB::Exception"),
        (200, "hang", "workers", NO_ROW),
    ],
)
@pytest.mark.asyncio
async def test_a_late_one_says_where_it_is(status: int, rows: str, stage: str, error: str) -> None:
    """Told once when the deadline is over, also by a server that does not answer at all."""
    found, late = await Servers([status], [rows]).send_and_wait(0.5, 0.5)
    assert not found.in_time
    assert [(one.stage, one.error) for one in late] == [(stage, error)]
    assert (found.stage, found.seconds) == (stage, None)


@pytest.mark.parametrize(("status", "sent"), [(401, 1), (403, 1), (404, 1)])
@pytest.mark.asyncio
async def test_a_refusal_ends_a_single_event_at_once(status: int, sent: int) -> None:
    """A revoked key is not late: nothing is sent again, and nothing is waited for."""
    servers = Servers([status, 200], ["1"])
    found, late = await servers.send_and_wait(30, 30, ends_refused=True)
    assert (found.is_refused, found.stage, len(servers.sent), late) == (True, "receiver", sent, [])
    assert str(status) in found.error


@pytest.mark.asyncio
async def test_a_single_event_waits_for_a_busy_receiver() -> None:
    """429 and 503 pass."""
    servers = Servers([429, 503, 200], ["1"])
    found, _ = await servers.send_and_wait(30, 30, ends_refused=True)
    assert found.in_time
    assert not found.is_refused


@pytest.mark.asyncio
async def test_one_that_comes_late_is_told_and_still_measured() -> None:
    """The alarm first, the seconds when its row is there."""
    servers = Servers([503, 200], ["1"])
    found, late = await servers.send_and_wait(0.2, 30)
    assert len(late) == 1
    assert found.seconds is not None
    assert not found.in_time
