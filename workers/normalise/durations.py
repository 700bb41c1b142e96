"""Lengths of time that a sender gives in seconds, as nanoseconds. Points in time are read in timestamps."""

from __future__ import annotations

from typing import Any, Final

from schemas.rows import NANOS_PER_SECOND
from workers.normalise.timestamps import UINT64_MAX

DURATION_INVALID: Final = "duration_invalid"

_MAX_SECONDS: Final = UINT64_MAX // NANOS_PER_SECOND


def duration_ns(value: Any, repairs: list[str]) -> int:
    """Nanoseconds of a number of seconds, 0 if there is none; what is no length of time is 0 and named."""
    if value is None:
        return 0
    if value.__class__ not in (int, float) or value < 0:
        repairs.append(DURATION_INVALID)
        return 0
    # a double above 2**53 loses nanoseconds, so an integer is not made one on the way
    return round(min(value, _MAX_SECONDS) * NANOS_PER_SECOND)
