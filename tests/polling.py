"""Waiting in tests: for a fact, up to a deadline; never for a time."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.05
# Against hangs, and not on speed: with four busy programs beside it, what takes a second takes ten.
DEADLINE_S = 120.0
# For one answer of a server, whatever it is asked.
ANSWER_TIMEOUT_S = 60.0


def eventually(probe: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first true answer of `probe`. Fails the test when there is none within `deadline_s`; OSError counts as no."""
    deadline = time.monotonic() + deadline_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            if answer := probe():
                return answer
            last = answer
        except urllib.error.HTTPError as error:
            last = f"status {error.code}"
            error.close()
        except OSError as error:
            last = repr(error)
        time.sleep(POLL_S)
    raise AssertionError(f"waited {deadline_s:.0f} s for {what}; last seen: {last!r}")
