"""Starts child processes, restarts them with back-off, and stops them.

ops/local/up.py decides which ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from ops.local import stop_with_parent
from ops.local.logfile import LogFile
from ops.runtime.failures import Failed
from ops.runtime.tasks import end

Kind = Literal["receiver", "worker", "console", "alerts", "janitor", "nats", "clickhouse"]
Probe = Callable[[], Awaitable[bool]]

POLL_S: Final = 0.03
FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 10.0
# A child that ran this long was healthy; it is restarted without delay.
HEALTHY_S: Final = 30.0
EXITS_BEFORE_GIVING_UP: Final = 3
TAIL_LINES: Final = 8
CUT_LOGS_EVERY_S: Final = 15.0


class StartFailed(Failed):
    """A child never became ready; the text has the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """One child: its command, how to probe it, and how long it may take to stop.

    `environment` is only for this child, in addition to the common environment.
    """

    name: str
    kind: Kind
    command: list[str]
    log: LogFile
    probe: Probe | None = None
    stop_timeout_s: float = 10.0
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Child:
    """The state of a running Program. `ready_pid` is set while the process lives and its probe has succeeded."""

    program: Program
    process: asyncio.subprocess.Process | None = None
    ready_pid: int | None = None
    exits: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stop_asked: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Supervisor:
    """Owns all children of one `up`. Calls `on_change` when a ready_pid changes, and `warn` with one line of text."""

    def __init__(self, env: dict[str, str], on_change: Callable[[], None], warn: Callable[[str], None]) -> None:
        self._env = env
        self._on_change = on_change
        self._warn = warn
        self._children: list[Child] = []
        self._cutter: asyncio.Task[None] | None = None

    def pids(self, kind: Kind) -> list[int]:
        """Process ids of the ready children of one kind."""
        return [child.ready_pid for child in self._children if child.program.kind == kind and child.ready_pid]

    def kinds(self) -> list[Kind]:
        """The kinds that this `up` runs, also while none of them lives."""
        return sorted({child.program.kind for child in self._children})

    async def start(self, program: Program, timeout_s: float) -> None:
        """Runs `program` and returns when it is ready. Raises StartFailed if that takes longer than `timeout_s`."""
        program.log.start_over()
        child = Child(program)
        self._children.append(child)
        self._cutter = self._cutter or asyncio.create_task(self._cut_logs())
        child.task = asyncio.create_task(self._keep_running(child))
        ready = asyncio.create_task(child.ready.wait())
        try:
            await asyncio.wait({ready, child.task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(ready)
        if not child.ready.is_set():
            tail = "\n".join(f"  {line}" for line in program.log.tail(TAIL_LINES))
            why = "ended repeatedly" if child.task.done() else f"did not become ready within {timeout_s:.0f} s"
            raise StartFailed(f"{program.name} {why}. Last lines of {program.log.path}:\n{tail}")

    async def stop(self, *kinds: Kind) -> None:
        """Asks all children of these kinds to stop, waits as long as each Program allows, then kills them."""
        await asyncio.gather(*(self._stop(child) for child in self._children if child.program.kind in kinds))

    async def restart(self, kind: Kind) -> None:
        """Asks the children of this kind to end and kills those that do not; each is restarted at once."""
        for child in self._children:
            process = child.process
            if child.program.kind != kind or process is None or process.returncode is not None:
                continue
            _signal_group_leader(process, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), child.program.stop_timeout_s)
            except TimeoutError:
                _signal_group(process, signal.SIGKILL)

    def kill(self) -> None:
        """Kills every child at once."""
        for child in self._children:
            child.stop_asked.set()
            _signal_group(child.process, signal.SIGKILL)

    async def close(self) -> None:
        """After stop or kill: waits for our own tasks."""
        await end(self._cutter)
        await asyncio.gather(*(child.task for child in self._children if child.task), return_exceptions=True)

    async def _keep_running(self, child: Child) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not child.stop_asked.is_set():
            started = time.monotonic()
            try:
                await self._run_once(child)
            except (
                OSError
            ) as error:  # no space for its log, or no process available: tried again like a child that ended
                self._warn(f"{child.program.name} cannot be started: {error}")
            if child.stop_asked.is_set():
                return
            child.exits += 1
            if not child.ready.is_set() and child.exits >= EXITS_BEFORE_GIVING_UP:
                return
            lived_s = time.monotonic() - started
            backoff_s = FIRST_BACKOFF_S if lived_s > HEALTHY_S else min(backoff_s * 2, MAX_BACKOFF_S)
            self._report_exit(child, lived_s, backoff_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.stop_asked.wait(), backoff_s)

    async def _run_once(self, child: Child) -> None:
        program = child.program
        with program.log.open() as output:
            child.process = await asyncio.create_subprocess_exec(
                *_stop_with_parent(program.command),
                env=self._env | program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A process group of its own: Ctrl-C reaches only us, who know the order of stopping; and its own
                # children can be ended with it.
                start_new_session=True,
            )
        if child.stop_asked.is_set():  # stop was called while the process was starting
            _signal_group(child.process, signal.SIGTERM)
        probing = asyncio.create_task(self._watch_ready(child, child.process.pid))
        try:
            await child.process.wait()
        finally:
            # Kill the group before waiting for anything: later its number may belong to another process.
            _signal_group(child.process, signal.SIGKILL)
            # Then cancel the old probe: it could report the next process as ready.
            await end(probing)
            child.ready_pid = None
            self._call_on_change()

    async def _watch_ready(self, child: Child, pid: int) -> None:
        probe = child.program.probe
        while probe is not None and not await probe():  # noqa: ASYNC110 (what we wait for is another process)
            await asyncio.sleep(POLL_S)
        child.ready_pid = pid
        child.ready.set()
        self._call_on_change()

    def _call_on_change(self) -> None:
        """Calls `on_change`. An error writing ready.json must not end the task that restarts a child."""
        try:
            self._on_change()
        except OSError as error:
            self._warn(f"cannot write which processes run: {error}")

    async def _stop(self, child: Child) -> None:
        child.stop_asked.set()
        if child.task is None or child.task.done():
            return
        if child.process is not None and child.process.returncode is None:
            _signal_group_leader(child.process, signal.SIGTERM)
        await asyncio.wait({child.task}, timeout=child.program.stop_timeout_s)
        if not child.task.done():
            self._warn(f"{child.program.name} did not stop within {child.program.stop_timeout_s:.0f} s: killed")
            _signal_group(child.process, signal.SIGKILL)
            await asyncio.wait({child.task})

    def _report_exit(self, child: Child, lived_s: float, backoff_s: float) -> None:
        code = child.process.returncode if child.process else None
        self._warn(f"{child.program.name} {_exit_text(code)} after {lived_s:.0f} s; restart in {backoff_s:.1f} s")
        if child.exits >= EXITS_BEFORE_GIVING_UP and lived_s <= HEALTHY_S:
            for line in child.program.log.tail(TAIL_LINES):
                self._warn(f"  {child.program.name}: {line}")

    async def _cut_logs(self) -> None:
        while True:
            await asyncio.sleep(CUT_LOGS_EVERY_S)
            for child in self._children:
                with contextlib.suppress(OSError):
                    child.program.log.cut()


def _stop_with_parent(command: list[str]) -> list[str]:
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", str(Path(stop_with_parent.__file__)), str(os.getpid()), *command]


def _signal_group_leader(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Sends SIGTERM to the process only: it stops its own children when it is ready to."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _signal_group(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
