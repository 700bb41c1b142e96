"""New logs as they arrive: each line once, none between two looks is missed, and streams end."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from contextlib import ExitStack
from typing import Any

import pytest

from console.access.limits import LIVE_STREAMS, OF_ONE_ORGANISATION, LiveStreams, NoStreamFree
from console.access.state import READ_AGAIN_S, SessionState
from console.api.live_logs import REACH
from console.explore.live import FIRST_LINES, LINES_OF_A_POLL, LiveLines, LivePolls, server_sent_event, stream
from ops.runtime.registry.registry_log import RegistryEntryChange
from tests.unit.console.fakes import (
    NOW,
    READ_ONLY,
    TOKEN,
    FakeClickHouse,
    FakeStateEntries,
    client,
    registry_entries,
    services,
    token,
)

pytestmark = pytest.mark.asyncio
PATH = "/api/0/organizations/acme/logs/live/"


class Table:
    """Lines with the time at which each can be read."""

    def __init__(self) -> None:
        self.lines: list[tuple[dt.datetime, str]] = []
        self.now = NOW

    async def read(self, since: dt.datetime, limit: int) -> list[dict[str, Any]]:
        found = [{"id": name} for received, name in self.lines if received >= since]
        return found[::-1][:limit]


def names(lines: list[dict[str, Any]]) -> list[str]:
    return [line["id"] for line in lines]


async def test_a_line_is_shown_once_also_if_it_can_be_read_late() -> None:
    """Rows of one insert appear after rows that were received later."""
    table = Table()
    live = LiveLines(table.read, lambda: table.now)
    table.lines = [(NOW, "a")]
    assert names((await live.first(None))[0]) == ["a"]
    table.now += dt.timedelta(seconds=5)
    table.lines.append((table.now, "c"))
    assert names((await live.next())[0]) == ["c"]
    table.lines.insert(1, (NOW + dt.timedelta(seconds=1), "b"))
    assert names((await live.next())[0]) == ["b"]
    assert await live.next() == ([], False)


async def test_a_flood_is_cut_and_said() -> None:
    """The newest lines, the oldest of them first."""
    table = Table()
    live = LiveLines(table.read, lambda: table.now)
    await live.first(None)
    table.lines = [(NOW, str(number)) for number in range(LINES_OF_A_POLL + 7)]
    lines, has_more = await live.next()
    assert names(lines) == [str(number) for number in range(7, LINES_OF_A_POLL + 7)]
    assert has_more


async def test_who_comes_back_gets_what_was_missed() -> None:
    """Since the last look; not more than ten minutes."""
    table = Table()
    table.lines = [(NOW - dt.timedelta(minutes=minutes), str(minutes)) for minutes in (20, 8, 2)]
    live = LiveLines(table.read, lambda: table.now)
    assert names((await live.first(NOW - dt.timedelta(minutes=5)))[0]) == ["2"]
    other = LiveLines(table.read, lambda: table.now)
    assert names((await other.first(NOW - dt.timedelta(hours=5)))[0]) == ["8", "2"]


@pytest.mark.parametrize(("header", "parameter"), [("1795780500", ""), ("", "1795780500"), ("1795780500", "1")])
async def test_a_page_says_what_it_saw_last_in_either_way(header: str, parameter: str) -> None:
    """A browser reconnects with the header; a page that opens a stream anew can only write it into the address."""
    assert int(NOW.timestamp()) == 1795780800
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        await asking.get(PATH, params={"lastEventId": parameter}, headers={"Last-Event-ID": header} if header else {})
    _, parameters = clickhouse.asked[0]
    assert "2026-11-27 11:54:40.000000" in map(str, parameters.values())


async def test_the_first_look_is_short() -> None:
    """The last lines before now."""
    table = Table()
    table.lines = [(NOW, str(number)) for number in range(500)]
    lines, has_more = await LiveLines(table.read, lambda: NOW).first(None)
    assert (len(lines), lines[-1]["id"], has_more) == (FIRST_LINES, "499", True)


async def test_no_text_of_a_sender_ends_a_message() -> None:
    """Line breaks are escaped in JSON."""
    sent = server_sent_event("lines", {"lines": [{"message": "a\n\nevent: x\ndata: y\r\n"}]}, "7")
    assert sent.startswith(b"id: 7\nevent: lines\ndata: ")
    assert sent.count(b"\n") == 4
    assert json.loads(sent.split(b"data: ", 1)[1])["lines"][0]["message"].endswith("y\r\n")


async def test_a_stream_ends_with_its_token_and_after_its_looks() -> None:
    """A browser opens it again, which checks everything anew."""
    table, paused = Table(), list[float]()

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    def parts(valid: Any) -> Any:
        async def goes_on() -> bool:
            return bool(valid())

        return stream(LiveLines(table.read, lambda: NOW), None, LivePolls(13, 1.0), pause, goes_on)

    assert len([part async for part in parts(lambda: True)]) == 1 + 1 + 1, "a sign of life at the tenth look"
    assert paused == [1.0] * 12
    left = iter([True, False])
    assert len([part async for part in parts(lambda: next(left))]) == 2


async def test_the_route_streams_and_asks_only_for_what_is_new() -> None:
    """Each question names the organisation, a short time and the moment of the last look."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        answer = await asking.get(PATH, params={"query": "severity:error"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 2000\n\n")
    for sql, parameters in clickhouse.asked:
        assert "received_at >=" in sql
        assert parameters["organisation"] == "acme"
        assert parameters["begin"] == (NOW - REACH).strftime("%Y-%m-%d %H:%M:%S.%f")


@pytest.mark.parametrize("query", ["relase:", "(", "is:unresolved"])
async def test_a_wrong_query_is_a_400_and_no_stream(query: str) -> None:
    """Said at once, unasked."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse)) as asking:
        answer = await asking.get(PATH, params={"query": query})
    assert answer.status_code == 400
    assert clickhouse.asked == []


async def test_streams_are_bounded_and_given_back() -> None:
    """One more than may be open at once is a 429; ended ones make room."""
    made = services(FakeClickHouse())
    async with client(made) as asking:
        for _ in range(LIVE_STREAMS + 1):
            assert (await asking.get(PATH)).status_code == 200
        with ExitStack() as opened:
            for _ in range(OF_ONE_ORGANISATION):
                opened.enter_context(made.live_streams.opened("acme"))
            refused = await asking.get(PATH)
    assert refused.status_code == 429
    assert refused.headers["retry-after"]


async def test_streams_of_one_organisation_leave_room_for_others() -> None:
    """And all together are bounded."""
    streams = LiveStreams()
    with ExitStack() as opened:
        for _ in range(OF_ONE_ORGANISATION):
            opened.enter_context(streams.opened("acme"))
        assert streams.is_full("acme")
        assert not streams.is_full("others")
        for _ in range(LIVE_STREAMS - OF_ONE_ORGANISATION):
            opened.enter_context(streams.opened("others"))
        assert streams.is_full("third")
        with pytest.raises(NoStreamFree):
            opened.enter_context(streams.opened("third"))
    assert not streams.is_full("acme")


async def test_a_stream_that_came_too_late_says_so_and_waits_for_nothing() -> None:
    """Requests that arrive together all pass the first check."""
    made = services(FakeClickHouse())

    class Late(LiveStreams):
        def is_full(self, organisation: str) -> bool:
            self.checks = getattr(self, "checks", 0) + 1
            return self.checks > 1

    made.live_streams = Late()
    async with client(made) as asking:
        answer = await asking.get(PATH)
    assert answer.status_code == 200
    assert answer.text.startswith("event: problem")


async def test_a_flood_hides_no_late_line() -> None:
    """However many lines of the last seconds were shown already."""
    table = Table()
    live = LiveLines(table.read, lambda: table.now)
    table.lines = [(NOW, f"{number}") for number in range(LINES_OF_A_POLL)]
    await live.first(None)
    for look in range(10):
        table.lines += [(NOW, f"{look}.{number}") for number in range(LINES_OF_A_POLL)]
        assert len((await live.next())[0]) == LINES_OF_A_POLL
    table.lines.insert(0, (NOW, "late"))
    lines, _ = await live.next()
    assert "late" in names(lines)


async def test_a_revoked_token_hears_no_more() -> None:
    """The stream looks at the registry before each question."""
    known, clickhouse = registry_entries(), FakeClickHouse()
    made = services(clickhouse, known)
    made.live_polls = LivePolls(200, 0.0)

    def revoke(_sql: str, _parameters: dict[str, Any]) -> list[dict[str, Any]]:
        entry = token(READ_ONLY, revoked=True)
        known.put(RegistryEntryChange(entry.kv_key, 99, entry.model_dump_json().encode()))
        return []

    clickhouse.answer = revoke
    async with asyncio.timeout(60), client(made, READ_ONLY) as asking:
        assert (await asking.get(PATH)).status_code == 200
    assert len(clickhouse.asked) == 1


@pytest.mark.parametrize("end", ["signed out in another console", "over"])
async def test_a_stream_ends_with_the_session(end: str) -> None:
    """Not only with its token: whoever has the cookie hears no more."""
    clickhouse, clock = FakeClickHouse(), [0.0]
    made = services(clickhouse, console_session_idle_s=300)
    made.live_polls = LivePolls(200, 0.0)
    entries = FakeStateEntries()
    made.session_state = SessionState(entries, lambda: clock[0])
    moments = [NOW]
    made.now = lambda: moments[-1]
    async with asyncio.timeout(60), client(made, "") as asking:
        own = {"Sec-Fetch-Site": "same-origin"}
        assert (await asking.post("/session", json={"token": TOKEN}, headers=own)).status_code == 201
        (value,) = asking.cookies.values()
        _, token_id, session_id, *_ = value.split(".")

        def end_it(_sql: str, _parameters: dict[str, Any]) -> list[dict[str, Any]]:
            if end == "over":
                moments.append(NOW + dt.timedelta(seconds=300))
            else:
                ended = {"until_s": {session_id: int(NOW.timestamp()) + 10_000}}
                entries.entries[f"ended.{token_id}"] = (json.dumps(ended).encode(), 1)
                clock[0] += READ_AGAIN_S
            return []

        clickhouse.answer = end_it
        assert (await asking.get(PATH, headers=own)).status_code == 200
    assert len(clickhouse.asked) == 1
