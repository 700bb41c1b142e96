"""Costly work in a thread or in a process, one piece at a time and within a processor budget. What is costly is not
known here.

The event loop goes on meanwhile: acknowledgements, heartbeats, the rows of other channels and other workers. Python
runs one thread at a time, so the loop waits a few milliseconds where it would wait for all of the work. A single call
into C holds all threads and cannot be interrupted: work of which one could be long goes to the process.
"""

from __future__ import annotations

import asyncio
import ctypes
import marshal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ops.runtime.process.child_process import ChildEnded, ChildProcess, ChildSlow
from workers.consume.work_process import DONE, INVALID, LENGTH, MODULE, TOO_LARGE, WorkJob, WorkSettings
from workers.normalise.verdict import Invalid

T = TypeVar("T")
# (what the process says, its pieces) -> the result.
ReadAnswer = Callable[[Any, list[Any]], T]

# How often the processor time of running work is looked at.
LOOK_S: Final = 0.05
# Rows of all workers of a process that wait for their batch before no more are made of large messages: two batches. A
# row takes 700 bytes and more, and a body of 1 MB may be 80,000 rows.
MAX_MADE_ROWS: Final = 100_000
# How long the process may take to start, on a busy machine.
START_S: Final = 60.0


class TooCostly(Exception):
    """The work took more processor time than one message may."""


class WorkProcessEnded(Exception):
    """The process that worked on the message has ended by itself: give the message back, it comes again."""


class WorkFailed(Exception):
    """The work raised this in its process: a fault of ours."""


class _Stop(BaseException):
    """Raised inside the thread. Not an Exception: what the work itself catches must not be this."""


class Aside:
    """Runs functions in threads, one at a time. Channels take turns: who sends many waits for himself."""

    def __init__(self, budget_s: float, settings: WorkSettings | None = None) -> None:
        self._budget_s = budget_s
        self._turns = Turns()
        self._process = WorkProcess(settings) if settings else None
        self._made_rows = MadeRows()

    @property
    def has_process(self) -> bool:
        return self._process is not None

    async def run(self, function: Callable[[], T], channel_id: int) -> T:
        """What `function` returns or raises; TooCostly when its processor time is used up. Stops it when cancelled."""
        async with self._turns.turn(channel_id):
            await self._made_rows.have_room()
            return await self._end_of(_ThreadJob(function, asyncio.get_running_loop()))

    async def run_in_process(self, job: WorkJob, read: ReadAnswer[T], channel_id: int) -> T:
        """What `read` makes of the process's answer to `job`. Raises Invalid, TooCostly and WorkProcessEnded."""
        assert self._process is not None
        async with self._turns.turn(channel_id):
            await self._made_rows.have_room()
            function = partial(self._process.ask, job, read)
            return await self._end_of(_ProcessJob(function, asyncio.get_running_loop(), self._process))

    def made(self, rows: int) -> AbstractContextManager[None]:
        """While rows that a message has made wait for their batch: beyond MAX_MADE_ROWS no more are made aside."""
        return self._made_rows.waiting(rows)

    async def _end_of(self, job: _ThreadJob[T]) -> T:
        try:
            while not await job.has_ended(LOOK_S):
                if job.used_s() > self._budget_s:
                    job.stop()
        finally:
            job.stop()
        return job.result(self._budget_s)

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.close()


class MadeRows:
    """Rows that were made and wait for their batch. What makes them is faster than inserts, and small when it waits."""

    def __init__(self) -> None:
        self._rows = 0
        self._went = asyncio.Event()

    async def have_room(self) -> None:
        """Returns when fewer than MAX_MADE_ROWS wait."""
        while self._rows >= MAX_MADE_ROWS:
            self._went.clear()
            await self._went.wait()

    @contextmanager
    def waiting(self, rows: int) -> Iterator[None]:
        """While so many wait."""
        self._rows += rows
        try:
            yield
        finally:
            self._rows -= rows
            self._went.set()


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


class WorkProcess:
    """The process for the largest messages, which starts with the first of them. One job at a time."""

    def __init__(self, settings: WorkSettings) -> None:
        self._settings = settings
        self._child: ChildProcess | None = None
        self._asking = threading.Lock()
        self._began_s: float | None = None

    def ask(self, job: WorkJob, read: ReadAnswer[T]) -> T:
        """Blocks until it is done. Raises Invalid, TooCostly and WorkProcessEnded."""
        with self._asking:
            try:
                child = self._running()
                answer, pieces = self._answer(child, job)
            except (ChildEnded, ChildSlow, OSError) as error:
                self._end()
                raise WorkProcessEnded("the process that works on large messages has ended") from error
            except BaseException:  # a stop from outside: what is in its pipes belongs to nobody
                self._end()
                raise
        said, detail = answer[0], answer[-1]
        if said == DONE:
            return read(detail, pieces)
        raise {INVALID: Invalid, TOO_LARGE: TooCostly}.get(said, WorkFailed)(detail)

    def used_s(self) -> float:
        """Processor time of the job that it works on; 0 between two."""
        child, began_s = self._child, self._began_s
        return 0.0 if child is None or began_s is None else child.cpu_s() - began_s

    def kill(self) -> None:
        """From any thread; who waits for its answer hears that it has ended."""
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """Ends the process and closes its pipes; whoever waits for its answer is done then."""
        self.kill()
        with self._asking:
            self._end()

    def _running(self) -> ChildProcess:
        if self._child is not None and not self._child.is_alive:
            self._end()
        if self._child is None:
            self._child = ChildProcess(MODULE, self._settings.arguments())
            _read(self._child, time.monotonic() + START_S)
        return self._child

    def _answer(self, child: ChildProcess, job: WorkJob) -> tuple[Any, list[Any]]:
        encoded = marshal.dumps(tuple(job))
        self._began_s = child.cpu_s()
        child.send(LENGTH.pack(len(encoded)), encoded)
        answer = _read(child)
        pieces = [_read(child) for _ in range(answer[1])] if answer[0] == DONE else []
        ends = _read(child)
        self._began_s = None
        if ends:
            self._end()
        return answer, pieces

    def _end(self) -> None:
        child, self._child, self._began_s = self._child, None, None
        if child is not None:
            child.close()


def _read(child: ChildProcess, due_s: float | None = None) -> Any:
    """One value of its answer; until its end in pieces, so that other threads have their turns. Raises ChildEnded."""
    (size_bytes,) = LENGTH.unpack(child.receive(LENGTH.size, due_s))
    return marshal.loads(child.receive(size_bytes, due_s))


class _ProcessJob(_ThreadJob[T]):
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


def _own_clock() -> int | None:
    """The processor clock of the calling thread, which alone may ask: asking for one that has ended is a crash."""
    get = getattr(time, "pthread_getcpuclockid", None)
    return get(threading.get_ident()) if get else None
