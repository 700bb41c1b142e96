"""The receiver's parts alone: routes, counts, breaker, registry entries, message ids, settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from receiver.admission import registry as registries
from receiver.admission.registry import MAX_UNKNOWN, Directory
from receiver.delivery.counts import BREAKER_PROBE_S, BREAKER_TIMEOUTS, MAX_REMEMBERED, Inbox, ReplyBreaker, Tally
from receiver.http.answers import Answer
from receiver.http.request import Request
from receiver.http.routes import Dialect, Params, Route, Routes
from receiver.settings import ReceiverSettings
from schemas.counts import Counts
from schemas.registry import Channel


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def _handle(_request: Request, _params: Params) -> Answer:
    return Answer(200)


def route(name: str, pattern: str, *, prefixed: bool = False) -> Route:
    dialect = Dialect("test", lambda _request, _refused: Answer(400), 200)
    return Route(name, pattern, ("POST",), _handle, dialect, prefixed=prefixed)


ROUTES = Routes(
    [
        route("logs", "/v1/logs"),
        route("envelope", "/api/{channel}/envelope", prefixed=True),
        route("cron", "/api/{channel}/cron/{slug}", prefixed=True),
        route("cron-key", "/api/{channel}/cron/{slug}/{key}", prefixed=True),
        route("late", "/api/{channel}/events/{id}/attachments", prefixed=True),
    ]
)


@pytest.mark.parametrize(
    ("path", "name", "params"),
    [
        ("/v1/logs", "logs", {}),
        ("//v1//logs//", "logs", {}),
        ("/prefix/v1/logs", None, {}),
        ("/api/42/envelope", "envelope", {"channel": "42"}),
        ("/a/b/api/42/envelope/", "envelope", {"channel": "42"}),
        ("/api/1/envelope/api/42/envelope/", "envelope", {"channel": "42"}),
        ("/api/42/cron/nightly", "cron", {"channel": "42", "slug": "nightly"}),
        ("/api/42/cron/nightly/k/", "cron-key", {"channel": "42", "slug": "nightly", "key": "k"}),
        ("/api/42/cron/envelope", "cron", {"channel": "42", "slug": "envelope"}),
        ("/x/api/42/events/e/attachments", "late", {"channel": "42", "id": "e"}),
        ("/api/envelope", None, {}),
        ("/", None, {}),
        ("", None, {}),
    ],
)
def test_paths_find_their_route(path: str, name: str | None, params: Params) -> None:
    """Placeholders at any place, prefixes where allowed, slashes folded."""
    found = ROUTES.find(path)
    assert (found[0].name if found else None) == name
    assert found is None or found[1] == params


@given(st.text(alphabet="/api42envlox{}", max_size=60))
def test_any_path_is_answered(path: str) -> None:
    """No path makes the table fail."""
    ROUTES.find(path)


# --- counts


def test_tally_waits_for_every_item() -> None:
    """Done only when unpack has said how many and as many have answered, in any order."""
    tally = Tally()
    tally.add(Counts(stage="event", accepted=1))
    assert not tally.done
    tally.add(Counts(stage="unpack", expect=2, rejected=1, reasons=["x"]))
    assert not tally.done
    tally.add(Counts(stage="log", accepted=2, stored=True))
    assert (tally.done, tally.accepted, tally.rejected, tally.stored) == (True, 3, 1, True)


def test_invalid_ends_the_waiting() -> None:
    """Nothing that could still come would change the answer."""
    tally = Tally()
    tally.add(Counts(stage="unpack", invalid="no"))
    assert tally.done


def test_breaker_opens_and_probes() -> None:
    """After some timeouts in a row nobody waits, but one a second; the first success lets everybody wait again."""
    clock = Clock()
    breaker = ReplyBreaker(clock)
    for _ in range(BREAKER_TIMEOUTS):
        assert breaker.allows()
        breaker.timed_out()
    assert not breaker.allows()
    clock.now_s += BREAKER_PROBE_S
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.timed_out()
    clock.now_s += BREAKER_PROBE_S
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]


def test_one_lost_reply_stops_nobody() -> None:
    """Timeouts between successes never open the breaker."""
    breaker = ReplyBreaker(Clock())
    for _ in range(10 * BREAKER_TIMEOUTS):
        breaker.timed_out()
        assert breaker.allows()
        breaker.succeeded()


async def running(action: Callable[[Inbox], Awaitable[Any]]) -> Any:
    return await action(Inbox("_INBOX.x"))


@pytest.mark.asyncio
async def test_late_replies_are_dropped() -> None:
    """A reply to a waiter that was closed reaches nobody and breaks nothing."""

    async def action(inbox: Inbox) -> None:
        waiter = inbox.waiter("otlp.logs", 1, 1)
        assert waiter is not None
        assert await inbox.wait("otlp.logs", waiter, 1) is None
        inbox.close(waiter)
        inbox.deliver(waiter.token, Counts(stage="otlp_log", accepted=1).encode())
        inbox.deliver("never", b"")

    await running(action)


@pytest.mark.asyncio
async def test_routes_have_breakers_of_their_own() -> None:
    """Dead log workers do not take the counts of traces away."""

    async def action(inbox: Inbox) -> None:
        for _ in range(BREAKER_TIMEOUTS):
            waiter = inbox.waiter("otlp.logs", 1, 1)
            assert waiter is not None
            await inbox.wait("otlp.logs", waiter, 1)
        assert inbox.waiter("otlp.logs", 1, 1) is None
        assert inbox.waiter("otlp.traces", 1, 1) is not None

    await running(action)


def test_remembered_verdicts_are_bounded() -> None:
    """Only verdicts other than plain success are kept, and the oldest go first."""
    inbox = Inbox("_INBOX.x")
    inbox.remember("plain", Tally(accepted=3))
    assert inbox.recall("plain") is None
    for number in range(MAX_REMEMBERED + 10):
        inbox.remember(str(number), Tally(rejected=1))
    assert inbox.recall("9") is None
    assert inbox.recall("10") is not None


# --- registry


def channel(number: int) -> Channel:
    return Channel(id=number, organisation="default")


def test_older_news_never_replaces_newer() -> None:
    """Two watches overlap during a resync; the later revision stands."""
    directory = Directory(30, Clock())
    directory.store("channel.1", 7, None)
    directory.store("channel.1", 5, channel(1))
    assert directory.get("channel.1") is None
    assert directory.knows("channel.1")


def test_snapshot_replaces_all_but_what_changed_meanwhile() -> None:
    """What is missing from the snapshot is gone, unless it was put after the snapshot was begun."""
    directory = Directory(30, Clock())
    directory.store("channel.1", 1, channel(1))
    directory.begin()
    directory.store("channel.2", 3, channel(2))
    directory.store("channel.3", 4, None)
    held = registries._KnownEntry
    directory.store_all({"channel.3": held(2, channel(3)), "channel.4": held(5, channel(4))})
    found = [directory.get(f"channel.{number}") is not None for number in (1, 2, 3, 4)]
    assert found == [False, True, False, True]


def test_unknown_is_remembered_for_a_while() -> None:
    """A look-up in vain is not repeated until its time is over or the entry comes."""
    clock = Clock()
    directory = Directory(30, clock)
    directory.mark_unknown("key.a")
    assert directory.knows("key.a")
    clock.now_s += 30
    assert not directory.knows("key.a")
    directory.mark_unknown("channel.1")
    directory.store("channel.1", 1, channel(1))
    assert directory.get("channel.1") is not None


def test_unknown_names_are_bounded() -> None:
    """Somebody who tries keys cannot fill the memory."""
    directory = Directory(30, Clock())
    for number in range(MAX_UNKNOWN + 5):
        directory.mark_unknown(str(number))
    assert not directory.knows("4")
    assert directory.knows("5")


@pytest.mark.parametrize("makes_known", [True, False])
def test_a_name_that_became_known_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch,
    makes_known: bool,
) -> None:
    """So that one name more forgets none of those that are still unknown."""
    monkeypatch.setattr(registries, "MAX_UNKNOWN", 2)
    directory = Directory(30, Clock())
    directory.mark_unknown("channel.1")
    directory.mark_unknown("channel.2")
    if makes_known:
        directory.store("channel.2", 1, channel(2))
    directory.mark_unknown("channel.3")
    assert directory.knows("channel.1") == makes_known


# --- settings


def test_settings_come_from_the_environment_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """AXONPUSH_* is read once; nothing can be set afterwards."""
    monkeypatch.setenv("AXONPUSH_PORT", "9")
    settings = ReceiverSettings()
    assert (settings.port, settings.host) == (9, "127.0.0.1")
    with pytest.raises(ValidationError):
        settings.port = 10
