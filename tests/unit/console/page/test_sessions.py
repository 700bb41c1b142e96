"""Sessions of people: signing in by token and link, cookies, requests of other sites, signing out."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import httpx
import pytest

from console.access import cookie
from console.access.state import KEY_BYTES, KEY_ENTRY, MAX_ENDED, READ_AGAIN_S, EndedSessions, SessionState
from console.app import make_app
from console.services import Services
from ops.runtime.registry.registry_log import RegistryEntryChange
from schemas.registry import key_hash
from schemas.web_tokens import LOGIN_CODE_ENTRY, login_code_hash
from tests.unit.console.fakes import (
    NOW,
    READ_ONLY,
    REVOKED,
    TOKEN,
    URL,
    FakeClickHouse,
    FakeStateEntries,
    registry_entries,
    services,
    token,
)

pytestmark = pytest.mark.asyncio
OWN = {"Sec-Fetch-Site": "same-origin"}
ISSUES = "/api/0/organizations/acme/issues/"


def browser(made: Services, url: str = URL) -> httpx.AsyncClient:
    """A browser on our page: it keeps cookies and says where requests come from."""
    transport = httpx.ASGITransport(app=make_app(made), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=url, headers=OWN)


async def signed_in(asking: httpx.AsyncClient, text: str = TOKEN) -> dict[str, Any]:
    answer = await asking.post("/session", json={"token": text})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def later(made: Services, seconds: float) -> None:
    """The clock of the console goes on."""
    now = made.now() + dt.timedelta(seconds=seconds)
    made.now = lambda: now


async def test_a_token_signs_in_and_the_cookie_is_enough_from_then_on() -> None:
    """The cookie can be read by no script, is sent by no other site, and does not hold the token."""
    async with browser(services(FakeClickHouse())) as asking:
        answer = await asking.post("/session", json={"token": f"  {TOKEN}\n"})
        stated = answer.headers["set-cookie"].lower()
        assert "httponly" in stated
        assert "samesite=strict" in stated
        assert "path=/" in stated
        assert TOKEN not in answer.headers["set-cookie"]
        assert (await asking.get("/session")).json()["organisation"]["slug"] == "acme"
        assert (await asking.get(ISSUES)).status_code == 200


async def test_behind_tls_the_cookie_is_for_tls_and_this_host_only() -> None:
    """By its name, browsers refuse one that another host or a page without TLS has set."""
    made = services(FakeClickHouse())
    made.url = "https://console.test"
    async with browser(made, made.url) as asking:
        stated = (await asking.post("/session", json={"token": TOKEN})).headers["set-cookie"]
    assert stated.startswith("__Host-axonpush=")
    assert "; secure" in stated.lower()


async def test_two_consoles_of_one_host_have_cookies_of_their_own() -> None:
    """Cookies know no ports."""
    assert cookie.cookie_name("http://127.0.0.1:8081") != cookie.cookie_name("http://127.0.0.1:9081")


@pytest.mark.parametrize("text", ["never-minted", REVOKED, "x" * 5_000, "two words", ""])
async def test_what_is_no_token_signs_nobody_in(text: str) -> None:
    """401, or 400 for what cannot be one; no cookie, and the text is not repeated."""
    async with browser(services(FakeClickHouse())) as asking:
        answer = await asking.post("/session", json={"token": text})
    assert answer.status_code in (400, 401)
    assert "set-cookie" not in answer.headers
    assert not text or text not in answer.text


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"token": "a", "code": "b"}', "application/json", 400),
        (b'{"token": "' + b"a" * 20_000 + b'"}', "application/json", 413),
    ],
)
async def test_a_sign_in_that_is_none_is_refused(body: bytes, kind: str, status: int) -> None:
    """A form of another site can only send the media types of forms."""
    async with browser(services(FakeClickHouse())) as asking:
        answer = await asking.post("/session", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


FOREIGN_HEADERS: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "", "Origin": "null"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "", "Origin": f"{URL}:81"},
    {"Sec-Fetch-Site": "", "Origin": f"{URL}.evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN_HEADERS, ids=str)
async def test_a_page_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    """Not by the cookie, not even with the page token; and it signs nobody in, and nobody out."""
    clickhouse = FakeClickHouse()
    async with browser(services(clickhouse)) as asking:
        told = await signed_in(asking)
        given = headers | {"X-Axonpush-Page": told["pageToken"]}
        answers = [
            await asking.put(f"{ISSUES}?id=1", json={"status": "resolved"}, headers=given),
            await asking.post("/session", json={"token": TOKEN}, headers=given),
            await asking.delete("/session", headers=given),
        ]
        assert {answer.status_code for answer in answers} == {403}
        assert (await asking.get("/session")).status_code == 200
    assert clickhouse.asked == clickhouse.inserted == []


@pytest.mark.parametrize("headers", FOREIGN_HEADERS[:2], ids=str)
async def test_a_page_of_another_site_reads_nothing(headers: dict[str, str]) -> None:
    """Also where a browser would send the cookie."""
    clickhouse = FakeClickHouse()
    async with browser(services(clickhouse)) as asking:
        await signed_in(asking)
        assert (await asking.get(ISSUES, headers=headers)).status_code == 403
        assert (await asking.get("/session", headers=headers)).status_code == 403
    assert clickhouse.asked == []


async def test_old_browsers_and_those_without_tls_say_origin() -> None:
    """The own origin is accepted, also behind a proxy that keeps the public name in AXONPUSH_CONSOLE_URL."""
    async with browser(services(FakeClickHouse())) as asking:
        headers = {"Sec-Fetch-Site": "", "Origin": URL}
        assert (await asking.post("/session", json={"token": TOKEN}, headers=headers)).status_code == 201
        behind = {**headers, "Host": "10.0.0.7:8081"}
        assert (await asking.post("/session", json={"token": TOKEN}, headers=behind)).status_code == 201


@pytest.mark.parametrize("page_token", ["", "x", "ä", "0" * 43])
async def test_a_change_needs_the_page_token(page_token: str) -> None:
    """The second lock, where a browser would not say where a request comes from."""
    clickhouse = FakeClickHouse()
    async with browser(services(clickhouse)) as asking:
        await signed_in(asking)
        headers = [(b"x-axonpush-page", page_token.encode())]
        answer = await asking.put(f"{ISSUES}?query=", json={"status": "resolved"}, headers=headers)
        assert answer.status_code == 403
        assert (await asking.delete("/session")).status_code == 403
    assert clickhouse.asked == clickhouse.inserted == []


async def test_the_page_token_of_another_session_is_none() -> None:
    """Two people with the same token have two sessions."""
    made = services(FakeClickHouse())
    async with browser(made) as one, browser(made) as other:
        await signed_in(one)
        foreign = (await signed_in(other))["pageToken"]
        assert (await one.delete("/session", headers={"X-Axonpush-Page": foreign})).status_code == 403


async def test_a_session_may_do_what_its_token_may() -> None:
    """A read-only token makes a read-only session."""
    clickhouse = FakeClickHouse()
    async with browser(services(clickhouse)) as asking:
        told = await signed_in(asking, READ_ONLY)
        assert "event:write" not in told["scopes"]
        headers = {"X-Axonpush-Page": told["pageToken"]}
        answer = await asking.put(f"{ISSUES}?query=", json={"status": "resolved"}, headers=headers)
    assert answer.status_code == 403
    assert "event:write" in answer.json()["detail"]
    assert clickhouse.inserted == []


async def test_a_session_ends_without_requests_and_goes_on_with_them() -> None:
    """Half a day at rest ends it; a request now and then does not, but after a week it ends all the same."""
    made = services(FakeClickHouse(), console_session_idle_s=43_200)
    async with browser(made) as asking:
        await signed_in(asking)
        for _ in range(13):
            later(made, 43_000)
            assert (await asking.get(ISSUES)).status_code == 200
        later(made, 7 * 86_400 - 13 * 43_000)
        assert (await asking.get(ISSUES)).status_code == 401
    async with browser(made) as resting:
        await signed_in(resting)
        later(made, 43_200)
        assert (await resting.get(ISSUES)).status_code == 401


@pytest.mark.parametrize("headers", [{"X-Axonpush-Poll": "1"}, {"Accept": "text/event-stream"}], ids=str)
async def test_what_a_page_asks_by_itself_does_not_prolong_a_session(headers: dict[str, str]) -> None:
    """A page that is open on a desk asks every few seconds; nobody need be there."""
    made = services(FakeClickHouse(), console_session_idle_s=300)
    path = ISSUES if "Accept" not in headers else "/api/0/organizations/acme/logs/live/"
    async with browser(made) as asking:
        await signed_in(asking)
        for _ in range(2):
            later(made, 100)
            assert (await asking.get(path, headers=headers)).status_code == 200
        later(made, 100)
        assert (await asking.get(path, headers=headers)).status_code == 401


async def test_a_stolen_cookie_ends_with_the_session() -> None:
    """Its time is signed, so a browser that keeps it longer gains nothing."""
    made = services(FakeClickHouse())
    async with browser(made) as asking:
        await signed_in(asking)
        (name, value), *_ = asking.cookies.items()
        parts = value.split(".")
        parts[4] = str(int(parts[4]) + 1_000)
        for forged in (".".join(parts), value[:-1], value + "A", "1." + value, ""):
            asking.cookies.set(name, forged)
            assert (await asking.get(ISSUES)).status_code == 401


async def test_signing_out_ends_the_session_in_every_console() -> None:
    """Consoles share what was ended; the cookie of before is refused."""
    entries = FakeStateEntries()
    one, other = services(FakeClickHouse()), services(FakeClickHouse())
    clock = [0.0]
    for made in (one, other):
        made.session_state = SessionState(entries, lambda: clock[0])
    async with browser(one) as asking, browser(other) as elsewhere:
        told = await signed_in(asking)
        elsewhere.cookies.update(asking.cookies)
        kept = dict(asking.cookies)
        assert (await elsewhere.get(ISSUES)).status_code == 200
        answer = await asking.delete("/session", headers={"X-Axonpush-Page": told["pageToken"]})
        assert answer.status_code == 204
        asking.cookies.update(kept)
        assert (await asking.get(ISSUES)).status_code == 401
        clock[0] = READ_AGAIN_S
        assert (await elsewhere.get(ISSUES)).status_code == 401
        await signed_in(elsewhere)
        assert (await elsewhere.get(ISSUES)).status_code == 200


async def test_an_ended_session_never_comes_back() -> None:
    """A copy of the cookie was prolonged after the one that signed out; other sessions of its token end later."""
    made = services(FakeClickHouse(), console_session_idle_s=43_200)
    clock = [0.0]
    made.session_state = SessionState(FakeStateEntries(), lambda: clock[0])
    async with browser(made) as owner, browser(made) as thief, browser(made) as third:
        page_token = (await signed_in(owner))["pageToken"]
        thief.cookies.update(owner.cookies)
        later(made, 8 * 3_600)
        assert (await thief.get(ISSUES)).status_code == 200, "this copy goes on for 12 more hours"
        first = dict(owner.cookies)
        assert (await owner.delete("/session", headers={"X-Axonpush-Page": page_token})).status_code == 204
        assert first != dict(thief.cookies)
        for hours in (5, 6, 24, 120):
            later(made, hours * 3_600)
            clock[0] += hours * 3_600.0
            other = (await signed_in(third))["pageToken"]
            assert (await third.delete("/session", headers={"X-Axonpush-Page": other})).status_code == 204
            assert (await thief.get(ISSUES)).status_code == 401


async def test_a_revoked_token_ends_its_sessions() -> None:
    """From the next request on."""
    known = registry_entries()
    async with browser(services(FakeClickHouse(), known)) as asking:
        await signed_in(asking)
        entry = token(TOKEN, revoked=True)
        known.put(RegistryEntryChange(entry.kv_key, 99, entry.model_dump_json().encode()))
        assert (await asking.get(ISSUES)).status_code == 401


async def test_a_link_signs_in_once() -> None:
    """Whoever opens it a second time, in any console, hears that it was used. Only hashes of it are stored."""
    entries = FakeStateEntries()
    code = "code-of-the-link"
    stored = {"code": login_code_hash(code), "token": key_hash(TOKEN)}
    entries.entries[LOGIN_CODE_ENTRY] = (json.dumps(stored).encode(), 7)
    assert code not in str(entries.entries)
    made = services(FakeClickHouse())
    made.session_state = SessionState(entries)
    async with browser(made) as asking:
        assert (await asking.post("/session", json={"code": "another"})).status_code == 401
        assert (await asking.post("/session", json={"code": code})).status_code == 201
        assert (await asking.get(ISSUES)).status_code == 200
        again = await asking.post("/session", json={"code": code})
        assert again.status_code == 401
        assert "axonpush up" in again.json()["detail"]
        assert (await asking.post("/session", json={"code": ""})).status_code == 400


async def test_of_two_who_take_a_link_at_once_one_gets_it() -> None:
    """The broker decides by the revision of the entry."""
    entries = FakeStateEntries()
    entries.entries[LOGIN_CODE_ENTRY] = (json.dumps({"code": login_code_hash("c"), "token": "t"}).encode(), 1)
    slow = FakeStateEntries()
    slow.entries = dict(entries.entries)

    async def read_before(name: str) -> tuple[bytes, int]:
        return slow.entries[name]

    late = SessionState(entries)
    assert await SessionState(entries).take_code("c") == "t"
    entries.get = read_before  # type: ignore[method-assign]
    assert await late.take_code("c") == ""


async def test_consoles_agree_on_one_key() -> None:
    """Whichever makes it first."""
    entries = FakeStateEntries()
    one, other = SessionState(entries), SessionState(entries)
    assert await one.key() == await other.key() == entries.entries[KEY_ENTRY][0]


@pytest.mark.parametrize("left", [None, (b"", 8), (b"short", 3), (b"o" * KEY_BYTES, 9)], ids=str)
async def test_consoles_agree_again_after_the_key_was_lost_or_changed(left: tuple[bytes, int] | None) -> None:
    """A restored broker, a deleted entry, another key: one key in all consoles, and nobody uses the old one."""
    entries, clock = FakeStateEntries(), [0.0]
    running = [SessionState(entries, lambda: clock[0]) for _ in range(2)]
    old = {await state.key() for state in running}
    entries.entries = {KEY_ENTRY: left} if left else {}
    new = SessionState(entries, lambda: clock[0])
    await new.key()
    clock[0] += READ_AGAIN_S
    keys = {await state.key() for state in (*running, new)}
    assert len(keys) == 1
    assert not keys & old


async def test_the_key_is_not_read_at_every_request_and_stays_while_the_broker_is_away() -> None:
    """One look in a while; what was read counts until the next."""
    entries, clock, looks = FakeStateEntries(), [0.0], list[str]()
    read = entries.get

    async def counted(name: str) -> tuple[bytes, int]:
        looks.append(name)
        return await read(name)

    entries.get = counted  # type: ignore[method-assign]
    state = SessionState(entries, lambda: clock[0])
    key = await state.key()
    first = len(looks)
    assert [await state.key() for _ in range(10)] == [key] * 10
    assert len(looks) == first
    entries.is_away = True
    clock[0] += READ_AGAIN_S
    assert [await state.key() for _ in range(10)] == [key] * 10
    assert len(looks) == first + 1


async def test_without_the_broker_known_sessions_go_on_and_nothing_is_promised() -> None:
    """503 for signing in and out; reading goes on."""
    entries, made = FakeStateEntries(), services(FakeClickHouse())
    made.session_state = SessionState(entries)
    async with browser(made) as asking, browser(made) as new:
        told = await signed_in(asking)
        entries.is_away = True
        assert (await asking.get(ISSUES)).status_code == 200
        answer = await asking.delete("/session", headers={"X-Axonpush-Page": told["pageToken"]})
        assert answer.status_code == 503
        assert (await new.post("/session", json={"code": "x"})).status_code == 503


async def test_ended_sessions_are_bounded() -> None:
    """Beyond the bound all sessions of the token that began before are ended: never fewer than somebody ended."""
    ended = EndedSessions()
    now = int(NOW.timestamp())
    for number in range(MAX_ENDED + 1):
        ended = ended.with_session(str(number), now + 100, now)
    assert len(ended.until_s) <= MAX_ENDED
    assert all(ended.has(str(number), now) for number in range(MAX_ENDED + 1))
    assert not ended.has("later", now + 1)
    over = EndedSessions({"old": now - 1}).with_session("new", now + 1, now)
    assert over.until_s == {"new": now + 1}, "what would be over anyway is forgotten"


async def test_a_bearer_token_needs_no_cookie_and_no_page_token() -> None:
    """Tools send the header; a cookie beside it is not looked at."""
    async with browser(services(FakeClickHouse())) as asking:
        await signed_in(asking, READ_ONLY)
        headers = {"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": "cross-site"}
        answer = await asking.put(f"{ISSUES}?query=", json={"status": "resolved"}, headers=headers)
        assert answer.status_code == 204
