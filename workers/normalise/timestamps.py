"""Timestamps of Sentry payloads in nanoseconds, corrected for clock drift and kept inside the range we store."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from schemas.rows import NANOS_PER_SECOND, clamp_ns

CLOCK_DRIFT: Final = "clock_drift"
FROM_THE_FUTURE: Final = "timestamp_future"
TOO_OLD: Final = "timestamp_too_old"
MISSING: Final = "timestamp_missing"
UNREADABLE: Final = "timestamp_invalid"
IMPOSSIBLE: Final = "timestamp_impossible"

# Sentry corrects a clock from 55 minutes on: a smaller difference may be the network or a slow queue in the SDK.
LEAST_DRIFT_NS: Final = 55 * 60 * NANOS_PER_SECOND
GREATEST_FUTURE_NS: Final = 60 * NANOS_PER_SECOND

# A clock that says less was never set: 0, -1, the first years of an epoch, seconds since boot. 2000-01-01.
FIRST_PLAUSIBLE_NS: Final = 946_684_800 * NANOS_PER_SECOND

UINT64_MAX: Final = 2**64 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND: Final = -62_135_596_800  # year 1
_LAST_SECOND: Final = 253_402_300_799  # the end of year 9999
_FRACTION: Final = re.compile(r"(.*:\d\d)[.,](\d+)(.*)", re.ASCII | re.DOTALL)
# 2026-11-21T14:46:05.853844Z
_WHOLE_LENGTH: Final = 27
_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?", re.ASCII)

Placed = tuple[int, int, tuple[str, ...]]


def parse_ns(value: Any) -> int | None:
    """Nanoseconds since 1970 of epoch seconds or of an ISO 8601 text (no zone: UTC); None if it is neither.

    Floats are kept to microseconds, which is all a double holds at this size; text is kept to nanoseconds.
    """
    kind = value.__class__
    if kind is str:
        return _parse_text(value)
    if kind is float and _FIRST_SECOND <= value <= _LAST_SECOND:
        return int(round(value * 1_000_000) * 1_000)
    if kind is int and _FIRST_SECOND <= value <= _LAST_SECOND:
        return int(value) * NANOS_PER_SECOND
    return None


def _parse_text(text: str) -> int | None:
    text = text.strip()
    if len(text) > 64:
        return None
    if text[-1:] in "zCT":
        text = _with_zone(text)
    try:
        if text[4:5] != "-" and _NUMBER.fullmatch(text):
            return parse_ns(int(text) if text.lstrip("+-").isdigit() else float(text))
        # fromisoformat keeps six digits of the fraction, so a longer one is read apart from it
        match = _FRACTION.fullmatch(text) if len(text) > _WHOLE_LENGTH else None
        whole = datetime.fromisoformat(match[1] + match[3] if match else text)
        since = (whole if whole.tzinfo else whole.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return None
    seconds = since.days * 86_400 + since.seconds
    nanos = int(match[2][:9].ljust(9, "0")) if match else since.microseconds * 1_000
    return seconds * NANOS_PER_SECOND + nanos


def _with_zone(text: str) -> str:
    """RFC 3339 allows a small z, and some languages print UTC or GMT; Python's reader wants Z."""
    for name in ("z", " UTC", " GMT"):
        if text.endswith(name):
            return text.removesuffix(name) + "Z"
    return text


def bound_uint64(time_ns: int) -> int:
    """A time or a length in the range of UInt64."""
    return min(max(time_ns, 0), UINT64_MAX)


class SenderClock:
    """How far the times of one body are moved: by the sender's clock drift, then into the range we store.

    Sentry envelope specification, `sent_at`: the difference to the time of receipt is the drift of the sender's clock.
    """

    __slots__ = ("drift_ns", "earliest_ns", "latest_ns", "received_at_ns", "retention_days")

    def __init__(self, received_at_ns: int, sent_at_ns: int | None, retention_days: int) -> None:
        drift_ns = received_at_ns - sent_at_ns if sent_at_ns is not None else 0
        self.drift_ns = drift_ns if abs(drift_ns) >= LEAST_DRIFT_NS else 0
        self.received_at_ns = received_at_ns
        self.retention_days = retention_days
        self.earliest_ns = self.clamp(_FIRST_SECOND * NANOS_PER_SECOND)
        self.latest_ns = received_at_ns + GREATEST_FUTURE_NS

    def clamp(self, time_ns: int) -> int:
        """Into the range of the partitions, nothing else."""
        return clamp_ns(time_ns, self.received_at_ns, self.retention_days)

    def is_plausible(self, sent_ns: int) -> bool:
        """Whether this may be the time of something, once the sender's clock drift is taken away."""
        return sent_ns + self.drift_ns >= FIRST_PLAUSIBLE_NS

    def place(self, value: Any, sequence_ns: int = 0) -> Placed:
        """(time to store, time as sent or 0 if it was not moved, repairs) of a JSON timestamp; never fails.

        `sequence_ns` is added to a time that is there.
        """
        time_ns = parse_ns(value)
        if time_ns is None:
            return self.received_at_ns, 0, (MISSING if value is None else UNREADABLE,)
        return self.place_ns(time_ns + sequence_ns)

    def place_ns(self, sent_ns: int) -> Placed:
        """The same for nanoseconds. A time over a minute ahead becomes the time of receipt, an old one the oldest.

        An impossible one becomes the time of receipt too: as the oldest, no query of the last hour would show it.
        """
        time_ns = sent_ns + self.drift_ns
        repairs = (CLOCK_DRIFT,) if self.drift_ns else ()
        if self.earliest_ns <= time_ns <= self.latest_ns:
            return time_ns, bound_uint64(sent_ns) if repairs else 0, repairs
        if time_ns < FIRST_PLAUSIBLE_NS:
            return self.received_at_ns, bound_uint64(sent_ns), (*repairs, IMPOSSIBLE)
        if time_ns > self.latest_ns:
            return self.received_at_ns, bound_uint64(sent_ns), (*repairs, FROM_THE_FUTURE)
        return self.earliest_ns, bound_uint64(sent_ns), (*repairs, TOO_OLD)
