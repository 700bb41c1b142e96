"""Costly work has a thread, a turn and an end: the loop goes on, channels take turns, nothing runs for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from tests.unit.worker_fakes import settled
from workers.consume.large_messages import ChannelTurns, LargeMessageExecutor
from workers.consume.work_process_client import TooCostly


def threads() -> int:
    return sum(thread.name == "large-message" for thread in threading.enumerate())


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_the_loop_goes_on_meanwhile() -> None:
    """The work waits for something that only the loop can do."""
    done = threading.Event()
    working = asyncio.create_task(LargeMessageExecutor(60).run_in_thread(lambda: done.wait(60), 1))
    await until(lambda: threads() == 1)
    done.set()
    assert await working is True


@pytest.mark.asyncio
async def test_errors_come_through() -> None:
    """A normaliser's Invalid is no other than without a thread."""

    def fail() -> None:
        raise ValueError("expected another")

    with pytest.raises(ValueError, match="expected another"):
        await LargeMessageExecutor(60).run_in_thread(fail, 1)


def endless() -> None:
    """Catches what work catches."""
    while True:
        try:
            sum(range(1_000))
        except Exception:
            continue


@pytest.mark.asyncio
async def test_work_without_an_end_is_stopped() -> None:
    """By its processor time, also where it catches every Exception; its thread is gone."""
    with pytest.raises(TooCostly, match=r"expected at most 0\.05 s of processor time"):
        await LargeMessageExecutor(0.05).run_in_thread(endless, 1)
    await until(lambda: threads() == 0)


@pytest.mark.asyncio
async def test_waiting_costs_nothing() -> None:
    """Processor time counts and not the time of day: a machine that is busy with others refuses nobody."""
    pause = threading.Event()
    assert await LargeMessageExecutor(0.05).run_in_thread(lambda: pause.wait(0.3), 1) is False


@pytest.mark.asyncio
async def test_whoever_gives_up_ends_it() -> None:
    """A worker that stops leaves no thread behind."""
    working = asyncio.create_task(LargeMessageExecutor(3_600).run_in_thread(endless, 1))
    await until(lambda: threads() == 1)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await until(lambda: threads() == 0)


async def take(turns: ChannelTurns, channel: int, name: str, journal: list[str]) -> None:
    async with turns.turn(channel):
        journal.append(name)
        await settled()


@pytest.mark.asyncio
async def test_channels_take_turns() -> None:
    """Who sends many costly messages waits for himself; one at a time."""
    turns, journal = ChannelTurns(), list[str]()
    names = ((1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2"))
    await asyncio.gather(*(take(turns, channel, name, journal) for channel, name in names))
    assert journal == ["a1", "a2", "b1", "c1", "a3", "b2"]
    await take(turns, 9, "later", journal)


@pytest.mark.asyncio
async def test_a_turn_is_not_lost_with_who_waited_for_it() -> None:
    """Cancelled before its turn, or in the moment it is given."""
    turns, journal = ChannelTurns(), list[str]()
    first = asyncio.create_task(take(turns, 1, "first", journal))
    gone = asyncio.create_task(take(turns, 2, "gone", journal))
    last = asyncio.create_task(take(turns, 3, "last", journal))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(first, gone, last, return_exceptions=True)
    assert journal == ["first", "last"]
