"""Runs the parts of `axonpush status` beside each other, each within the time limit: one that hangs delays no other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError

from ops.cli import unreachable
from ops.runtime.failures import Failed

T = TypeVar("T")
# Our own sentences are shorter, and end with what to do: a cut one would say something else.
MAX_ERROR_LENGTH: Final = 2000


@dataclass(slots=True)
class Parts:
    """The parts of one screen. `unknown` has, by part, why it could not be read."""

    limit_s: float
    clock: Callable[[], float] = time.monotonic
    unknown: dict[str, str] = field(default_factory=dict)
    _end_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._end_s = self.clock() + self.limit_s

    @property
    def end_s(self) -> float:
        """When the limit is over, by `clock`."""
        return self._end_s

    @property
    def left_s(self) -> float:
        """Seconds left; never below a tenth, so that what is already there can still be taken."""
        return max(0.1, self._end_s - self.clock())

    async def get(self, part: str, work: Awaitable[T]) -> T | None:
        """What `work` gives; None, with the reason in `unknown`, if it fails or takes too long."""
        try:
            async with asyncio.timeout(self.left_s):
                return await work
        except TimeoutError:
            self.unknown[part] = f"no answer within {self.limit_s:g} s"
        except (NatsError, ClickHouseError, OSError, Failed) as error:
            self.unknown[part] = reason_of(error)
        return None


def reason_of(error: BaseException) -> str:
    """Our own sentence, or the cause of a library's error in a few words."""
    lines = str(error).strip().splitlines() if isinstance(error, Failed) else []
    return (lines[0] if lines else unreachable.reason_of(error))[:MAX_ERROR_LENGTH]


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Runs blocking work in a thread that does not keep the process alive: a server that hangs must not hold the exit.

    Unlike asyncio.to_thread, whose threads are waited for at the end.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: object) -> None:
        if not result.done():
            set_it(value)

    def run() -> None:
        try:
            value = work(*arguments)
        except Exception as error:
            _call(loop, settle, result.set_exception, error)
        else:
            _call(loop, settle, result.set_result, value)

    threading.Thread(target=run, daemon=True, name="status part").start()
    return await result


def _call(loop: asyncio.AbstractEventLoop, *what: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(*what)
