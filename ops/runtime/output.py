"""A text stream for logs that never raises, never blocks for long, and counts lost lines.

A log that cannot be written (full disk, closed pipe, stalled reader) must not affect the processing of messages.
Failures are counted, and reported once in the log when writing works again.
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
# A pipe that polls as writable accepts this many bytes without blocking (PIPE_BUF).
_PIECE_BYTES: Final = 4096
# How long a line waits for a slow reader. While lines are being lost, no line waits.
_WAIT_MS: Final = 20


def _plain(lines: int) -> str:
    return f"{lines} log lines could not be written"


class Output:
    """A text stream that replaces `stream`, which may be None. No method raises.

    `note` formats the line that is written before the first line after a loss.
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
        """Lines lost since the last successful write."""
        return self._lost

    def write(self, text: str) -> int:
        """Writes `text` or counts it as lost; returns its length in both cases."""
        try:
            with self._lock:
                self._write(text)
        except Exception:
            self._lost += 1
            with contextlib.suppress(Exception):
                LOST.inc()
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered here; flushes the wrapped stream if it is not ours."""
        if self._fd is None and self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.flush()

    def lose(self) -> None:
        """Counts a line that could not be formatted."""
        self._lost += 1
        with contextlib.suppress(Exception):
            LOST.inc()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with contextlib.suppress(Exception):
            return self._stream is not None and self._stream.isatty()
        return False

    @property
    def encoding(self) -> str:
        """The encoding of the written text."""
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
    """For long-running processes: from now on, writes to stdout and stderr never raise.

    Opens /dev/null on descriptors 0 to 2 if they are closed. Otherwise a socket could get descriptor 2 and receive the
    error messages of C libraries.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = cast(TextIO, protected(sys.stdout)), cast(TextIO, protected(sys.stderr))


def protected(stream: TextIO | Output | None) -> Output:
    """`stream` as an Output, unchanged if it is one already."""
    return stream if isinstance(stream, Output) else Output(stream)


def _descriptor(stream: TextIO | None) -> int | None:
    """The stream's file descriptor, so that no data stays in a buffer that fails later; None for a stream in memory."""
    try:
        if stream is None:
            return None
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        # A closed or broken stream may still have a descriptor that works again later, for example on a full disk.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return stream.fileno() if stream is not None else None
        return None


def _poll(fd: int | None) -> select.poll | None:
    """A poller for descriptors that may block: pipes, sockets, terminals. Files are always writable, even when the disk
    is full.
    """
    if fd is None:
        return None
    with contextlib.suppress(OSError):
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd):
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            return poller
    return None
