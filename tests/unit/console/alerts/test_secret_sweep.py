"""Secrets that no rule names are removed, and those of rules stay whatever happens to the rules."""

from __future__ import annotations

from typing import Any

import pytest

from console.alerts.rules.source import RuleSource
from console.alerts.secret_sweep import EVERY_S, UNNAMED_S, SecretSweep
from tests.unit.console.alerts.world import World

pytestmark = pytest.mark.asyncio


async def swept(world: World, seconds: float) -> set[str]:
    """What is left after so many seconds of sweeps."""
    source: Any = RuleSource(world.clickhouse)  # type: ignore[arg-type]
    sweep = SecretSweep(world.entries, world.clock.now_s)
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
