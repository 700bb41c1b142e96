"""A child process for work that may have to be killed: started with no secrets, spoken to over its pipes.

What is sent and what comes back is the caller's. All methods block; they are for a thread of the caller's.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

# Nothing secret: no password of a server is in reach of what a hostile body may do.
_PASSED_ON: Final = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TMPDIR",
)  # fmt: skip
# Linux numbers the processor clock of a process like this (clock_getcpuclockid).
_CPU_CLOCK: Final = 2
_READ_BYTES: Final = 256 * 1024


class ChildEnded(Exception):
    """The process has ended, before or while it was asked."""


class ChildSlow(Exception):
    """The process has not answered in time. It goes on: end it."""


class ChildProcess:
    """One running `python -m MODULE ARGUMENTS`."""

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=passed_on,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """Its processor time so far; 0 where the system does not tell, or when it has ended."""
        if sys.platform != "linux":
            return 0.0
        try:
            return time.clock_gettime(~self._process.pid << 3 | _CPU_CLOCK)
        except OSError:
            return 0.0

    def send(self, *parts: bytes) -> None:
        """Raises ChildEnded."""
        assert self._process.stdin is not None
        try:
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise ChildEnded from error

    def receive(self, size_bytes: int, due_s: float | None = None) -> bytes:
        """So many bytes of its answer, until `due_s` of the monotonic clock. Raises ChildEnded and ChildSlow."""
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        waiting = select.poll()  # select.select knows no descriptor above 1023
        waiting.register(stream, select.POLLIN)
        received = bytearray()
        while len(received) < size_bytes:
            left_ms = None if due_s is None else max(0.0, due_s - time.monotonic()) * 1000
            if not waiting.poll(left_ms):
                raise ChildSlow
            data = os.read(stream, min(_READ_BYTES, size_bytes - len(received)))
            if not data:
                raise ChildEnded
            received += data
        return bytes(received)

    def kill(self) -> None:
        """From any thread: whoever waits for its answer hears ChildEnded."""
        self._process.kill()

    def wait(self, timeout_s: float) -> int:
        """Closes its input, which is its sign to end; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """Kills it and closes its pipes. Only while nobody waits for its answer."""
        self._process.kill()
        self._process.wait()
        for stream in filter(None, (self._process.stdin, self._process.stdout)):
            with contextlib.suppress(OSError):  # what was not written any more
                stream.close()
