"""Counts the steps a backtracking search takes, so that a slow pattern is found without a clock.

Python's `re` tells no count. This walks the same parsed pattern in the same order, one step for each part tried and
each character compared. A test compares the places it finds with those that `re` finds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from re import _compiler, _parser  # type: ignore[attr-defined]  # the only way to a pattern's parts
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any, Final

Span = tuple[int, int]
# Whether the pattern behind a part matches from a place in the text on.
Rest = Callable[[int], bool]

_ONE_CHARACTER: Final = frozenset({sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN})
_MAX_FRAMES: Final = 200_000


class TooManySteps(Exception):
    """The search took more steps than it was given."""


@contextmanager
def _deep_calls() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(_MAX_FRAMES)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class StepCounter:
    """Searches with one pattern and counts."""

    def __init__(self, pattern: re.Pattern[Any], max_steps: int = sys.maxsize) -> None:
        self.steps = 0
        self._max_steps = max_steps
        self._is_bytes = isinstance(pattern.pattern, bytes)
        self._parts = _parser.parse(pattern.pattern, pattern.flags)
        self._flags = self._parts.state.flags
        self._accepts: dict[tuple[int, str], bool] = {}
        self._compiled: dict[int, re.Pattern[Any]] = {}
        self._text = ""
        self._groups: dict[int, Span] = {}

    def restart(self, max_steps: int) -> None:
        """Counts from 0 again: a pattern is parsed once for all its texts."""
        self.steps, self._max_steps = 0, max_steps

    def spans(self, text: str) -> list[Span]:
        """Where `finditer` would match. Text for a pattern of bytes is Latin-1. Raises TooManySteps."""
        found = []
        place = 0
        with _deep_calls():
            while place <= len(text):
                end = self._match_at(text, place, must_be_whole=False)
                if end is not None:
                    found.append((place, end))
                place = place + 1 if end is None else max(end, place + 1)
        return found

    def matches_whole(self, text: str) -> bool:
        """Whether `fullmatch` would match. Raises TooManySteps."""
        with _deep_calls():
            return self._match_at(text, 0, must_be_whole=True) is not None

    def _match_at(self, text: str, start: int, *, must_be_whole: bool) -> int | None:
        self._text, self._groups = text, {}
        ends: list[int] = []

        def finish(place: int) -> bool:
            if must_be_whole and place != len(text):
                return False
            ends.append(place)
            return True

        return ends[0] if self._run(self._parts.data, 0, start, finish) else None

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self._max_steps:
            raise TooManySteps

    def _run(self, parts: Sequence[Any], index: int, place: int, rest: Rest) -> bool:
        """Whether parts[index:] and then the rest match from a place on."""
        while index < len(parts):
            self._step()
            kind, value = parts[index]
            index += 1
            if kind in _ONE_CHARACTER:
                if not self._is_accepted(parts[index - 1], place):
                    return False
                place += 1
            elif kind is sre.AT:
                if not self._is_position(parts[index - 1], place):
                    return False
            else:
                return self._part(kind, value, place, partial(self._run, parts, index, rest=rest))
        return rest(place)

    def _part(self, kind: Any, value: Any, place: int, rest: Rest) -> bool:
        match kind:
            case sre.SUBPATTERN:
                return self._group(value[0], value[3].data, place, rest)
            case sre.BRANCH:
                return self._branch(value[1], place, rest)
            case sre.MAX_REPEAT | sre.MIN_REPEAT:
                return self._repeat(value, place, rest, is_greedy=kind is sre.MAX_REPEAT)
            case sre.ATOMIC_GROUP:
                end = self._end_of(value.data, place)
                return end is not None and rest(end)
            case sre.POSSESSIVE_REPEAT:
                return self._possessive(value, place, rest)
            case sre.ASSERT | sre.ASSERT_NOT:
                return self._looks_around(*value, place) is (kind is sre.ASSERT) and rest(place)
            case sre.GROUPREF:
                return self._reference(value, place, rest)
            case sre.GROUPREF_EXISTS:
                number, then, otherwise = value
                chosen = then if number in self._groups else otherwise
                return self._run(chosen.data if chosen else (), 0, place, rest)
        raise AssertionError(f"no count for {kind}: teach it here")

    def _branch(self, branches: Sequence[Any], place: int, rest: Rest) -> bool:
        for branch in branches:  # noqa: SIM110 - calls through any() would end at the depth of C's stack
            if self._run(branch.data, 0, place, rest):
                return True
        return False

    def _group(self, number: int | None, parts: Sequence[Any], place: int, rest: Rest) -> bool:
        if number is None:
            return self._run(parts, 0, place, rest)
        before = self._groups.get(number)

        def remember(end: int) -> bool:
            self._groups[number] = (place, end)
            return rest(end)

        if self._run(parts, 0, place, remember):
            return True
        if before is None:
            self._groups.pop(number, None)
        else:
            self._groups[number] = before
        return False

    def _repeat(self, value: Any, place: int, rest: Rest, *, is_greedy: bool) -> bool:
        least, most, inner = value
        if len(inner.data) == 1 and inner.data[0][0] in _ONE_CHARACTER:
            return self._repeat_character(inner.data[0], (least, most), place, rest, is_greedy=is_greedy)
        return self._repeat_from(0, value, place, rest, is_greedy=is_greedy)

    def _repeat_character(self, part: Any, bounds: tuple[int, int], place: int, rest: Rest, *, is_greedy: bool) -> bool:
        """Without a call for each character, as `re` does it."""
        least, most = bounds
        counted = 0
        while counted < (most if is_greedy else least) and self._is_accepted(part, place + counted):
            counted += 1
        if counted < least:
            return False
        if is_greedy:
            for length in range(counted, least - 1, -1):  # noqa: SIM110
                if rest(place + length):
                    return True
            return False
        while not rest(place + counted):
            if counted >= most or not self._is_accepted(part, place + counted):
                return False
            counted += 1
        return True

    def _repeat_from(self, counted: int, value: Any, place: int, rest: Rest, *, is_greedy: bool) -> bool:
        self._step()
        least, most, inner = value

        def again() -> bool:
            return counted < most and self._run(
                inner.data,
                0,
                place,
                # A repetition of nothing ends the repeat: it would never end otherwise.
                lambda end: (
                    (end != place or counted < least)
                    and self._repeat_from(counted + 1, value, end, rest, is_greedy=is_greedy)
                ),
            )

        if counted < least:
            return again()
        return again() or rest(place) if is_greedy else rest(place) or again()

    def _possessive(self, value: Any, place: int, rest: Rest) -> bool:
        least, most, inner = value
        counted = 0
        while counted < most:
            end = self._end_of(inner.data, place)
            if end is None:
                break
            counted += 1
            if end == place:
                counted = max(counted, least)
                break
            place = end
        return counted >= least and rest(place)

    def _end_of(self, parts: Sequence[Any], place: int) -> int | None:
        ends: list[int] = []

        def finish(end: int) -> bool:
            ends.append(end)
            return True

        return ends[0] if self._run(parts, 0, place, finish) else None

    def _looks_around(self, direction: int, inner: Any, place: int) -> bool:
        begin = place if direction > 0 else place - inner.getwidth()[0]
        return begin >= 0 and self._end_of(inner.data, begin) is not None

    def _reference(self, number: int, place: int, rest: Rest) -> bool:
        if number not in self._groups:
            return False
        begin, end = self._groups[number]
        self.steps += end - begin
        return self._text.startswith(self._text[begin:end], place) and rest(place + end - begin)

    def _is_accepted(self, part: Any, place: int) -> bool:
        """Whether a part for one character accepts the one at a place."""
        self._step()
        if place >= len(self._text):
            return False
        key = (id(part), self._text[place])
        if key not in self._accepts:
            self._accepts[key] = self._compiled_of(part).fullmatch(self._data(key[1])) is not None
        return self._accepts[key]

    def _is_position(self, part: Any, place: int) -> bool:
        return self._compiled_of(part).match(self._data(self._text), place) is not None

    def _compiled_of(self, part: Any) -> re.Pattern[Any]:
        if id(part) not in self._compiled:
            alone = _parser.SubPattern(self._parts.state, [part])
            self._compiled[id(part)] = _compiler.compile(alone, self._flags)
        return self._compiled[id(part)]

    def _data(self, text: str) -> Any:
        return text.encode("latin-1") if self._is_bytes else text
