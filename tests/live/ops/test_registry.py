"""Channels, keys and environments on a real broker."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import nats
import pytest

from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import MIB, Budgets
from ops.registry.changes import RegistryWriter
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions
from ops.runtime.failures import Conflict, Failed
from ops.runtime.settings import Settings
from schemas.registry import DEFAULT_PUBLIC_QUOTA, Quota, key_hash
from tests.polling import ANSWER_TIMEOUT_S
from tests.servers import Server

pytestmark = pytest.mark.live

T = TypeVar("T")
BUDGETS = Budgets(raw_max_bytes=256 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)


class Change(Protocol):
    """Runs one change on a connection of its own, as a command does."""

    def __call__(self, work: Callable[[RegistryWriter], Awaitable[T]]) -> T: ...


@pytest.fixture(scope="module")
def broker(nats_server: Server) -> Settings:
    """The session's broker with a registry on it."""
    settings = Settings(nats_url=nats_server.url)
    asyncio.run(migrate_broker(settings, BUDGETS, dry_run=False))
    return settings


@pytest.fixture
def organisation() -> str:
    """An organisation of this test's own."""
    return f"o{uuid.uuid4().hex}"


@pytest.fixture
def change(broker: Settings, organisation: str) -> Change:
    """Changes in that organisation."""

    def run(work: Callable[[RegistryWriter], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with open_registry(broker, organisation) as registry:
                return await work(registry)

        return asyncio.run(opened())

    return run


def test_a_minted_key_is_found_listed_and_revoked(change: Change) -> None:
    """The round trip of a key, by its text and by its id."""
    channel = change(lambda registry: registry.create_channel())
    grant = KeyOptions(
        "production", public=True, channels=(channel.id,), quota_per_minute=60, origins=("https://a.example",)
    )
    text, key = change(lambda registry: registry.mint(grant))
    assert change(lambda registry: registry.find(text)) == key
    assert change(lambda registry: registry.keys()) == [key]
    assert (key.kind, key.channels) == ("public", (channel.id,))
    assert key.quota == replace(DEFAULT_PUBLIC_QUOTA, requests=60), "what is left open is a public token's default"
    assert change(lambda registry: registry.revoke(key.id)).revoked
    assert change(lambda registry: registry.revoke(text)).revoked
    assert [one.revoked for one in change(lambda registry: registry.keys())] == [True]


def test_quotas_change_one_by_one(change: Change) -> None:
    """What a command does not name stays, of a key and of an organisation; nothing is left of a lifted one."""
    text, key = change(lambda registry: registry.mint(KeyOptions("production", public=True)))
    assert key.quota == DEFAULT_PUBLIC_QUOTA
    limited = change(lambda registry: registry.limit(text, {"quota_rows_per_minute": 5}))
    assert limited.quota == replace(DEFAULT_PUBLIC_QUOTA, rows=5)
    lifted = dict.fromkeys(("quota_per_minute", "quota_bytes_per_minute", "quota_rows_per_minute"))
    assert not change(lambda registry: registry.limit(text, lifted)).is_limited
    change(lambda registry: registry.limit_organisation({"quota_per_minute": 7}))
    changed = change(lambda registry: registry.limit_organisation({"quota_bytes_per_minute": 9}))
    assert changed.quota == Quota(requests=7, inflated_bytes=9)
    assert change(lambda registry: registry.limit_organisation({"quota_per_minute": None})).quota == Quota(None, 9)


def test_the_broker_never_sees_a_key_in_clear_text(change: Change, broker: Settings) -> None:
    """Neither in a subject nor in a value of the bucket."""
    text, _key = change(lambda registry: registry.mint(KeyOptions("production")))

    async def everything() -> bytes:
        client = await nats.connect(broker.nats_url)
        bucket = await client.jetstream(timeout=ANSWER_TIMEOUT_S).key_value("registry")
        found = [(name, (await bucket.get(name)).value or b"") for name in await bucket.keys()]
        await client.close()
        return b"\n".join(name.encode() + b" " + value for name, value in found)

    stored = asyncio.run(everything())
    assert key_hash(text).encode() in stored
    assert text.encode() not in stored
    assert text[3:].encode() not in stored


@pytest.mark.parametrize("public", [True, False])
def test_a_key_fits_into_a_dsn(change: Change, public: bool) -> None:
    """Its kind shows in the prefix; the rest is letters and digits, and never the same twice."""
    texts = {change(lambda registry: registry.mint(KeyOptions("production", public=public)))[0] for _ in range(3)}
    assert len(texts) == 3
    for text in texts:
        assert re.fullmatch(r"(ak|pt)_[A-Za-z0-9_]{16,125}", text)
        assert text.startswith("pt_" if public else "ak_")
        assert len(text) >= 3 + 32


def test_channel_ids_are_unique_across_organisations(change: Change, broker: Settings) -> None:
    """A channel belongs to one organisation; another one is told that the number is taken."""
    made = change(lambda registry: registry.create_channel())

    async def elsewhere() -> None:
        async with open_registry(broker, "somebody-else") as registry:
            with pytest.raises(Conflict, match=f"channel {made.id} of organisation .* exists already"):
                await registry.create_channel(made.id)
            with pytest.raises(Failed, match=f"channel {made.id} belongs to organisation"):
                await registry.mint(KeyOptions("production", channels=(made.id,)))
            assert made.id not in {one.id for one in await registry.channels()}

    asyncio.run(elsewhere())


def test_channels_made_at_once_get_different_numbers(change: Change) -> None:
    """Compare-and-swap: the loser of a race takes the next number."""

    async def race(registry: RegistryWriter) -> list[int]:
        made = await asyncio.gather(*(registry.create_channel() for _ in range(8)))
        return sorted(one.id for one in made)

    ids = change(race)
    assert len(set(ids)) == 8
    assert set(ids) <= {one.id for one in change(lambda registry: registry.channels())}


def test_a_revocation_survives_a_change_at_the_same_time(change: Change) -> None:
    """Revoked and limited by many at once: the entry that is stored has both, whoever wrote last."""
    _text, key = change(lambda registry: registry.mint(KeyOptions("production")))

    async def race(registry: RegistryWriter) -> None:
        limits = (registry.limit(key.id, {"quota_per_minute": number}) for number in range(1, 7))
        await asyncio.gather(registry.revoke(key.id), *limits, registry.revoke(key.id))

    change(race)
    [stored] = change(lambda registry: registry.keys())
    assert (stored.id, stored.revoked) == (key.id, True)
    assert stored.quota_per_minute in range(1, 7)


def test_environments_are_listed_by_name(change: Change) -> None:
    """Creating one twice is a conflict, ensuring it twice is not."""
    change(lambda registry: registry.create_environment("staging"))
    change(lambda registry: registry.create_environment("production"))
    with pytest.raises(Conflict, match="environment staging"):
        change(lambda registry: registry.create_environment("staging"))
    assert change(lambda registry: registry.ensure_environment("staging")) is None
    assert [one.slug for one in change(lambda registry: registry.environments())] == ["production", "staging"]


def test_an_unknown_key_is_not_repeated_in_the_error(change: Change) -> None:
    """A mistyped key is still nearly a key."""
    with pytest.raises(Failed) as error:
        change(lambda registry: registry.revoke("ak_0123456789abcdef0123456789abcdef"))
    assert "0123456789" not in str(error.value)


@pytest.mark.asyncio
async def test_a_broker_without_a_registry_says_what_to_run(own_nats_server: Server) -> None:
    """Not a traceback about a missing bucket."""

    async def listed() -> None:
        async with open_registry(Settings(nats_url=own_nats_server.url), "default") as registry:
            await registry.channels()

    with pytest.raises(Failed, match="axonpush migrate"):
        await listed()
