"""Who is let in: tokens, scopes, organisations, requests a minute."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, cast

import pytest

from console.access import bearer
from console.access.bearer import MAX_WAITING
from console.access.limits import MAX_TOKENS, RequestLimits
from console.access.registry import KnownEntries
from console.app import PREFIX, ROUTES
from ops.runtime.registry.registry_log import RegistryEntryChange
from schemas.registry import Channel, key_hash
from schemas.web_tokens import SCOPES, expand_scopes, token_address, token_text
from tests.unit.console.fakes import (
    FOREIGN,
    READ_ONLY,
    REVOKED,
    TOKEN,
    FakeClickHouse,
    client,
    registry_entries,
    services,
    token,
)

pytestmark = pytest.mark.asyncio
FILLED = {
    **{"organisation": "acme", "project": "web", "issue": "1", "event": "latest", "version": "1.0", "team": "acme"},
    **{"artifact": "a", "item": "b" * 32, "trace": "c" * 32, "tag": "till", "rule": "7", "monitor": "nightly"},
    **{"attachment": "d" * 32, "delivery": "d", "generation": "1", "key": "e" * 16, "number": "7"},
}
# Without these, questions about events are refused before anything is asked.
ASKED = {"field": ["title", "count()"], "traceId": "c" * 32}


def paths() -> list[tuple[str, str, str]]:
    """Every route with its parameters filled."""
    return [(route.method, PREFIX + route.path.format(**FILLED), route.scope) for route in ROUTES]


@pytest.mark.parametrize(("method", "path", "scope"), paths())
async def test_no_route_answers_without_a_token(method: str, path: str, scope: str) -> None:
    """401 with a detail, whatever is missing, and nothing is asked or written."""
    clickhouse = FakeClickHouse()
    for text in ("", "never-minted", REVOKED, "x" * 5_000):
        async with client(services(clickhouse), text) as asking:
            answer = await asking.request(method, path, json={})
        assert answer.status_code == 401
        assert "expected" in answer.json()["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"
        assert text not in answer.text or not text
    assert clickhouse.asked == clickhouse.inserted == []


async def test_a_token_that_was_minted_a_moment_ago_is_known() -> None:
    """A pipeline mints one and uses it at once."""
    made = services(FakeClickHouse())
    cast("Any", made.registry).minted.append(token("new"))
    async with client(made, "new") as asking:
        assert (await asking.get(f"{PREFIX}/organizations/")).status_code == 200


async def test_guessed_tokens_hold_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many wait for the registry; one more is answered at once, and known tokens are never held."""
    monkeypatch.setattr(bearer, "MAX_WAIT_S", 600.0)
    made, read = services(FakeClickHouse()), asyncio.Event()
    made.registry.caught_up = read.wait  # type: ignore[assignment, method-assign]
    async with client(made, "guessed") as guessing, client(made) as known:
        guesses = [asyncio.create_task(guessing.get(f"{PREFIX}/organizations/")) for _ in range(MAX_WAITING + 1)]
        done, held = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status_code for task in done] == [401]
        assert (await known.get(f"{PREFIX}/organizations/")).status_code == 200
        assert not any(task.done() for task in held)
        read.set()
        assert {answer.status_code for answer in await asyncio.gather(*held)} == {401}


@pytest.mark.parametrize(("method", "path", "scope"), [one for one in paths() if one[2]])
async def test_no_route_answers_without_its_scope(method: str, path: str, scope: str) -> None:
    """403, which names the scope."""
    known = registry_entries()
    others = tuple(name for name in SCOPES if scope not in expand_scopes((name,)))
    entry = token("without", scopes=others)
    known.put(RegistryEntryChange(entry.kv_key, 99, entry.model_dump_json().encode()))
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse, known), "without") as asking:
        answer = await asking.request(method, path, json={})
    assert answer.status_code == 403
    assert f"expected the scope {scope}" in answer.json()["detail"]
    assert clickhouse.asked == clickhouse.inserted == []


@pytest.mark.parametrize(
    ("method", "path", "scope"), [one for one in paths() if "/acme/" in one[1] and "teams/" not in one[1]]
)
async def test_no_path_shows_another_organisation(method: str, path: str, scope: str) -> None:
    """404 for a token of others, and for an organisation that does not exist: the answers do not differ."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse), FOREIGN) as asking:
        body = {"status": "resolved"} if "issues" in path else {"version": "1", "environment": "x"}
        if method != "POST" and "releases" in path:
            body = {"url": "http://x"}
        if path.endswith("/web/") and method == "PUT":
            body = {"name": "x"}
        foreign = await asking.request(method, path, json=body)
        absent = await asking.request(method, path.replace("/acme/", "/none/"), json=body)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.json()["detail"].replace("acme", "none") == absent.json()["detail"]
    assert clickhouse.asked == clickhouse.inserted == []


async def test_every_question_names_the_organisation_of_the_token() -> None:
    """No query of ours can see rows of others, whatever the path says."""
    clickhouse = FakeClickHouse()
    async with client(services(clickhouse), TOKEN) as asking:
        for method, path, _ in paths():
            body = {"status": "resolved"} if "issues" in path else {"version": "1"}
            await asking.request(method, path, params=ASKED, json=body)
    assert len(clickhouse.asked) > 10
    for sql, parameters in clickhouse.asked:
        assert "organisation = {organisation:String}" in sql
        assert parameters["organisation"] == "acme"
        assert set(parameters.get("channels", [1])) <= {1, 2}


async def test_a_revoked_token_is_refused_from_the_next_request_on() -> None:
    """The entries are what the broker's bucket says."""
    known = registry_entries()
    async with client(services(FakeClickHouse(), known), READ_ONLY) as asking:
        assert (await asking.get("/api/0/")).status_code == 200
        entry = token(READ_ONLY, revoked=True)
        known.put(RegistryEntryChange(entry.kv_key, 100, entry.model_dump_json().encode()))
        assert (await asking.get("/api/0/")).status_code == 401


async def test_too_many_requests_of_a_token_wait() -> None:
    """429 with the headers that tools read; others are not stopped."""
    made = services(FakeClickHouse(), console_requests_per_minute=2)
    async with client(made) as asking:
        answers = [await asking.get("/api/0/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-sentry-rate-limit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].headers["x-sentry-rate-limit-limit"] == "2"
    assert int(answers[2].headers["retry-after"]) <= 60
    async with client(made, READ_ONLY) as asking:
        assert (await asking.get("/api/0/")).status_code == 200


async def test_counted_tokens_are_bounded() -> None:
    """A table of requests does not grow for ever."""
    limits = RequestLimits(lambda: 0.0)
    for number in range(MAX_TOKENS + 5):
        limits.take(str(number), 1)
    assert len(limits._counts) == MAX_TOKENS


async def test_an_entry_that_cannot_be_read_is_no_entry() -> None:
    """And does not stop the ones after it."""
    made = KnownEntries()
    made.put(RegistryEntryChange("channel.1", 1, b"{}"))
    made.put(RegistryEntryChange("widget.1", 2, b"{}"))
    made.put(RegistryEntryChange("channel.2", 3, Channel(id=2, organisation="acme").model_dump_json().encode()))
    assert [one.id for one in made.projects("acme")] == [2]
    made.put(RegistryEntryChange("channel.2", 4, b""))
    assert made.projects("acme") == []
    assert made.revision == 4


async def test_a_token_tells_tools_where_it_belongs() -> None:
    """`sntrys_`, base64 with address and organisation, `_`, 43 characters: what sentry-cli takes apart."""
    text = token_text("https://in.example.com", "acme", 1.5, bytes(32))
    prefix, payload, secret = text.split("_")
    assert (prefix, len(secret)) == ("sntrys", 43)
    assert json.loads(base64.b64decode(payload)) == {
        "iat": 1.5,
        "url": "https://in.example.com",
        "region_url": "https://in.example.com",
        "org": "acme",
    }
    assert token_address(text) == "https://in.example.com"
    assert [token_address(other) for other in ("", "sntrys_", "sntrys_e30=_x", "ak_1", "sntrys_!_x")] == [""] * 5
    assert key_hash(text) != key_hash(text + "x")
