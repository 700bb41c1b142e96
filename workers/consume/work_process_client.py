"""A worker's end of the child process for its largest messages; work_process.py is what runs in the child."""

from __future__ import annotations

import marshal
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ops.runtime.process.child_process import ChildEnded, ChildProcess, ChildSlow
from workers.consume.work_process import DONE, INVALID, LENGTH, MODULE, TOO_LARGE, WorkJob, WorkSettings
from workers.normalise.verdict import Invalid

T = TypeVar("T")
# (the process's answer, its pieces) -> the result.
ReadAnswer = Callable[[Any, list[Any]], T]

# Longest time for the process to start, on a busy machine.
START_S: Final = 60.0


class TooCostly(Exception):
    """The work took more processor time or memory than one message may."""


class WorkProcessEnded(Exception):
    """The process ended by itself while it worked on the message: return the message, the broker redelivers it."""


class WorkFailed(Exception):
    """The work raised this error in the child process: a bug of ours."""


class WorkProcess:
    """The child process. It starts with the first job and does one job at a time."""

    def __init__(self, settings: WorkSettings) -> None:
        self._settings = settings
        self._child: ChildProcess | None = None
        self._asking = threading.Lock()
        self._began_s: float | None = None

    def ask(self, job: WorkJob, read: ReadAnswer[T]) -> T:
        """Blocks until the job is done. Raises Invalid, TooCostly and WorkProcessEnded."""
        with self._asking:
            try:
                child = self._running_child()
                answer, pieces = self._answer(child, job)
            except (ChildEnded, ChildSlow, OSError) as error:
                self._end()
                raise WorkProcessEnded("the process that works on large messages has ended") from error
            except BaseException:  # stopped from outside: nobody will read the rest of its answer
                self._end()
                raise
        status, detail = answer[0], answer[-1]
        if status == DONE:
            return read(detail, pieces)
        raise {INVALID: Invalid, TOO_LARGE: TooCostly}.get(status, WorkFailed)(detail)

    @property
    def pid(self) -> int | None:
        """Its process id, None while there is no process."""
        child = self._child
        return child.pid if child else None

    @property
    def is_at_work(self) -> bool:
        """Whether it has a job."""
        return self._began_s is not None

    def used_s(self) -> float:
        """Processor time of the current job; 0 without one."""
        child, began_s = self._child, self._began_s
        return 0.0 if child is None or began_s is None else child.cpu_s() - began_s

    def kill(self) -> None:
        """From any thread. A thread that waits for its answer gets WorkProcessEnded."""
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """Ends the process, waits for a thread that still reads its answer, and closes the pipes."""
        self.kill()
        with self._asking:
            self._end()

    def _running_child(self) -> ChildProcess:
        if self._child is not None and not self._child.is_alive:
            self._end()
        if self._child is None:
            self._child = ChildProcess(MODULE, self._settings.arguments())
            _read_value(self._child, time.monotonic() + START_S)
        return self._child

    def _answer(self, child: ChildProcess, job: WorkJob) -> tuple[Any, list[Any]]:
        encoded = marshal.dumps(tuple(job))
        self._began_s = child.cpu_s()
        child.send(LENGTH.pack(len(encoded)), encoded)
        answer = _read_value(child)
        pieces = [_read_value(child) for _ in range(answer[1])] if answer[0] == DONE else []
        ends = _read_value(child)
        self._began_s = None
        if ends:
            self._end()
        return answer, pieces

    def _end(self) -> None:
        child, self._child, self._began_s = self._child, None, None
        if child is not None:
            child.close()


def _read_value(child: ChildProcess, due_s: float | None = None) -> Any:
    """The next value of its answer. Raises ChildEnded and ChildSlow."""
    (size_bytes,) = LENGTH.unpack(child.receive(LENGTH.size, due_s))
    return marshal.loads(child.receive(size_bytes, due_s))
