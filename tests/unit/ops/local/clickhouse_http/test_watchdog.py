"""Queries that do not end: stopped at their limit, said by /ready, and the end of the process when nothing helps."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from ops.local.clickhouse_http.watchdog import COMPLAIN_S, EXIT_CODE, OVERDUE_S, STUCK_S, Watchdog, WatchedCall


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class _Watch:
    """One call, watched; what the watchdog did is written down."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.call = WatchedCall(self.clock)
        self.stopped: list[float] = []
        self.ended: list[str] = []
        self.dog = Watchdog(self.ended.append)
        self.dog.add(self.call, "the-id")
        self.call.stop = lambda: self.stopped.append(self.clock.now_s)

    def look(self, at_s: float) -> None:
        self.clock.now_s = at_s
        self.dog.look()


def test_a_query_beyond_its_limit_is_stopped_once() -> None:
    """Not before its time, and not again."""
    watch = _Watch()
    with watch.call.running(3, stoppable=True):
        watch.look(3 + OVERDUE_S)
        assert watch.stopped == []
        for at_s in (9, 10):
            watch.look(at_s)
    assert watch.stopped == [9]
    assert (watch.ended, watch.dog.complaint) == ([], "")


def test_a_query_that_cannot_be_stopped_ends_the_process() -> None:
    """First /ready says so, then the process ends with the same words."""
    watch = _Watch()
    with watch.call.running(3, stoppable=True):
        watch.look(9)
        watch.call.note_stop()
        watch.look(6 + COMPLAIN_S)
        assert watch.dog.complaint == ""
        watch.look(6 + STUCK_S)
        assert "the-id" in watch.dog.complaint
        assert watch.ended == []
        watch.look(9 + STUCK_S + 1)
    assert watch.ended == [watch.dog.complaint]


def test_a_query_whose_client_is_gone_need_not_wait_for_its_limit() -> None:
    """It was asked to stop at 10 s; 300 s are no reason to keep its place."""
    watch = _Watch()
    with watch.call.running(300, stoppable=True):
        watch.clock.now_s = 10
        watch.call.note_stop()
        watch.look(10 + STUCK_S + 1)
    assert len(watch.ended) == 1


def test_a_statement_that_cannot_be_asked_has_twice_its_limit() -> None:
    """A temporary table that is filled: the engine's own limit ends it, whoever left."""
    watch = _Watch()
    with watch.call.running(60, stoppable=False):
        watch.call.note_stop()
        watch.look(120 + STUCK_S)
        assert watch.ended == []
        watch.look(121 + STUCK_S)
    assert len(watch.ended) == 1


def test_without_a_limit_only_a_query_whose_client_is_gone_is_stopped() -> None:
    """An operator's: a migration of hours goes on, a query that nobody waits for does not."""
    watch = _Watch()
    with watch.call.running(math.inf, stoppable=False):
        watch.call.note_stop()
        watch.look(100_000)
    with watch.call.running(math.inf, stoppable=True):
        watch.look(100_000 + STUCK_S)
        assert (watch.stopped, watch.ended) == ([], [])
        watch.look(100_001 + STUCK_S)
    assert len(watch.ended) == 1


def test_the_end_is_noted_before_it_comes() -> None:
    """Of the call that lasted longest."""
    watch = _Watch()
    watch.call.before_end = lambda: watch.ended.append("noted")
    with watch.call.running(1, stoppable=False):
        watch.look(3 + STUCK_S)
    assert watch.ended == ["noted", watch.dog.complaint]


def test_what_ended_or_only_receives_its_body_is_no_concern() -> None:
    """The time runs while the engine works, from the end of a body on."""
    watch = _Watch()
    body = watch.call.after(iter((b"a", b"b")), 60)
    next(body)
    watch.look(10000)
    assert (watch.stopped, watch.dog.complaint) == ([], "")
    assert list(body) == [b"b"]
    watch.look(10061)
    assert watch.stopped == []
    watch.call.end()
    watch.look(20000)
    assert (watch.stopped, watch.ended) == ([], [])


@pytest.mark.parametrize("waiting", ["threading.Thread(target=threading.Event().wait).start()", ""])
def test_the_process_ends_though_a_thread_does_not(waiting: str) -> None:
    """With a code that is an error, and the reason on stderr."""
    code = (
        f"import threading; from ops.local.clickhouse_http.watchdog import end_process; {waiting}\nend_process('why')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (EXIT_CODE, "ended, to be restarted: why\n")
