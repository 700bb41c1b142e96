"""Answers kept for a moment: texts may hold keys, so they are few, short and soon forgotten."""

from __future__ import annotations

from receiver.recent import MAX_AGE_S, MAX_ANSWERS, MAX_LENGTH, Recent


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_answers_are_forgotten_after_their_time() -> None:
    """What was put just before the end of a period goes with it."""
    clock = Clock()
    recent = Recent[int](clock)
    assert recent.get("a") is None
    recent.put("a", 1)
    assert recent.get("a") == 1
    clock.now_s += MAX_AGE_S
    assert recent.get("a") is None


def test_memory_is_bounded() -> None:
    """Neither many texts nor long ones pile up; the newest is there."""
    recent = Recent[int](Clock())
    recent.get("")
    for number in range(3 * MAX_ANSWERS):
        recent.put(str(number), number)
        assert recent.get(str(number)) == number
    assert sum(recent.get(str(number)) is not None for number in range(3 * MAX_ANSWERS)) <= MAX_ANSWERS
    recent.put("x" * (MAX_LENGTH + 1), 1)
    assert recent.get("x" * (MAX_LENGTH + 1)) is None
    headers = tuple((b"name", b"x" * (MAX_LENGTH // 8)) for _ in range(8))
    recent.put(headers, 1)
    assert recent.get(headers) is None
    recent.put(headers[:4], 1)
    assert recent.get(headers[:4]) == 1
