"""A console without servers: registry entries, and a ClickHouse that answers what a test says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from uuid import UUID

import httpx

from console.access.limits import RequestLimits
from console.access.registry import FollowedRegistry, KnownEntries
from console.access.state import SessionState, StateChanged, StateUnavailable
from console.app import make_app
from console.explore.delivery import DeliveryReports
from console.explore.live import LivePolls
from console.services import Services
from console.settings import ConsoleSettings
from console.storage.clickhouse import ClickHouse, Row
from ops.runtime.registry.registry_log import RegistryEntryChange
from schemas.registry import Channel, Environment, Key, Organisation, Token, key_hash

URL = "http://console.test"
NOW = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
TOKEN, READ_ONLY, FOREIGN, REVOKED = "all-of-it", "read-only", "of-others", "no-longer-in-use"
ALL = ("org:ci", "project:write", "event:write", "alerts:write")

Answer = Callable[[str, dict[str, Any]], list[Row]]


def nothing(_sql: str, _parameters: dict[str, Any]) -> list[Row]:
    """A database without rows."""
    return []


class FakeStateEntries:
    """Entries of the broker in memory. `is_away`: the broker does not answer."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.is_away = False

    async def get(self, name: str) -> tuple[bytes, int]:
        if self.is_away:
            raise StateUnavailable
        return self.entries.get(name, (b"", 0))

    async def put(self, name: str, value: bytes, revision: int) -> None:
        if self.is_away:
            raise StateUnavailable
        if self.entries.get(name, (b"", 0))[1] != revision:
            raise StateChanged
        self.entries[name] = (value, revision + 1)


class FakeClickHouse:
    """Keeps every question and every insert. No day is counted, unless `countings` has some."""

    def __init__(self, answer: Answer = nothing) -> None:
        self.answer = answer
        self.countings: dict[str, int] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.inserted: list[tuple[str, list[Row]]] = []

    async def query(self, sql: str, **parameters: Any) -> list[Row]:
        self.asked.append((sql, parameters))
        if "AS latest_counting" in sql:
            return [{"counted_day": day, "latest_counting": counting} for day, counting in self.countings.items()]
        # Copies: the code under test adds to its rows, and tests share theirs.
        return [dict(row) for row in self.answer(sql, parameters)]

    async def insert(self, table: str, rows: list[Row]) -> None:
        self.inserted.append((table, rows))


def directory_of(*entries: Channel | Environment | Key | Organisation | Token) -> KnownEntries:
    """Registry entries with these entries."""
    made = KnownEntries()
    made.replace(
        RegistryEntryChange(entry.kv_key, number, entry.model_dump_json().encode())
        for number, entry in enumerate(entries, 1)
    )
    return made


def token(text: str, organisation: str = "acme", *, scopes: tuple[str, ...] = ALL, revoked: bool = False) -> Token:
    """The entry of a token."""
    return Token(sha256=key_hash(text), organisation=organisation, scopes=scopes, name=text, revoked=revoked)


def registry_entries() -> KnownEntries:
    """Two organisations: `acme` with two projects and three tokens, and `others`."""
    return directory_of(
        Channel(id=1, organisation="acme", slug="web", name="Web shop"),
        Channel(id=2, organisation="acme"),
        Channel(id=9, organisation="others", slug="secret"),
        token(TOKEN),
        token(READ_ONLY, scopes=("event:read", "project:read", "org:read")),
        token(FOREIGN, "others", scopes=(*ALL, "project:admin", "delivery:write")),
        token(REVOKED, revoked=True),
    )


class _Registry:
    """As FollowedRegistry, without a broker."""

    def __init__(self, known: KnownEntries) -> None:
        self.entries = known
        self.ready = True
        # What happened since the last look.
        self.minted: list[Token] = []

    async def caught_up(self) -> None:
        """The next look at the bucket."""
        for minted in self.minted:
            self.entries.put(RegistryEntryChange(minted.kv_key, 100, minted.model_dump_json().encode()))


class FakeAlertsLink:
    """What the console stores for `axonpush alerts`, and asks of it."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"results": []}

    async def store(self, secrets: Mapping[str, str]) -> None:
        self.secrets |= secrets

    async def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self.secrets.pop(name, None)

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(dict(question))
        return self.answer


def services(clickhouse: FakeClickHouse, known: KnownEntries | None = None, **settings: Any) -> Services:
    """What the routes get."""
    ids = iter(UUID(int=number) for number in range(1, 1_000))
    return Services(
        ConsoleSettings(**settings),
        cast("FollowedRegistry", _Registry(known or registry_entries())),
        cast("ClickHouse", clickhouse),
        URL,
        lambda: True,
        SessionState(FakeStateEntries()),
        DeliveryReports(FakeStateEntries(), NOW.timestamp),
        now=lambda: NOW,
        now_ns=lambda: int(NOW.timestamp()) * 1_000_000_000,
        new_id=lambda: next(ids),
        limits=RequestLimits(NOW.timestamp),
        live_polls=LivePolls(2, 0.0),
        alerts=FakeAlertsLink(),
    )


def client(made: Services, text: str = TOKEN) -> httpx.AsyncClient:
    """An HTTP client of the application, with a token; an empty one: without."""
    headers = {"Authorization": f"Bearer {text}"} if text else {}
    transport = httpx.ASGITransport(app=make_app(made), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=URL, headers=headers)
