"""The worker's end of the process that builds maps (builder.py): bounded time, and a new process after a crash."""

from __future__ import annotations

import asyncio
import marshal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ops.runtime.process.child_process import ChildEnded, ChildProcess, ChildSlow
from workers.symbolicate.maps.builder import LENGTH, MODULE

# Longest time for the process to start, on a busy machine.
START_S: Final = 60.0
# How often the processor time of a job is checked.
CHECK_S: Final = 0.1
# A job may take so many times its processor time, on a busy machine or where the system does not measure it.
MAX_WAIT_FACTOR: Final = 20


class MapTooCostly(Exception):
    """The job took more processor time or memory than one map may; the process was ended."""


class MapProcess:
    """The child process. It starts with the first job and does one job at a time, beside the event loop."""

    def __init__(self, memory_bytes: int, cpu_budget_s: float) -> None:
        self._memory_bytes = memory_bytes
        self._cpu_budget_s = cpu_budget_s
        self._child: ChildProcess | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="maps")

    @property
    def pid(self) -> int | None:
        """Its process id, None while there is no process."""
        child = self._child
        return child.pid if child else None

    async def ask(self, *job: Any) -> tuple[Any, ...]:
        """The answer to a job. Raises MapTooCostly, also if the process crashed: the same file would crash it again."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, job)

    def close(self) -> None:
        """Ends the process."""
        child = self._child
        if child is not None:
            child.kill()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._end()

    def _ask(self, job: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            child = self._running_child()
            encoded = marshal.dumps(job)
            began_s = child.cpu_s()
            child.send(LENGTH.pack(len(encoded)), encoded)
            return self._answer(child, began_s)
        except (ChildEnded, ChildSlow, OSError) as error:
            self._end()
            raise MapTooCostly("the process that builds maps has ended") from error

    def _answer(self, child: ChildProcess, began_s: float) -> tuple[Any, ...]:
        started_s = time.monotonic()
        while True:
            try:
                (size_bytes,) = LENGTH.unpack(child.receive(LENGTH.size, time.monotonic() + CHECK_S))
                break
            except ChildSlow:
                used_s, waited_s = child.cpu_s() - began_s, time.monotonic() - started_s
                if used_s > self._cpu_budget_s or waited_s > MAX_WAIT_FACTOR * self._cpu_budget_s:
                    self._end()
                    expected = f"expected at most {self._cpu_budget_s:g} s of processor time"
                    raise MapTooCostly(f"{expected}, found more") from None
        answer: tuple[Any, ...] = marshal.loads(child.receive(size_bytes))
        return answer

    def _running_child(self) -> ChildProcess:
        if self._child is not None and not self._child.is_alive:
            self._end()
        if self._child is None:
            self._child = ChildProcess(MODULE, [str(self._memory_bytes)])
            due_s = time.monotonic() + START_S
            (size_bytes,) = LENGTH.unpack(self._child.receive(LENGTH.size, due_s))
            self._child.receive(size_bytes, due_s)
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()
