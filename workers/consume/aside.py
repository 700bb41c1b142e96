"""Costly work in a thread, one piece at a time and within a processor budget. What is costly is not known here.

The event loop goes on meanwhile: acknowledgements, heartbeats, the rows of other channels and other workers. Python
runs one thread at a time, so the loop waits a few milliseconds where it would wait for all of the work.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# How often the processor time of running work is looked at.
LOOK_S: Final = 0.05


class TooCostly(Exception):
    """The work took more processor time than one message may."""


class _Stop(BaseException):
    """Raised inside the thread. Not an Exception: what the work itself catches must not be this."""


class Aside:
    """Runs functions in threads, one at a time. Channels take turns: who sends many waits for himself."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._turns = Turns()

    async def run(self, function: Callable[[], T], channel_id: int) -> T:
        """What `function` returns or raises; TooCostly when its processor time is used up. Stops it when cancelled."""
        async with self._turns.turn(channel_id):
            job = _ThreadJob(function, asyncio.get_running_loop())
            try:
                while not await job.has_ended(LOOK_S):
                    if job.used_s() > self._budget_s:
                        job.stop()
            finally:
                job.stop()
            return job.result(self._budget_s)


class Turns:
    """One at a time; who waits is let in by channel, one of each in turn."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, channel_id: int) -> AsyncIterator[None]:
        """Waits for a turn of this channel, and ends it."""
        await self._begin(channel_id)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, channel_id: int) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(channel_id, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._end()  # the turn had just been given
            raise

    def _end(self) -> None:
        """Gives the turn to the first one who still waits; of its channel the others go to the end."""
        while self._waiting:
            channel_id, queue = self._waiting.popitem(last=False)
            mine = queue.popleft()
            if queue:
                self._waiting[channel_id] = queue
            if not mine.done():
                mine.set_result(None)
                return
        self._is_taken = False


class _ThreadJob(Generic[T]):
    """One function in one thread. Daemon: a process that ends does not wait for it."""

    def __init__(self, function: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._loop = loop
        self._ended = asyncio.Event()
        self._clock: int | None = None
        self._began_s = time.monotonic()
        self._values: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # RuntimeError: the loop was closed meanwhile, nobody waits.
        with suppress(_Stop, RuntimeError):
            try:
                self._clock = _own_clock()
                self._values.append(self._function())
            except Exception as error:
                self._error = error
            self._loop.call_soon_threadsafe(self._ended.set)

    async def has_ended(self, wait_s: float) -> bool:
        """Waits for its end up to `wait_s`. A thread that was stopped does not say that it ended."""
        try:
            async with asyncio.timeout(wait_s):
                await self._ended.wait()
        except TimeoutError:
            return not self._thread.is_alive()
        return True

    def used_s(self) -> float:
        """Its processor time; where the system does not tell, the time since its beginning."""
        if self._clock is None:
            return time.monotonic() - self._began_s
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it has just ended
            return 0.0

    def stop(self) -> None:
        """Ends the function at its next step in Python. Nothing happens to one that has ended."""
        if not self._ended.is_set() and self._thread.is_alive() and self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Stop))

    def result(self, budget_s: float) -> T:
        if self._error is not None:
            raise self._error
        if not self._values:
            raise TooCostly(f"expected at most {budget_s:g} s of processor time for one message, found more; send less")
        return self._values[0]


def _own_clock() -> int | None:
    """The processor clock of the calling thread, which alone may ask: asking for one that has ended is a crash."""
    get = getattr(time, "pthread_getcpuclockid", None)
    return get(threading.get_ident()) if get else None
