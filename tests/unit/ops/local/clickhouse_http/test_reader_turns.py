"""Few queries of readers run at once, the others wait for their turn, and none of them for ever."""

from __future__ import annotations

import asyncio

import pytest

from ops.local.clickhouse_http.access.reader_turns import ReaderTurns, places_of
from tests.unit import virtual_time


@pytest.mark.parametrize(("cores", "places"), [(1, 2), (2, 2), (4, 2), (8, 4), (32, 16)])
def test_half_of_the_cores_are_left_to_inserts(cores: int, places: int) -> None:
    """At least two run, or one long query would make every other one wait."""
    assert places_of(cores) == places


def test_ten_readers_run_two_at_a_time_in_the_order_of_asking() -> None:
    """Each takes its turn when another one has ended."""
    assert virtual_time.run(_read([0.1] * 10)) == (2, list(range(10)))


def test_a_short_query_does_not_wait_for_long_ones() -> None:
    """Two queries of a minute hold both places: the third runs after a second, beside them."""
    assert virtual_time.run(_read([60.0, 60.0, 0.1])) == (3, [0, 1, 2])


def test_however_many_wait_for_long_four_run() -> None:
    """Ten queries of five seconds each: inserts keep their part of the machine."""
    assert virtual_time.run(_read([5.0] * 10)) == (4, list(range(10)))


def test_who_waits_for_too_long_is_refused() -> None:
    """Four queries of an hour: the fifth hears of it while its client still listens; then a place is free again."""

    async def work() -> int:
        turns = ReaderTurns(1)
        await turns.take()
        await turns.take()
        with pytest.raises(TimeoutError):
            await turns.take()
        turns.give_back()
        await turns.take()
        return turns.running

    assert virtual_time.run(work()) == 2


@pytest.mark.parametrize("is_in_the_same_moment", [False, True])
def test_a_reader_that_leaves_takes_no_place(is_in_the_same_moment: bool) -> None:
    """Its client broke the connection, before its turn or when it came; the next one gets the place."""

    async def work() -> int:
        turns = ReaderTurns(1, wait_s=100.0)
        await turns.take()
        leaving = asyncio.ensure_future(turns.take())
        await asyncio.sleep(0)
        if is_in_the_same_moment:
            turns.give_back()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        if not is_in_the_same_moment:
            turns.give_back()
        await turns.take()
        return turns.running

    assert virtual_time.run(work()) == 1


async def _read(queries_s: list[float]) -> tuple[int, list[int]]:
    """How many ran at once at most, and who began after whom."""
    turns, most = ReaderTurns(2), 0
    order: list[int] = []

    async def ask(number: int, query_s: float) -> None:
        nonlocal most
        await turns.take()
        order.append(number)
        most = max(most, turns.running)
        await asyncio.sleep(query_s)
        turns.give_back()

    await asyncio.gather(*(ask(number, query_s) for number, query_s in enumerate(queries_s)))
    assert turns.running == 0
    return most, order
