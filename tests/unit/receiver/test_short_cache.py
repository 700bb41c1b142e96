"""Answers kept for a moment: texts may hold keys, so they are few, short and soon forgotten."""

from __future__ import annotations

import pytest

from receiver.short_cache import MAX_AGE_S, MAX_ENTRIES, MAX_LENGTH, ShortCache


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_answers_are_forgotten_after_their_time() -> None:
    """What was put just before the end of a period goes with it."""
    clock = Clock()
    cache = ShortCache[int](clock)
    assert cache.get("a") is None
    cache.put("a", 1)
    assert cache.get("a") == 1
    clock.now_s += MAX_AGE_S
    assert cache.get("a") is None


@pytest.mark.parametrize("started_s", [0.0, 0.5, 1e9])
def test_answers_are_kept_until_then(started_s: float) -> None:
    """Whatever a monotonic clock says at the start of a machine."""
    clock = Clock()
    clock.now_s = started_s
    cache = ShortCache[int](clock)
    assert cache.get("a") is None
    cache.put("a", 1)
    clock.now_s += MAX_AGE_S - 0.25
    assert cache.get("a") == 1


def test_memory_is_bounded() -> None:
    """Neither many texts nor long ones pile up; the newest is there."""
    cache = ShortCache[int](Clock())
    cache.get("")
    for number in range(3 * MAX_ENTRIES):
        cache.put(str(number), number)
        assert cache.get(str(number)) == number
    assert sum(cache.get(str(number)) is not None for number in range(3 * MAX_ENTRIES)) <= MAX_ENTRIES
    cache.put("x" * (MAX_LENGTH + 1), 1)
    assert cache.get("x" * (MAX_LENGTH + 1)) is None
    headers = tuple((b"name", b"x" * (MAX_LENGTH // 8)) for _ in range(8))
    cache.put(headers, 1)
    assert cache.get(headers) is None
    cache.put(headers[:4], 1)
    assert cache.get(headers[:4]) == 1
    for longest in ("x" * MAX_LENGTH, ("x" * (MAX_LENGTH - 2), 7, True)):
        cache.put(longest, 1)
        assert cache.get(longest) == 1
    cache.put(("x" * (MAX_LENGTH - 1), 7, True), 1)
    assert cache.get(("x" * (MAX_LENGTH - 1), 7, True)) is None
