"""What was worked out from a text a short while ago: senders repeat themselves. What it means is the callers'."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

MAX_ANSWERS: Final = 1024
MAX_AGE_S: Final = 30.0
# The longest text worth keeping: with MAX_ANSWERS it bounds the memory, whatever somebody sends.
MAX_LENGTH: Final = 1024

Answer = TypeVar("Answer")


class Recent(Generic[Answer]):
    """Answers by text. Texts may hold a key, so nothing is given out after MAX_AGE_S, and then all of it is forgotten.

    Too many different texts forget everything too: the next ones are worked out again, which is all that can happen.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, Answer] = {}
        self._until_s = 0.0

    def get(self, text: str) -> Answer | None:
        """The answer to `text`, None if it has to be worked out."""
        now_s = self._clock()
        if now_s >= self._until_s:
            self._held.clear()
            self._until_s = now_s + MAX_AGE_S
        return self._held.get(text)

    def put(self, text: str, answer: Answer) -> None:
        """Keeps an answer for the rest of the period."""
        if len(text) > MAX_LENGTH:
            return
        if len(self._held) >= MAX_ANSWERS:
            self._held.clear()
        self._held[text] = answer
