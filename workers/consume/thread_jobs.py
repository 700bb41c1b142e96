"""One function in one thread, with its processor time, and the means to stop it. large_messages.py runs them."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from workers.consume.work_process_client import TooCostly, WorkProcess

T = TypeVar("T")

THREAD_NAME: Final = "large-message"


class _Stop(BaseException):
    """Raised inside the thread. Not an Exception: `except Exception` in the work must not catch it."""


class ThreadJob(Generic[T]):
    """Starts the function at once. The thread is a daemon: a process that ends does not wait for it."""

    def __init__(self, function: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._loop = loop
        self._ended = asyncio.Event()
        self._clock: int | None = None
        self._began_s = time.monotonic()
        self._values: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # RuntimeError: the loop was closed meanwhile, so nobody waits.
        with suppress(_Stop, RuntimeError):
            try:
                self._clock = _clock_of_this_thread()
                self._values.append(self._function())
            except Exception as error:
                self._error = error
            self._loop.call_soon_threadsafe(self._ended.set)

    async def has_ended(self, wait_s: float) -> bool:
        """Waits up to `wait_s` for the end. A stopped thread does not set `_ended`, so its life is checked too."""
        try:
            async with asyncio.timeout(wait_s):
                await self._ended.wait()
        except TimeoutError:
            return not self._thread.is_alive()
        return True

    def used_s(self) -> float:
        """The thread's processor time; where the system does not measure it, the time since its start."""
        if self._clock is None:
            return time.monotonic() - self._began_s
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it has just ended
            return 0.0

    def stop(self) -> None:
        """Ends the function at its next step in Python. Does nothing if it has ended."""
        if not self._ended.is_set() and self._thread.is_alive() and self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Stop))

    def result(self, budget_s: float) -> T:
        """What the function returned. Raises its error, or TooCostly if it was stopped."""
        if self._error is not None:
            raise self._error
        if not self._values:
            raise TooCostly(f"expected at most {budget_s:g} s of processor time for one message, found more; send less")
        return self._values[0]


class ProcessJob(ThreadJob[T]):
    """A thread that waits for the work process; stopping it kills the process."""

    def __init__(self, function: Callable[[], T], loop: asyncio.AbstractEventLoop, process: WorkProcess) -> None:
        self._process = process
        self._is_stopped = False
        super().__init__(function, loop)

    def used_s(self) -> float:
        return super().used_s() + self._process.used_s()

    def stop(self) -> None:
        if not self._ended.is_set() and self._thread.is_alive():
            self._is_stopped = True
            self._process.kill()

    def result(self, budget_s: float) -> T:
        if self._is_stopped:
            self._error, self._values = None, []
        return super().result(budget_s)


def _clock_of_this_thread() -> int | None:
    """The processor clock of the calling thread. Only the thread itself may ask: for an ended one Python crashes."""
    get_clock = getattr(time, "pthread_getcpuclockid", None)
    return get_clock(threading.get_ident()) if get_clock else None
