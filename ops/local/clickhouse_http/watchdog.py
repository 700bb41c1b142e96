"""Stops statements that exceed their time limit; if that is impossible, ends the process.

A reader's limit is max_execution_time, a worker's is that of its inserts. The operator has no limit, but a query whose
client is gone must stop.

The engine checks limits and KILL QUERY between blocks of rows. One function call on one block may take minutes and
gigabytes, and a thread cannot be ended: only a new process frees its place and its memory. Answered inserts are on
disk, others wait in the broker, and `up` restarts the engine.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

# How long after its limit we stop a query that the engine has not ended.
OVERDUE_S: Final = 5.0
# How long a query may continue after it was told to stop: until /ready fails, and until the process ends.
COMPLAIN_S: Final = 10.0
STUCK_S: Final = 30.0
EXIT_CODE: Final = 70


@dataclass(frozen=True, slots=True)
class _Statement:
    """The statement that the engine runs now; `stoppable` says whether KILL QUERY finds it."""

    began_s: float
    limit_s: float
    stoppable: bool


def _nothing() -> None:
    """The default: no client waits for an answer."""


class WatchedCall:
    """One call: its running statement, and since when the engine is told to stop it.

    The call's thread changes the statement; the event loop reads it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._statement: _Statement | None = None
        self._asked_s: float | None = None
        self.stop: Callable[[], None] = _nothing
        self.before_end: Callable[[], None] = _nothing

    @contextlib.contextmanager
    def running(self, limit_s: float, *, stoppable: bool) -> Iterator[None]:
        """Marks a statement as running."""
        self.begin(limit_s, stoppable=stoppable)
        try:
            yield
        finally:
            self.end()

    def after(self, pieces: Iterator[bytes], limit_s: float) -> Iterator[bytes]:
        """Yields the pieces of a body. The statement's time starts after the last piece, because bodies have their own
        deadline.
        """
        yield from pieces
        self.begin(limit_s, stoppable=False)

    def begin(self, limit_s: float, *, stoppable: bool) -> None:
        """The statement is passed to the engine."""
        self._statement = _Statement(self._clock(), limit_s, stoppable)

    def end(self) -> None:
        """The engine has returned."""
        self._statement = None

    def note_stop(self) -> None:
        """The engine was told to stop: the client is gone, or the time is over."""
        if self._asked_s is None:
            self._asked_s = self._clock()

    def is_overdue(self) -> bool:
        """Whether the statement must be stopped now."""
        now = self._statement
        return now is not None and self._clock() - now.began_s > now.limit_s + OVERDUE_S

    def unstopped_s(self) -> float:
        """How long the statement has continued after it was told to stop; 0 otherwise."""
        now = self._statement
        if now is None:
            return 0.0
        late_s = self._clock() - now.began_s - 2 * now.limit_s
        if now.stoppable and self._asked_s is not None:
            late_s = max(late_s, self._clock() - max(self._asked_s, now.began_s))
        return max(late_s, 0.0)


def end_process(reason: str) -> None:
    """Ends the process without waiting for threads, because the blocked one never ends."""
    sys.stderr.write(f"ended, to be restarted: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Watchdog:
    """Watches all calls. Call `look` about once a second."""

    def __init__(self, end: Callable[[str], None] = end_process) -> None:
        self._end = end
        self._calls: dict[WatchedCall, str] = {}
        self.complaint = ""

    def add(self, call: WatchedCall, query_id: str) -> None:
        """Starts to watch a call."""
        self._calls[call] = query_id

    def discard(self, call: WatchedCall) -> None:
        """Stops to watch a call."""
        self._calls.pop(call, None)

    def look(self) -> None:
        """Stops overdue statements, logs those that do not stop, and ends the process if that lasts too long."""
        longest_s, query_id, longest = 0.0, "", WatchedCall()
        for call, name in list(self._calls.items()):
            if call.is_overdue():
                stop, call.stop = call.stop, _nothing  # logged once
                stop()
            if (late_s := call.unstopped_s()) > longest_s:
                longest_s, query_id, longest = late_s, name, call
        self.complaint = ""
        if longest_s > COMPLAIN_S:
            self.complaint = (
                f"query {query_id!r}: expected to end within its time limit or when stopped, found it running "
                f"{longest_s:.0f} s later; the process ends after {STUCK_S:.0f} s of that"
            )
        if longest_s > STUCK_S:
            longest.before_end()
            self._end(self.complaint)
