"""One process evaluates: taken, renewed, given back, lost, taken over."""

from __future__ import annotations

import pytest

from console.alerts.lease import LEASE_S, RENEW_S, EvaluationLease, LeaseLost
from tests.unit.console.alerts.world import Clock, MemoryEntries

pytestmark = pytest.mark.asyncio


def lease(entries: MemoryEntries, clock: Clock, owner: str) -> EvaluationLease:
    return EvaluationLease(entries, owner, clock.now_s, clock.now_s)


async def test_the_first_takes_it_and_the_second_waits() -> None:
    """As long as it is renewed."""
    entries, clock = MemoryEntries(), Clock()
    one, two = lease(entries, clock, "one"), lease(entries, clock, "two")
    assert await one.step()
    for _ in range(20):
        assert not await two.step()
        clock.s += RENEW_S
        assert await one.step()


async def test_after_a_kill_the_second_takes_over_within_seconds() -> None:
    """It has seen the same entry for LEASE_S."""
    entries, clock = MemoryEntries(), Clock()
    one, two = lease(entries, clock, "one"), lease(entries, clock, "two")
    await one.step()
    waited_s = 0.0
    while not await two.step():
        clock.s, waited_s = clock.s + RENEW_S, waited_s + RENEW_S
    assert LEASE_S <= waited_s <= LEASE_S + 2 * RENEW_S
    assert not one.is_held
    with pytest.raises(LeaseLost):
        one.check()


async def test_two_never_hold_it_at_once() -> None:
    """Whatever the order of their steps, and wherever the broker was away."""
    entries, clock = MemoryEntries(), Clock()
    leases = [lease(entries, clock, name) for name in ("one", "two", "three")]
    for number in range(400):
        entries.is_away = number % 37 in range(5)
        await leases[(number * 7) % 3].step()
        assert sum(one.is_held for one in leases) <= 1
        clock.s += (0.3, 1.1, 2.9)[number % 3]


async def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    """A process that ends does not let others wait."""
    entries, clock = MemoryEntries(), Clock()
    one, two = lease(entries, clock, "one"), lease(entries, clock, "two")
    await one.step()
    assert not await two.step()
    await one.release()
    assert await two.step()
    assert not one.is_held


async def test_without_the_broker_it_is_lost_in_time_and_taken_again_after() -> None:
    """It stops before anybody else may begin."""
    entries, clock = MemoryEntries(), Clock()
    one = lease(entries, clock, "one")
    await one.step()
    entries.is_away = True
    for _ in range(3):
        clock.s += RENEW_S
        await one.step()
    assert not one.is_held
    entries.is_away = False
    assert await one.step()


async def test_a_write_without_an_answer_is_its_own() -> None:
    """The entry names it, so it need not wait for itself."""
    entries, clock = MemoryEntries(), Clock()
    one = lease(entries, clock, "one")
    entries.loses_answers = True
    assert not await one.step()
    entries.loses_answers = False
    for _ in range(2):
        clock.s += RENEW_S
        await one.step()
    assert one.is_held


async def test_an_entry_of_others_bytes_is_free() -> None:
    """Somebody wrote something else there."""
    entries, clock = MemoryEntries(), Clock()
    await entries.put("lease", b"\xff", 0)
    assert await lease(entries, clock, "one").step()
