"""The pause before another try: one policy for all processes, with tenacity (docs/decisions/0026)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState
from tenacity.wait import wait_base

# Above 2**30 every pause exceeds its limit anyway.
_MAX_DOUBLINGS: Final = 30


class Backoff(wait_base):
    """Pauses double from `first_s` to `most_s`; jitter shortens each by up to half, so that processes do not retry
    together.
    """

    def __init__(self, first_s: float, most_s: float, jitter: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._jitter = jitter

    def pause_s(self, failures: int) -> float:
        """The pause after this many failures in a row, from 1."""
        doubled: int = 2 ** min(failures - 1, _MAX_DOUBLINGS)
        longest_s = min(self._most_s, self._first_s * doubled)
        return longest_s * (0.5 + self._jitter() / 2)

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.pause_s(retry_state.attempt_number)
