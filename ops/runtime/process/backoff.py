"""How long to wait before something is tried again: the one policy, as tenacity takes it (docs/decisions/0026)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState
from tenacity.wait import wait_base

# 2**30 pauses of any length are longer than every limit; beyond, the number would only grow.
_MAX_DOUBLINGS: Final = 30


class Backoff(wait_base):
    """Pauses double from `first_s` to `most_s`; each is shortened by up to a half, so that not all come at once."""

    def __init__(self, first_s: float, most_s: float, jitter: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._jitter = jitter

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row, from 1."""
        doubled: int = 2 ** min(failures - 1, _MAX_DOUBLINGS)
        longest_s = min(self._most_s, self._first_s * doubled)
        return longest_s * (0.5 + self._jitter() / 2)

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.pause_s(retry_state.attempt_number)
