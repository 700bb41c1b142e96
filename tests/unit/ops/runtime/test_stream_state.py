"""Times as the broker writes them."""

from __future__ import annotations

import datetime as dt

import pytest

from ops.runtime.stream_state import as_time


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-11-27T15:04:05Z", 0),
        ("2026-11-27T15:04:05.5Z", 500_000),
        ("2026-11-27T15:04:05.000001Z", 1),
        ("2026-11-27T15:04:05.123456Z", 123_456),
        ("2026-11-27T15:04:05.123456999Z", 123_456),
    ],
)
def test_a_time_is_read_to_microseconds(text: str, microseconds: int) -> None:
    """The broker leaves out zeros at the end, and has nanoseconds, which are cut off."""
    assert as_time(text) == dt.datetime(2026, 11, 27, 15, 4, 5, microseconds, dt.UTC)
