"""Secrets that no rule names are removed, and those of rules stay whatever happens to the rules."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from console.alerts.rules.source import RuleSource
from console.alerts.secret_sweep import EVERY_S, UNNAMED_S, SecretSweep
from tests.unit.console.alerts.world import Killed, MemoryEntries, World

pytestmark = pytest.mark.asyncio


async def swept(world: World, seconds: float) -> set[str]:
    """What is left after so many seconds of sweeps."""
    source: Any = RuleSource(world.clickhouse)  # type: ignore[arg-type]
    sweep = SecretSweep(world.entries, MemoryEntries(), world.clock.now_s)
    end_s = world.clock.s + seconds
    while world.clock.s < end_s:
        await sweep.step(await source.read())
        world.clock.s += EVERY_S
    return set(await world.entries.names(""))


async def stored() -> World:
    world = World()
    world.rule(rule_id=5)
    for name in ("a5.url", "a5.key", "gone.url", "gone.key"):
        await world.entries.put(name, b"secret", 0)
    return world


async def test_secrets_that_no_rule_names_are_removed_after_a_while() -> None:
    """Not at once: a rule is stored after its secrets."""
    assert await swept(await stored(), UNNAMED_S) == {"a5.url", "a5.key", "gone.url", "gone.key"}
    assert await swept(await stored(), UNNAMED_S + 2 * EVERY_S) == {"a5.url", "a5.key"}


async def test_a_rule_that_is_not_evaluated_keeps_its_secrets() -> None:
    """It has a part that is unknown here; a newer version may know it."""
    world = await stored()
    world.rule(rule_id=5, conditions=[{"id": "moon"}])
    assert await swept(world, 2 * UNNAMED_S) == {"a5.url", "a5.key"}


async def test_nothing_is_removed_while_a_rule_cannot_be_read() -> None:
    """It may be the one that names them."""
    world = await stored()
    world.clickhouse.rules[0]["body"] = "no JSON"
    assert len(await swept(world, 2 * UNNAMED_S)) == 4


async def test_a_removed_secret_is_not_removed_again() -> None:
    """Its marker would stay for ever."""
    world = await stored()
    await world.entries.remove("old.url")
    before = world.entries.revision
    world.entries.lists_removed = True
    await swept(world, 2 * UNNAMED_S)
    assert world.entries.revision == before + 2, "gone.url and gone.key"


async def test_without_any_rule_nothing_is_removed() -> None:
    """The tables may be new and empty, until a backup is restored; the first restored rule is not alone for long."""
    world, other = await stored(), World()
    other.rule(rule_id=7)
    rules, world.clickhouse.rules = world.clickhouse.rules, []
    source: Any = RuleSource(world.clickhouse)  # type: ignore[arg-type]
    sweep = SecretSweep(world.entries, MemoryEntries(), world.clock.now_s)
    for restored in ([], other.clickhouse.rules, rules):
        world.clickhouse.rules = restored
        for _ in range(3):
            await sweep.step(await source.read())
            world.clock.s += UNNAMED_S / 4
    assert {"a5.url", "a5.key"} <= set(await world.entries.names(""))


async def test_secrets_of_an_earlier_version_are_taken_over() -> None:
    """They were beside the states; a newer one of the same action stays."""
    secrets, earlier = MemoryEntries(), MemoryEntries()
    for entries, name, value in (
        (earlier, "secret.a.url", b"https://hooks.test/a"),
        (earlier, "secret.b.key", b"old"),
        (earlier, "state.acme.5", b"{}"),
        (secrets, "b.key", b"new"),
    ):
        await entries.put(name, value, 0)
    sweep = SecretSweep(secrets, earlier, lambda: 0.0)
    await sweep.move()
    await sweep.move()
    assert {name: value for name, (value, _) in secrets.entries.items()} == {
        "a.url": b"https://hooks.test/a", "b.key": b"new"
    }  # fmt: skip
    assert await earlier.names("") == ["state.acme.5"]


async def test_a_kill_while_they_are_taken_over_loses_none() -> None:
    """Wherever it happens, the next process goes on."""
    for step in range(1, 9):
        secrets, earlier = MemoryEntries(), MemoryEntries()
        await earlier.put("secret.a.url", b"u", 0)
        await earlier.put("secret.a.key", b"k", 0)
        earlier.operations, earlier.kill_at = 0, step
        with contextlib.suppress(Killed):
            await SecretSweep(secrets, earlier, lambda: 0.0).move()
        earlier.kill_at = 0
        await SecretSweep(secrets, earlier, lambda: 0.0).move()
        assert {name: value for name, (value, _) in secrets.entries.items()} == {"a.url": b"u", "a.key": b"k"}


async def test_a_secret_that_cannot_be_read_is_not_removed() -> None:
    """A server of the broker that is behind says that there is nothing; the next look takes it over."""
    secrets, earlier = MemoryEntries(), MemoryEntries()
    await earlier.put("secret.a.url", b"https://hooks.test/a", 0)
    value = earlier.entries.pop("secret.a.url")
    earlier.names = _names_of_one  # type: ignore[method-assign]
    sweep = SecretSweep(secrets, earlier, lambda: 0.0)
    assert not await sweep.move()
    earlier.entries["secret.a.url"] = value
    assert await sweep.move()
    assert secrets.entries["a.url"][0] == b"https://hooks.test/a"


async def _names_of_one(_prefix: str) -> list[str]:
    return ["secret.a.url"]
