"""The load generator, a separate process: sends bodies with their own ids, at full speed or at a given rate.

wrk cannot keep a rate, end after a number of requests, or give each compressed body an id. This generator costs more
processor time per request, which figure and baseline pay alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, cast

import uvloop

from ops.bench.bodies import kinds
from ops.bench.figures import percentile
from ops.bench.machine import end_with_parent
from ops.local import programs

TICK_S: Final = 0.001
END_GRACE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to send: at most `count` bodies within `seconds`; `rate` per second in total, 0 for full speed.

    They go to `channels` channels in turn, starting at `channel`.
    """

    kind: str
    port: int
    channel: int
    key: str
    seed: int
    count: int
    connections: int = 64
    seconds: float = 60.0
    rate: float = 0.0
    channels: int = 1
    # Begin only after a line on stdin; a line on stdout says that the bodies are there.
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a LoadPlan. Latencies are milliseconds; with a rate they count from when a request was due."""

    sent: int
    statuses: dict[str, int]
    began_s: float
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float

    @property
    def accepted(self) -> int:
        return self.statuses.get("200", 0)

    @property
    def accepted_s(self) -> float:
        """Answers of 200 per second."""
        return self.accepted / self.seconds if self.seconds else 0.0


def start(plan: LoadPlan) -> subprocess.Popen[bytes]:
    """Starts the generator; `result` waits for it. It never outlives this process."""
    return subprocess.Popen(
        end_with_parent([sys.executable, "-m", "ops.bench.load", json.dumps(asdict(plan))]),
        env=os.environ | programs.python_environment(),
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE if plan.waits else subprocess.DEVNULL,
        start_new_session=True,
    )


def start_together(plans: Sequence[LoadPlan]) -> list[subprocess.Popen[bytes]]:
    """Starts generators that begin in the same moment: some take seconds to make their bodies."""
    processes = [start(replace(plan, waits=True)) for plan in plans]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it failed; `result` says so
            process.stdin.write(b"\n")
            process.stdin.flush()
    return processes


def result(process: subprocess.Popen[bytes]) -> Load:
    """What the generator measured. Raises RuntimeError if it failed."""
    try:
        output, _ = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    load = Load(**json.loads(output))
    if not load.accepted:
        raise RuntimeError(f"expected answers of 200, found {load.statuses or 'none'}")
    return load


def run(plan: LoadPlan) -> Load:
    """Runs `start` and `result`."""
    return result(start(plan))


@dataclass(slots=True)
class _Course:
    """One run: what is left to send, and which answers have come."""

    requests: deque[bytes]
    rate: float
    deadline_s: float
    began_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    idle: deque[_Connection] = field(default_factory=deque)
    open: int = 0
    due: int = 0
    last_s: float = 0.0

    def next(self) -> bytes | None:
        """The next request; None when there is none or the time is over."""
        if not self.requests or time.perf_counter() >= self.deadline_s:
            return None
        return self.requests.popleft()


class _Connection(asyncio.Protocol):
    """One connection: sends a request, reads its answer, sends the next one."""

    def __init__(self, course: _Course) -> None:
        self._course = course
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._began_s = 0.0
        self._waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no asyncio.Transport by its class

    def send(self, due_s: float | None = None) -> None:
        """Sends the next request, if there is one; `due_s` is when it was due."""
        request = self._course.next()
        if request is None or self._transport is None:
            return
        self._course.open += 1
        self._waits = True
        self._began_s = due_s or time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank_line, body = self._buffer.partition(b"\r\n\r\n")
        if not blank_line or len(body) < _length(head):
            return
        self._buffer = b""
        self._done(head[9:12].decode("latin-1"))

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._waits:
            self._done("lost")

    def _done(self, status: str) -> None:
        course = self._course
        self._waits = False
        course.open -= 1
        course.last_s = time.perf_counter()
        course.latencies_s.append(course.last_s - self._began_s)
        course.statuses[status] += 1
        if course.rate:
            course.idle.append(self)
        else:
            self.send()


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    return int(lowered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def requests(plan: LoadPlan) -> deque[bytes]:
    """All requests, built before the first is sent, so that building them does not slow the run."""
    kind = kinds.by_name()[plan.kind]
    heads = [_head(kind, plan, plan.channel + number) for number in range(plan.channels)]
    pairs = zip(itertools.cycle(heads), (kind.make(token) for token in kinds.tokens(plan.seed, plan.count)))
    return deque(b"%s\r\ncontent-length: %d\r\n\r\n%s" % (head, len(body), body) for head, body in pairs)


def _head(kind: kinds.BodyKind, plan: LoadPlan, channel: int) -> bytes:
    values = {"channel": str(channel), "key": plan.key}
    lines = [f"POST {kind.path.format(**values)} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {value.format(**values)}" for name, value in kind.headers.items()]
    return "\r\n".join(lines).encode()


async def drive(plan: LoadPlan, waiting: deque[bytes]) -> Load:
    """Sends until nothing is left or the time is over, and waits for the answers."""
    loop = asyncio.get_running_loop()
    course = _Course(waiting, plan.rate, float("inf"))
    senders = [_Connection(course) for _ in range(plan.connections)]
    for sender in senders:
        await loop.create_connection(lambda protocol=sender: protocol, "127.0.0.1", plan.port)  # type: ignore[misc]
    before = resource.getrusage(resource.RUSAGE_SELF)
    course.began_s = course.last_s = time.perf_counter()
    course.deadline_s = course.began_s + plan.seconds
    course.idle.extend(senders)
    if plan.rate:
        await _at_rate(course)
    else:
        for sender in senders:
            sender.send()
    await _wait_until_closed(course)
    return _load(course, before)


async def _at_rate(course: _Course) -> None:
    while course.requests and (now_s := time.perf_counter()) < course.deadline_s:
        while course.idle and course.began_s + course.due / course.rate <= now_s:
            course.idle.popleft().send(course.began_s + course.due / course.rate)
            course.due += 1
        await asyncio.sleep(TICK_S)


async def _wait_until_closed(course: _Course) -> None:
    while course.open and time.perf_counter() < course.deadline_s + END_GRACE_S:  # noqa: ASYNC110 (a clock decides)
        await asyncio.sleep(TICK_S * 5)


def _load(course: _Course, before: Any) -> Load:
    after = resource.getrusage(resource.RUSAGE_SELF)
    times_s = course.latencies_s or [0.0]
    return Load(
        sent=len(course.latencies_s),
        statuses=dict(course.statuses),
        began_s=course.began_s,
        seconds=course.last_s - course.began_s,
        p50_ms=percentile(times_s, 0.50) * 1000,
        p99_ms=percentile(times_s, 0.99) * 1000,
        max_ms=max(times_s) * 1000,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def main() -> None:
    """Reads a plan as JSON from the first argument, prints a Load as JSON."""
    plan = LoadPlan(**json.loads(sys.argv[1]))
    waiting = requests(plan)
    if plan.waits:
        print("ready", flush=True)
        sys.stdin.readline()
    print(json.dumps(asdict(uvloop.run(drive(plan, waiting)))))


if __name__ == "__main__":
    main()
