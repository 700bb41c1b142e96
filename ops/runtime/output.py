"""Where a process writes its lines: an output that never raises, never blocks for long, and counts what it lost.

A log that cannot be written (full disk, closed pipe, a reader that does not read) must not change what is done with a
message. So whatever goes wrong here is counted, and said once in the log when writing works again.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO, cast

from prometheus_client import Counter

LOST: Final = Counter("axonpush_log_lines_lost", "log lines that could not be written")
# A pipe that polls as writable takes this much without blocking (PIPE_BUF).
_PIECE_BYTES: Final = 4096
# How long one line waits for a reader that is behind; while lines are being lost, none waits.
_WAIT_MS: Final = 20


def _plain(lines: int) -> str:
    return f"{lines} log lines could not be written"


class Output:
    """A text stream in place of `stream` (None: there is none). No method raises.

    `note` makes the line that is written before the first one after a loss.
    """

    def __init__(self, stream: TextIO | None, note: Callable[[int], str] = _plain) -> None:
        self._stream = stream
        self._fd = _descriptor(stream)
        self._poll = _poll(self._fd)
        self._lock = threading.RLock()
        self._lost = 0
        self._is_mid_line = False
        self.note = note

    @property
    def lost(self) -> int:
        """Lines lost since writing last worked."""
        return self._lost

    def write(self, text: str) -> int:
        """Writes `text` or loses it; says it was written either way."""
        try:
            with self._lock:
                self._write(text)
        except Exception:
            self._lost += 1
            with contextlib.suppress(Exception):
                LOST.inc()
        return len(text)

    def flush(self) -> None:
        """Nothing waits here; what a stream of somebody else holds back is asked for."""
        if self._fd is None and self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.flush()

    def lose(self) -> None:
        """Counts a line that could not even be made."""
        self._lost += 1
        with contextlib.suppress(Exception):
            LOST.inc()

    def isatty(self) -> bool:
        """Whether people read along."""
        with contextlib.suppress(Exception):
            return self._stream is not None and self._stream.isatty()
        return False

    @property
    def encoding(self) -> str:
        """What text becomes on the way out."""
        return "utf-8" if self._fd is not None else getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        if self.__dict__.get("_stream") is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _write(self, text: str) -> None:
        if self._lost:
            lost = self._lost
            self._send(("\n" if self._is_mid_line else "") + self.note(lost) + "\n")
            self._lost -= lost
        self._send(text)

    def _send(self, text: str) -> None:
        if self._fd is None:
            if self._stream is None:
                raise OSError("no output")
            self._stream.write(text)
            self._stream.flush()
            return
        data = text.encode("utf-8", "backslashreplace")
        while data:
            if self._poll is not None and not self._poll.poll(0 if self._lost else _WAIT_MS):
                raise BlockingIOError("nobody reads")
            written = os.write(self._fd, data[:_PIECE_BYTES] if self._poll is not None else data)
            data = data[written:]
            self._is_mid_line = bool(data)


def protect_output() -> None:
    """For a process that runs long: stdout and stderr never raise from now on, whoever writes to them.

    Descriptors 0 to 2 that are closed are opened onto nothing first: a socket that got number 2 would be sent the
    messages of C libraries.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = cast(TextIO, protected(sys.stdout)), cast(TextIO, protected(sys.stderr))


def protected(stream: TextIO | Output | None) -> Output:
    """`stream` as an Output; the same one if it is one already."""
    return stream if isinstance(stream, Output) else Output(stream)


def _descriptor(stream: TextIO | None) -> int | None:
    """Its file descriptor, so that nothing is kept in a buffer that fails later; None for a stream in memory."""
    try:
        if stream is None:
            return None
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        # A closed or broken stream may still have a descriptor, which may be mended: a disk with room again.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return stream.fileno() if stream is not None else None
        return None


def _poll(fd: int | None) -> select.poll | None:
    """For what may block: pipes, sockets, terminals. A file is always writable, if only to say that it is full."""
    if fd is None:
        return None
    with contextlib.suppress(OSError):
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd):
            found = select.poll()
            found.register(fd, select.POLLOUT)
            return found
    return None
