"""Lengths of time that a sender gives in seconds, as nanoseconds. Points in time are read in timestamps."""

from __future__ import annotations

from typing import Any, Final

from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from workers.normalise.scalars import named_number

DURATION_INVALID: Final = "duration_invalid"

# Nothing runs for a year between two restarts of its process; 584 years are a clock that was never set.
MAX_DURATION_NS: Final = 366 * NANOS_PER_DAY
_MAX_SECONDS: Final = MAX_DURATION_NS // NANOS_PER_SECOND


def duration_ns(value: Any, repairs: list[str]) -> int:
    """Nanoseconds of a number of seconds, 0 if there is none; what is no length of time, or an absurd one, is 0 and
    named.
    """
    if value is None:
        return 0
    value = named_number(value, "duration", repairs)
    if value.__class__ not in (int, float) or not 0 <= value <= _MAX_SECONDS:
        repairs.append(DURATION_INVALID)
        return 0
    return round(value * NANOS_PER_SECOND)
