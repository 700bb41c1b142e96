"""A limit for each part of a test (fixtures, test, clean-up), against hangs and not on speed.

A part that takes longer fails with the stacks of all threads and tasks, and the run goes on. Where even that is
impossible, because C code never returns to Python, the process ends: xdist reports the test and starts another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

import pytest

# Some twenty times what the slowest test of each kind takes on a machine that does nothing else.
LIMITS_S = {"unit": 120.0, "live": 300.0, "clients": 900.0}
LONG_LIMIT_S = 1800.0
# After the limit, a test has this long to clean up before it is stopped again; and the whole process after the last.
AGAIN_S = 60.0
PROCESS_ENDS_AFTER_S = 150.0

_output = pytest.StashKey[TextIO]()


class HungTest(BaseException):
    """A test took longer than its limit. No Exception: neither tested code nor Hypothesis may take it for an answer."""


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the real stderr: during tests it is captured."""
    config.stash[_output] = os.fdopen(os.dup(2), "w")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Gives it back."""
    config.stash[_output].close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Limits the fixtures."""
    with _limited(item, "its fixtures"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Limits the test."""
    with _limited(item, "the test"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Limits the clean-up."""
    with _limited(item, "its clean-up"):
        return (yield)


def limit_s(item: pytest.Item) -> float:
    """The limit of a test: its own mark, else that of its kind."""
    if own := item.get_closest_marker("time_limit"):
        return float(own.args[0])
    if item.get_closest_marker("long"):
        return LONG_LIMIT_S
    return next((limit for kind, limit in LIMITS_S.items() if kind in item.path.parts), LIMITS_S["live"])


@contextlib.contextmanager
def _limited(item: pytest.Item, part: str) -> Iterator[None]:
    limit = limit_s(item)
    output = item.config.stash[_output]

    def stop(_number: int, _frame: FrameType | None) -> None:
        what = f"{item.nodeid}: expected {part} to end within {limit:.0f} s, it hangs; the stacks are in the output"
        _print_stacks(what, output)
        raise HungTest(what)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit, AGAIN_S)
    faulthandler.dump_traceback_later(limit + PROCESS_ENDS_AFTER_S, exit=True, file=output)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def _print_stacks(what: str, output: TextIO) -> None:
    """Of all threads, and of the tasks of the loop that runs here: a loop that waits shows no more than its select."""
    for stream in (output, sys.stderr):
        print(f"\n{what}", file=stream, flush=True)
    faulthandler.dump_traceback(file=output, all_threads=True)
    with contextlib.suppress(RuntimeError):
        for task in asyncio.all_tasks():
            text = "".join([f"{task.get_name()} waits:\n", *_awaited(task.get_coro())])
            for stream in (output, sys.stderr):
                print(text, file=stream, flush=True)


def _awaited(coroutine: Any) -> Iterator[str]:
    """A line for each coroutine down to what it waits for: Task.print_stack knows the first one only."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}\n'
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
