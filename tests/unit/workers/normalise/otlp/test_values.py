"""Ids and repairs of OTLP rows. Cutting what is too large is size_limits.py's."""

from __future__ import annotations

import pytest

from workers.normalise.otlp.values import is_id, repairs


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0" * 16, False), ("0" * 15 + "1", True), ("g" * 16, False), ("a" * 15, False), ("a" * 14 + " a", False)],
)
def test_an_id_is_hex_digits_that_are_not_all_nought(text: str, expected: bool) -> None:
    """Blanks between digits are no digits."""
    assert is_id(text, 16) is expected


def test_a_flaw_is_named_once() -> None:
    """In the order they were found, and cut."""
    assert repairs(("b", "a"), ["b", "c" * 100]) == ["b", "a", "c" * 64]
