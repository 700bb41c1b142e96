"""Few queries of readers run at once, the others wait for their turn, and nobody waits for ever."""

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
    assert virtual_time.run(_read(readers=10, query_s=0.1)) == (2, list(range(10)), [True] * 10)


def test_a_short_query_does_not_wait_for_long_ones() -> None:
    """Two queries of a minute hold both places: the third runs after the longest wait, without a place."""
    running, order, had_place = virtual_time.run(_read(readers=3, query_s=60.0))
    assert (running, order, had_place) == (3, [0, 1, 2], [True, True, False])


def test_a_reader_that_leaves_while_it_waits_takes_no_place() -> None:
    """Its client broke the connection; the next one gets the place."""

    async def work() -> bool:
        turns = ReaderTurns(1)
        assert await turns.take()
        leaving = asyncio.ensure_future(turns.take())
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        turns.give_back(had_place=True)
        return await turns.take()

    assert virtual_time.run(work())


async def _read(readers: int, query_s: float) -> tuple[int, list[int], list[bool]]:
    """How many ran at once at most, who began after whom, and who had a place."""
    turns, running, most = ReaderTurns(2), 0, 0
    order: list[int] = []
    had_place: list[bool] = []

    async def one(number: int) -> None:
        nonlocal running, most
        had = await turns.take()
        order.append(number)
        had_place.append(had)
        running += 1
        most = max(most, running)
        await asyncio.sleep(query_s)
        running -= 1
        turns.give_back(had_place=had)

    await asyncio.gather(*(one(number) for number in range(readers)))
    return most, order, had_place
