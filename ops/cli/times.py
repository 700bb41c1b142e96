"""Parses times of the command line."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

_AGO: Final = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)(?:\s+ago)?")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: dt.datetime) -> dt.datetime:
    """Parses `90m` (ago), `now`, or ISO 8601, which is UTC unless it names a zone. Raises ValueError."""
    text = text.strip()
    if text == "now":
        return now
    if match := _AGO.fullmatch(text):
        try:
            return now - dt.timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            return dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    try:
        time = dt.datetime.fromisoformat(text)
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"expected a time like 2026-11-21T14:00:00Z, 2026-11-21, 90m or 7d (ago) or now, found {text!r}"
        ) from None
