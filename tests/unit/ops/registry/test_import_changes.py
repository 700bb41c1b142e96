"""An import that replaces entries says what each of them loses: an older file must not lock senders out unseen."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ops.cli.registry.file import change_lines
from ops.registry.entry_changes import changes
from ops.registry.file_copy import Imported, RegistryCopy, StoredEntry
from schemas.registry import Channel, Key, Organisation, Token, key_hash
from schemas.subjects import REGISTRY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket

OPEN = Channel(id=3, organisation="acme", name="Shop", slug="shop")
ARCHIVED = OPEN.model_copy(update={"archived_at": "2026-11-27T14:52:02Z"})
KEY = Key(sha256=key_hash("ak_" + "s" * 32), organisation="acme", environment="production", kind="secret")
TOKEN = Token(sha256=key_hash("sntrys_" + "t" * 32), organisation="acme", scopes=("org:read", "event:read"))
ACME = Organisation(slug="acme")


def stored(entry: Any) -> StoredEntry:
    return StoredEntry(entry.kv_key, json.loads(entry.model_dump_json()))


def changed(entry: Any, **fields: Any) -> list[str]:
    return changes(entry, entry.model_copy(update=fields))


def test_what_closes_is_said_with_the_answer_that_senders_get() -> None:
    """Whatever field of whatever entry it is."""
    assert changes(OPEN, ARCHIVED) == ["state: open -> archived: its senders get 403"]
    assert changed(KEY, revoked=True) == ["state: active -> revoked: who uses it gets 401, for good"]
    assert changed(TOKEN, revoked=True) == ["state: active -> revoked: who uses it gets 401, for good"]
    assert changed(OPEN, organisation="bolt") == ["organisation: acme -> bolt: keys of acme get 403"]
    assert changed(OPEN, slug="old") == ["slug: shop -> old: tools that name shop get 404"]
    assert changed(KEY, channels=(3, 7)) == ["channels: all -> 3, 7: senders to others get 403"]
    assert changed(KEY, origins=("https://a.example",))[0].endswith("-> https://a.example: other origins get 403")
    assert changed(ACME, quota_rows_per_minute=5) == ["quota of rows: none -> 5: who needs more gets 429"]
    assert changed(KEY, quota_per_minute=5) == ["quota of requests: none -> 5: who needs more gets 429"]
    assert changed(TOKEN, scopes=("org:read",)) == ["scopes: org:read, event:read -> org:read: 403 for event:read"]


def test_what_only_opens_or_names_has_no_warning() -> None:
    """It is said too, because a channel that was closed is open again after it."""
    assert changes(ARCHIVED, OPEN) == ["state: archived -> open"]
    assert changed(KEY.model_copy(update={"channels": (3,)}), channels=(3, 7)) == ["channels: 3 -> 3, 7"]
    assert changed(KEY.model_copy(update={"quota_per_minute": 5}), quota_per_minute=None) == [
        "quota of requests: 5 -> none"
    ]
    assert changed(OPEN, name="Läden") == ["name: Shop -> Läden"]
    assert changed(OPEN, created_at="2026-01-01T00:00:00Z") == []


@pytest.mark.asyncio
@pytest.mark.parametrize("overwrite", [False, True])
async def test_an_import_keeps_what_each_entry_loses(overwrite: bool) -> None:
    """Without --overwrite what it would change, so that the question can be answered."""
    broker = BrokerFake(bucket(REGISTRY_BUCKET))
    client: Any = SimpleNamespace(jetstream=lambda: broker)
    copy = RegistryCopy(client, await broker.key_value(REGISTRY_BUCKET))  # type: ignore[arg-type]
    await copy.write([stored(OPEN), stored(ACME)])
    done = await copy.write([stored(ARCHIVED), stored(ACME)], overwrite=overwrite)
    assert done.replaced == (["channel.3"] if overwrite else [])
    assert done.changes == {"channel.3": ["state: open -> archived: its senders get 403"]}
    assert change_lines(done) == ["channel.3: state: open -> archived: its senders get 403"]


def test_what_closes_comes_first_and_the_rest_is_counted() -> None:
    """Two hundred renamed channels must not hide the one that closes."""
    named = {f"channel.{number}": [f"name: a -> {number}"] for number in range(200)}
    lines = change_lines(Imported(changes=named | {"channel.999": changes(OPEN, ARCHIVED)}))
    assert lines[0].startswith("channel.999: state: open -> archived")
    assert lines[-1] == "… and 181 more"
