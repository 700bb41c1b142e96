"""Times as ClickHouse reads and writes them."""

from __future__ import annotations

import datetime as dt
from typing import Final

# The default of a column without a time.
NEVER: Final = "1970-01-01 00:00:00.000000000"
_NEVER_DATE: Final = NEVER.partition(" ")[0]


def is_never(text: str) -> bool:
    """Whether a time of ClickHouse means none."""
    return text.startswith(_NEVER_DATE)


def time_text(moment_ns: int) -> str:
    """A time as ClickHouse reads it."""
    seconds, nanos = divmod(moment_ns, 1_000_000_000)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}.{nanos:09d}"


def time_text_of(moment: dt.datetime) -> str:
    """The same of a datetime with its zone."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def nanoseconds_of(text: str) -> int:
    """A time as ClickHouse writes it, in nanoseconds."""
    whole, _, fraction = text.partition(".")
    seconds = int(dt.datetime.fromisoformat(whole).replace(tzinfo=dt.UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)


def seconds_of(text: str) -> float:
    """The same in seconds."""
    return nanoseconds_of(text) / 1e9
