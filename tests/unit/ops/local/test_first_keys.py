"""The token that `up` makes for each new address of the console, and those that it replaced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.local import first_keys
from ops.local.data_dir import DataDir
from ops.local.first_keys import MAX_REPLACED, REPLACED_TOKENS, replaced_tokens, revoke_replaced
from ops.registry.changes import RegistryWriter
from ops.registry.tokens import TokenOptions
from ops.runtime.settings import Settings
from schemas.registry import key_hash
from schemas.subjects import CONTROL_BUCKET, REGISTRY_BUCKET
from schemas.web_tokens import login_code_hash
from tests.unit.broker_fake import BrokerFake, bucket


def token_id(text: str) -> str:
    return key_hash(text)[:16]


def test_replaced_tokens_are_remembered() -> None:
    assert replaced_tokens({}, "new") == []
    assert replaced_tokens({"auth_token": "same"}, "same") == []
    once = {"auth_token": "b", REPLACED_TOKENS: [token_id("a")]}
    assert replaced_tokens(once, "c") == [token_id("a"), token_id("b")]
    assert replaced_tokens(once | {"auth_token": "c"}, "c") == [token_id("a")], "a start at the same address"
    assert replaced_tokens({"auth_token": "b", REPLACED_TOKENS: "?"}, "c") == [token_id("b")]
    many = {"auth_token": "b", REPLACED_TOKENS: [str(number) for number in range(2 * MAX_REPLACED)]}
    assert len(replaced_tokens(many, "c")) == MAX_REPLACED
    assert replaced_tokens(many, "c")[-1] == token_id("b")


@pytest.mark.asyncio
async def test_a_replaced_token_that_came_back_is_revoked() -> None:
    """After a lost broker, an import brought the token of an earlier start back, and it was in use for good."""
    made = BrokerFake(bucket(REGISTRY_BUCKET))
    registry = RegistryWriter(made, await made.key_value(REGISTRY_BUCKET), "default")  # type: ignore[arg-type]
    for text in ("old", "now", "of somebody"):
        await registry.tokens.mint(TokenOptions(name="made by axonpush up"), text)
    for _ in range(2):
        await revoke_replaced(registry, [token_id("old"), token_id("not there")])
    state = {one.id: one.revoked for one in await registry.tokens.every()}
    assert state == {token_id("old"): True, token_id("now"): False, token_id("of somebody"): False}


async def _opened(monkeypatch: pytest.MonkeyPatch) -> RegistryWriter:
    """The registry of a broker in memory, which the code under test opens too."""
    made = BrokerFake(bucket(REGISTRY_BUCKET), bucket(CONTROL_BUCKET))
    registry = RegistryWriter(made, await made.key_value(REGISTRY_BUCKET), "default")  # type: ignore[arg-type]
    client = SimpleNamespace(jetstream=lambda: made)

    @contextlib.asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[RegistryWriter]:
        yield registry

    @contextlib.asynccontextmanager
    async def opened_bucket(*_: object) -> AsyncIterator[tuple[object, object]]:
        yield client, await made.key_value(REGISTRY_BUCKET)

    monkeypatch.setattr(first_keys, "open_registry", opened)
    monkeypatch.setattr(first_keys, "open_bucket", opened_bucket)
    return registry


@pytest.mark.asyncio
async def test_each_start_makes_a_link_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is in no file of the folder; the broker has hashes."""
    registry = await _opened(monkeypatch)
    folder = DataDir(tmp_path)
    codes = []
    for _ in range(2):
        keys = await first_keys.ensure_first_keys(Settings(), folder, "http://a:1")
        codes.append(keys.login_code)
        assert keys.login_code not in folder.credentials.read_text()
    async with first_keys.open_bucket(Settings()) as (client, _):
        stored = await (await client.jetstream().key_value(CONTROL_BUCKET)).get("console.login_code")
    assert codes[0] != codes[1]
    assert json.loads(stored.value or b"") == {
        "code": login_code_hash(codes[1]),
        "token": key_hash(keys.auth_token),
    }
    assert await registry.tokens.find(keys.auth_token)


@pytest.mark.asyncio
@pytest.mark.parametrize("public_is_revoked", [False, True])
async def test_a_system_whose_first_channel_is_archived_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_is_revoked: bool
) -> None:
    """Its keys were minted again at each start, and that was refused: `up` never started again."""
    registry = await _opened(monkeypatch)
    folder = DataDir(tmp_path)
    before = await first_keys.ensure_first_keys(Settings(), folder, "http://a:1")
    await registry.archive_channel(1, archived=True)
    if public_is_revoked:
        await registry.revoke(before.public_token)
    after = await first_keys.ensure_first_keys(Settings(), folder, "http://a:1")
    assert after.api_key == before.api_key
    assert after.public_token == ("" if public_is_revoked else before.public_token)
    await registry.archive_channel(1, archived=False)
    again = await first_keys.ensure_first_keys(Settings(), folder, "http://a:1")
    assert await registry.find(again.public_token)
