"""The token that `up` makes for each new address of the console, and those that it replaced."""

from __future__ import annotations

import pytest

from ops.local.first_keys import MAX_REPLACED, REPLACED_TOKENS, replaced_tokens, revoke_replaced
from ops.registry.changes import RegistryWriter
from ops.registry.tokens import TokenOptions
from schemas.registry import key_hash
from schemas.subjects import REGISTRY_BUCKET
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
