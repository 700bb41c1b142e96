"""Ends background tasks, even if they miss the first cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancels `tasks` until all have ended, and ignores what they raise. None stands for a task that never started.

    One cancellation is not enough. On Python 3.11 asyncio.wait_for, which nats-py uses for every request, loses a
    cancellation that arrives in the same loop turn as the answer (python/cpython#86296, fixed in 3.12). The task would
    then run for ever.
    """
    begun = {task for task in tasks if task is not None}
    left = begun
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*begun, return_exceptions=True)


async def run_together(*works: Coroutine[Any, Any, None]) -> None:
    """Runs `works` side by side until one raises or the caller is cancelled, and then ends all of them.

    asyncio.TaskGroup cancels each only once, so a lost cancellation would make it wait for ever.
    """
    tasks = [asyncio.create_task(work) for work in works]
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in tasks if task.done() and (error := _error_of(task)) is not None]
    finally:
        if not all(task.done() for task in tasks):
            await _uninterrupted(asyncio.create_task(end(*tasks)))
    if errors:
        raise errors[0]


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task that has ended raised; reading it also keeps asyncio from logging it as unheard."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _uninterrupted(task: asyncio.Task[None]) -> None:
    """Waits for `task`, also while its caller is cancelled again and again."""
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
