"""Sends large bodies to a child process and waits for the facts that it reads of them (body_facts.py).

Hostile JSON of 6 MB takes 0.7 s and 200 MB of memory to parse; in the receiver's event loop it would delay all
requests.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from ops.runtime.process.child_process import ChildEnded, ChildProcess, ChildSlow
from receiver import metrics
from receiver.http.answers import Refused
from receiver.http.body_facts import Unreadable
from receiver.http.reader_process import HEAD, LENGTH

# Longest time for one body. The worst known body of 6 MB takes much less, also on a busy machine.
READ_S: Final = 10.0
# Longest wait for the process. Clients of native events give up after 30 s; OTLP is not read here.
WAIT_S: Final = 25.0
START_S: Final = 30.0
MAX_JOBS: Final = 64
MAX_JOBS_OF_KEY: Final = 8
RETRY_AFTER_S: Final = 2
DIED: Final = "died"
MODULE: Final = "receiver.http.reader_process"

log = structlog.get_logger()


@dataclass(slots=True)
class _ReadJob:
    kind: str
    arguments: dict[str, Any]
    inflated: bytes
    done: asyncio.Future[Any]


class _ReaderEnded(Exception):
    """The process is gone or was ended; `reason` labels the metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BodyReaders:
    """One process that reads bodies, one at a time; keys take turns. It starts with the first body."""

    def __init__(self, reader: ReaderProcess | None = None, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._waiting: dict[str, deque[_ReadJob]] = {}
        self._pumping: asyncio.Task[None] | None = None
        self._reader = reader or ReaderProcess()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="body-reader")
        weakref.finalize(self, _close, self._reader, self._thread)

    async def read(self, key_id: str, kind: str, arguments: dict[str, Any], inflated: bytes) -> Any:
        """The facts of a body of this key, as plain values. Raises Unreadable and Refused (413, 503)."""
        jobs_of_key = self._waiting.setdefault(key_id, deque())
        if len(jobs_of_key) >= MAX_JOBS_OF_KEY or sum(map(len, self._waiting.values())) >= MAX_JOBS:
            raise _busy("full")
        job = _ReadJob(kind, arguments, inflated, asyncio.get_running_loop().create_future())
        jobs_of_key.append(job)
        if self._pumping is None or self._pumping.done():
            self._pumping = asyncio.create_task(self._pump())
        try:
            async with asyncio.timeout(self._wait_s):
                answer = await job.done
        except TimeoutError as error:
            raise _busy("timeout") from error
        if "unreadable" in answer:
            raise Unreadable(answer["unreadable"])
        if answer.get("failed") == DIED:
            raise _busy(DIED)
        if "failed" in answer:
            metrics.READER_REFUSED.labels(answer["failed"]).inc()
            raise Refused(
                413, f"body: cannot be read within the receiver's limits ({answer['failed']}); this is final: send less"
            )
        return answer["facts"]

    def close(self) -> None:
        """Ends the process."""
        _close(self._reader, self._thread)

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            job = self._next()
            if job is None or job.done.done():  # the request has ended
                continue
            try:
                answer = await loop.run_in_executor(
                    self._thread, self._reader.ask, job.kind, job.arguments, job.inflated
                )
            except _ReaderEnded as error:
                metrics.READER_RESTARTS.labels(error.reason).inc()
                log.warning("body_reader_ended", reason=error.reason, kind=job.kind, size_bytes=len(job.inflated))
                answer = {"failed": error.reason}
            except Exception as error:  # a job is answered whatever happens to it
                log.exception("body_reader_failed", kind=job.kind)
                answer = {"failed": type(error).__name__}
            if not job.done.done():
                job.done.set_result(answer)

    def _next(self) -> _ReadJob | None:
        """The first job of the next key. The key's other jobs wait until other keys had their turns."""
        key_id, jobs = next(iter(self._waiting.items()))
        del self._waiting[key_id]
        if not jobs:
            return None
        job = jobs.popleft()
        if jobs:
            self._waiting[key_id] = jobs
        return job


class ReaderProcess:
    """The process. Its methods block: they are for the one thread that waits for it."""

    def __init__(self, read_s: float = READ_S) -> None:
        self.read_s = read_s
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None while there is no process."""
        return self._process.pid if self._process else None

    def ask(self, kind: str, arguments: dict[str, Any], inflated: bytes) -> dict[str, Any]:
        """Its answer to one job. Raises _ReaderEnded."""
        if self._process is not None and not self._process.is_alive:
            self.end()
        job = orjson.dumps({"kind": kind, "arguments": arguments, "size_bytes": len(inflated)})
        try:
            process = self._process or self._start()
            process.send(LENGTH.pack(len(job)) + job, inflated)
            answer, ends = _receive(process, time.monotonic() + self.read_s)
        except (ChildEnded, ChildSlow, OSError) as error:
            self.end()
            raise _ReaderEnded("slow" if isinstance(error, ChildSlow) else DIED) from error
        except _ReaderEnded:
            self.end()
            raise
        if ends:
            metrics.READER_RESTARTS.labels("memory").inc()
            self.end()
        return answer

    def end(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _start(self) -> ChildProcess:
        """Raises _ReaderEnded: if the process does not start, the body is not the reason."""
        process = self._process = ChildProcess(MODULE)
        try:
            process.receive(HEAD.size, time.monotonic() + START_S)
        except (ChildEnded, ChildSlow) as error:
            raise _ReaderEnded(DIED) from error
        return process


def _receive(process: ChildProcess, due_s: float) -> tuple[dict[str, Any], bool]:
    """One answer, and whether the process ends after it. Raises ChildEnded and ChildSlow."""
    size_bytes, ends = HEAD.unpack(process.receive(HEAD.size, due_s))
    return orjson.loads(process.receive(size_bytes, due_s)), ends


def _close(reader: ReaderProcess, thread: ThreadPoolExecutor) -> None:
    thread.shutdown(wait=False, cancel_futures=True)
    reader.end()


def _busy(reason: str) -> Refused:
    metrics.READER_REFUSED.labels(reason).inc()
    return Refused(
        503, f"body: large ones cannot be read at the moment ({reason}); send it again", retry_after_s=RETRY_AFTER_S
    )
