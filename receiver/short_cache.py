"""A small cache for values computed from texts of a request: headers, path. Bounded, and emptied after 30 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

MAX_ENTRIES: Final = 1024
MAX_AGE_S: Final = 30.0
# The longest texts worth keeping, together: with MAX_ENTRIES it bounds the memory, whatever somebody sends.
MAX_LENGTH: Final = 1024

Value = TypeVar("Value")
Text: TypeAlias = str | bytes | int | bool
# A tuple of texts is looked up faster than the one text they could be joined to: Python keeps the hash of each.
Texts: TypeAlias = Text | tuple[Text | tuple[bytes, bytes], ...]


class ShortCache(Generic[Value]):
    """Values by the texts that they were computed from: one text or a tuple of texts.

    Texts may contain a key, so the whole cache is emptied every MAX_AGE_S, and also when it is full. Then values are
    computed again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[Texts, Value] = {}
        self._until_s = 0.0

    def get(self, texts: Texts) -> Value | None:
        """The value, None if it must be computed."""
        now_s = self._clock()
        if now_s >= self._until_s:
            self._values.clear()
            self._until_s = now_s + MAX_AGE_S
        return self._values.get(texts)

    def put(self, texts: Texts, value: Value) -> None:
        """Keeps a value until the cache is emptied."""
        if _length(texts) > MAX_LENGTH:
            return
        if len(self._values) >= MAX_ENTRIES:
            self._values.clear()
        self._values[texts] = value


def _length(texts: Texts | tuple[bytes, bytes]) -> int:
    """Characters of all the texts in it."""
    if isinstance(texts, tuple):
        return sum(map(_length, texts))
    return len(texts) if isinstance(texts, str | bytes) else 1
