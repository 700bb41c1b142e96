"""One timer for many tasks: each that takes too long is ended, and nobody else."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from receiver.http.deadlines import Deadlines

SHORT_S = 0.05


class TookTooLong(Exception):
    """What the tasks here make of it."""


async def limited(deadlines: Deadlines, waiting: asyncio.Future[str]) -> str:
    task = deadlines.begin()
    try:
        return await waiting
    except asyncio.CancelledError as error:
        if not deadlines.is_over(task):
            raise
        raise TookTooLong from error
    finally:
        deadlines.end(task)


@pytest.mark.asyncio
async def test_whoever_waits_for_ever_is_ended() -> None:
    """Several at once and one that comes later: each gets its own end, and goes on as a task of good standing."""
    deadlines, never = Deadlines(SHORT_S), asyncio.get_running_loop().create_future()

    async def one() -> str:
        with pytest.raises(TookTooLong):
            await limited(deadlines, asyncio.shield(never))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # a cancellation left behind would come up here
        return "went on"

    first = [asyncio.create_task(one()) for _ in range(3)]
    assert await first[0] == "went on"
    last = asyncio.create_task(one())
    assert set(await asyncio.gather(*first, last)) == {"went on"}


@pytest.mark.asyncio
async def test_whoever_is_done_in_time_hears_nothing() -> None:
    """Not even when the limit passes while its task does other things."""
    deadlines, loop = Deadlines(SHORT_S), asyncio.get_running_loop()
    ready = loop.create_future()
    ready.set_result("here")
    never = loop.create_future()
    late = asyncio.create_task(limited(deadlines, asyncio.shield(never)))
    assert await limited(deadlines, ready) == "here"
    with pytest.raises(TookTooLong):  # the timer has been there
        await late


@pytest.mark.asyncio
async def test_another_cancellation_stays_one() -> None:
    """A task that somebody else ends is not told that it took too long."""
    task = asyncio.create_task(limited(Deadlines(60), asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_it_works_in_the_next_event_loop_too() -> None:
    """A timer that ended with its loop does not count as one."""
    deadlines = Deadlines(SHORT_S)

    async def scene() -> None:
        with pytest.raises(TookTooLong):
            await limited(deadlines, asyncio.get_running_loop().create_future())

    async def leaves_a_timer() -> None:
        ready = asyncio.get_running_loop().create_future()
        ready.set_result("here")
        await limited(deadlines, ready)

    for part in (leaves_a_timer, scene, leaves_a_timer, scene):
        await part()


@pytest.mark.asyncio
async def test_all_are_cut_at_the_end() -> None:
    """Whatever time they had left."""
    deadlines, never = Deadlines(60), asyncio.get_running_loop().create_future()
    waiting = [asyncio.create_task(limited(deadlines, asyncio.shield(never))) for _ in range(3)]
    await asyncio.sleep(0)
    deadlines.cut()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in found} == {TookTooLong}
    assert deadlines.are_cut


@pytest.mark.asyncio
async def test_a_request_that_ended_is_not_held() -> None:
    """Nor looked at again when its time would have been over."""
    deadlines, ready = Deadlines(60), asyncio.get_running_loop().create_future()
    ready.set_result("here")
    task = asyncio.create_task(limited(deadlines, ready))
    assert await task == "here"
    gone = weakref.ref(task)
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
