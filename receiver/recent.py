"""What was worked out from a few texts a short while ago: senders repeat themselves. What it means is the callers'."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

MAX_ANSWERS: Final = 1024
MAX_AGE_S: Final = 30.0
# The longest texts worth keeping, together: with MAX_ANSWERS it bounds the memory, whatever somebody sends.
MAX_LENGTH: Final = 1024

Answer = TypeVar("Answer")
Text: TypeAlias = str | bytes | int | bool
# A tuple of texts costs half of the one text they could be joined to: the hash of each is known already.
Question: TypeAlias = Text | tuple[Text | tuple[bytes, bytes], ...]


class Recent(Generic[Answer]):
    """Answers by question, one text or a tuple of texts.

    Texts may hold a key, so nothing is given out after MAX_AGE_S, and then all of it is forgotten. Too many different
    questions forget everything too: the next ones are worked out again, which is all that can happen.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[Question, Answer] = {}
        self._until_s = 0.0

    def get(self, question: Question) -> Answer | None:
        """The answer, None if it has to be worked out."""
        now_s = self._clock()
        if now_s >= self._until_s:
            self._held.clear()
            self._until_s = now_s + MAX_AGE_S
        return self._held.get(question)

    def put(self, question: Question, answer: Answer) -> None:
        """Keeps an answer for the rest of the period."""
        if _length(question) > MAX_LENGTH:
            return
        if len(self._held) >= MAX_ANSWERS:
            self._held.clear()
        self._held[question] = answer


def _length(question: Question | tuple[bytes, bytes]) -> int:
    """Characters of all the texts in it."""
    if isinstance(question, tuple):
        return sum(map(_length, question))
    return len(question) if isinstance(question, str | bytes) else 1
