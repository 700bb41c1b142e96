"""Runs the work on large messages outside of the event loop: in a thread, or in the child process, one at a time.

Meanwhile the event loop continues with acknowledgements, heartbeats, and rows of other channels and workers. Python
runs one thread at a time, so the loop waits a few milliseconds instead of for all of the work. But one call into C
blocks all threads and cannot be interrupted: messages that could cause a long one go to the child process. Which
message is large: sized_work.py.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Final, TypeVar

from workers.consume.thread_jobs import ProcessJob, ThreadJob
from workers.consume.work_process import WorkJob, WorkSettings
from workers.consume.work_process_client import ReadAnswer, WorkProcess

T = TypeVar("T")

# How often the processor time of running work is checked.
CHECK_S: Final = 0.05
# Rows of all workers of this process that may wait for their insert; above, large messages wait. It is two batches: a
# row takes 700 bytes or more, and a body of 1 MB may be 80,000 rows.
MAX_WAITING_ROWS: Final = 100_000


class LargeMessageExecutor:
    """Runs functions one at a time. Channels take turns: a sender of many large messages waits for his own."""

    def __init__(self, budget_s: float, settings: WorkSettings | None = None) -> None:
        self.budget_s = budget_s
        self._turns = ChannelTurns()
        self._process = WorkProcess(settings) if settings else None
        self._waiting_rows = WaitingRows()

    @property
    def has_process(self) -> bool:
        return self._process is not None

    @property
    def process_id(self) -> int | None:
        """The id of the process, None while none runs."""
        return self._process.pid if self._process else None

    @property
    def is_process_at_work(self) -> bool:
        """Whether the process has a job."""
        return self._process is not None and self._process.is_at_work

    async def run_in_thread(self, function: Callable[[], T], channel_id: int) -> T:
        """What `function` returns or raises; TooCostly when its processor time is used up. Stops it when cancelled."""
        async with self._turns.turn(channel_id):
            await self._waiting_rows.have_room()
            return await self._result(ThreadJob(function, asyncio.get_running_loop()))

    async def run_in_process(self, job: WorkJob, read: ReadAnswer[T], channel_id: int) -> T:
        """Sends `job` to the process; `read` turns its answer into the result.

        Raises Invalid, TooCostly and WorkProcessEnded.
        """
        assert self._process is not None
        async with self._turns.turn(channel_id):
            await self._waiting_rows.have_room()
            function = partial(self._process.ask, job, read)
            return await self._result(ProcessJob(function, asyncio.get_running_loop(), self._process))

    def count_rows(self, rows: int) -> AbstractContextManager[None]:
        """Counts the rows of a message while they wait for their insert; above MAX_WAITING_ROWS large messages wait."""
        return self._waiting_rows.waiting(rows)

    async def _result(self, job: ThreadJob[T]) -> T:
        try:
            while not await job.has_ended(CHECK_S):
                if job.used_s() > self.budget_s:
                    job.stop()
        finally:
            job.stop()
        return job.result(self.budget_s)

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.close()


class WaitingRows:
    """Number of rows that wait for their insert. A message takes less memory than its rows, so messages wait."""

    def __init__(self) -> None:
        self._rows = 0
        self._rows_inserted = asyncio.Event()

    async def have_room(self) -> None:
        """Returns when fewer than MAX_WAITING_ROWS wait."""
        while self._rows >= MAX_WAITING_ROWS:
            self._rows_inserted.clear()
            await self._rows_inserted.wait()

    @contextmanager
    def waiting(self, rows: int) -> Iterator[None]:
        """Counts `rows` as waiting."""
        self._rows += rows
        try:
            yield
        finally:
            self._rows -= rows
            self._rows_inserted.set()


class ChannelTurns:
    """Lets one caller run at a time. Waiting callers are let in by channel, one of each channel in turn."""

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
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(channel_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end()  # the turn had just been given
            raise

    def _end(self) -> None:
        """Gives the turn to the first caller that still waits. The other callers of its channel go to the end."""
        while self._waiting:
            channel_id, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[channel_id] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
