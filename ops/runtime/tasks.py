"""How background tasks are ended, also those that do not hear it the first time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancels `tasks` until all have ended; what they raised is nobody's business any more. None is one never begun.

    Once is not enough. On Python 3.11 asyncio.wait_for, by which nats-py waits for every answer, returns the answer and
    drops a cancellation that comes in the same turn of the loop (python/cpython#86296, mended in 3.12); the task then
    goes on for ever. A registry that was read anew while the receiver stopped missed it in 83 of 1,831 tries.
    """
    begun = {task for task in tasks if task is not None}
    left = begun
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*begun, return_exceptions=True)
