"""Background tasks end when they are told to, also one that did not hear it at first."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from ops.runtime import tasks

DEADLINE_S = 30


async def _begun_and_ended(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        await tasks.end(task)
    return task


@pytest.mark.asyncio
async def test_a_task_ends_whose_answer_comes_in_the_same_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again and again and waits for every answer as nats-py does, whose wait drops the first cancellation."""
    monkeypatch.setattr(tasks, "AGAIN_S", 0.01)

    async def asks() -> None:
        while True:
            answer = asyncio.get_running_loop().create_future()
            answers.append(answer)
            await asyncio.wait_for(answer, DEADLINE_S)

    async def run() -> asyncio.Task[None]:
        task = asyncio.create_task(asks())
        await asyncio.sleep(0)
        answers[0].set_result(None)
        async with asyncio.timeout(DEADLINE_S):
            await tasks.end(task)
        return task

    answers: list[asyncio.Future[None]] = []
    assert (await run()).cancelled()


@pytest.mark.asyncio
async def test_what_a_task_raised_is_not_raised_again() -> None:
    async def fails() -> None:
        raise OSError("the broker is away")

    assert isinstance((await _begun_and_ended(fails())).exception(), OSError)


@pytest.mark.asyncio
async def test_a_last_deed_is_not_disturbed() -> None:
    """What a task does after its cancellation has AGAIN_S before it is told again."""
    done: list[str] = []

    async def tidies() -> None:
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            await asyncio.sleep(0.01)
            done.append("tidied")

    assert (await _begun_and_ended(tidies())).cancelled()
    assert done == ["tidied"]


@pytest.mark.asyncio
async def test_nothing_to_end() -> None:
    await tasks.end()
    await tasks.end(None)


@pytest.mark.asyncio
async def test_works_that_run_together_end_though_one_misses_cancellations(monkeypatch: pytest.MonkeyPatch) -> None:
    """And though whoever runs them is cancelled again and again meanwhile."""
    monkeypatch.setattr(tasks, "AGAIN_S", 0.01)
    ended: list[str] = []

    async def deaf() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(DEADLINE_S)
        ended.append("deaf")

    async def quiet() -> None:
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            ended.append("quiet")

    await _begun_and_ended(tasks.run_together(deaf(), quiet()))
    assert sorted(ended) == ["deaf", "quiet"]


@pytest.mark.asyncio
async def test_of_works_that_run_together_the_first_error_ends_all() -> None:
    """It is raised when the others have ended."""
    ended: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def waits() -> None:
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            ended.append("waits")

    with pytest.raises(ValueError, match="no"):
        await tasks.run_together(waits(), fails())
    assert ended == ["waits"]


@pytest.mark.asyncio
async def test_no_works_are_done_at_once() -> None:
    await tasks.run_together()


@pytest.mark.asyncio
async def test_of_several_errors_the_one_that_was_named_first_is_raised() -> None:
    """And none of the others is logged as an exception that nobody retrieved."""
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context))

    async def fails(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="first"):
        await tasks.run_together(fails("first"), fails("second"))
    gc.collect()
    assert not unheard
