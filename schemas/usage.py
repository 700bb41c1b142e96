"""What was used of quotas: the units, the minute they are counted in, and the reports that processes send each other.

Receivers count requests and inflated bytes, workers count rows. A report holds totals of the last minute, so one that
is lost or comes twice does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import orjson

# A client that comes back after this finds the whole quota again: everything counted is older then.
WINDOW_S: Final = 60
# Every process says all of its totals again after so long, for whoever has just begun to listen.
EVERYTHING_S: Final = 2.0
# Names in one report: far below the broker's largest message, however many keys have quotas.
MAX_NAMES: Final = 10_000


class Unit(StrEnum):
    """What a quota limits, each a minute."""

    REQUESTS = "requests"
    BYTES = "bytes"
    ROWS = "rows"


def key_name(key_id: str) -> str:
    """The name of a key in reports."""
    return f"key.{key_id}"


def organisation_name(slug: str) -> str:
    """The name of an organisation in reports."""
    return f"organisation.{slug}"


def counter_name(owner: str, unit: Unit) -> str:
    """The name of one count of a key or organisation. Requests have none behind them: they were there first."""
    return owner if unit is Unit.REQUESTS else f"{owner}:{unit}"


def split_name(name: str) -> tuple[str, Unit] | None:
    """The reverse of counter_name; None for a unit that this version does not know."""
    owner, _, unit = name.partition(":")
    if not unit:
        return owner, Unit.REQUESTS
    return (owner, Unit(unit)) if unit in set(Unit) else None


@dataclass(slots=True)
class Window:
    """An amount over the last WINDOW_S seconds, by the second it came in."""

    total: int = 0
    # The second `total` is right for: within one, nothing expires.
    second: int = 0
    _seconds: dict[int, int] = field(default_factory=dict)

    def add(self, second: int, amount: int) -> None:
        """`second` may be a past one; what is over already is over."""
        seconds = self._seconds
        seconds[second] = seconds.get(second, 0) + amount
        self.total += amount

    def take_back(self, second: int, amount: int) -> None:
        """Undoes what `add` did, as far as that is still within the window."""
        held = self._seconds.get(second, 0)
        back = min(held, amount)
        if back > 0:
            self._seconds[second] = held - back
            self.total -= back

    def expire(self, second: int) -> None:
        """Forgets what is older than the window as seen in `second`."""
        self.second = second
        while self._seconds and (oldest := next(iter(self._seconds))) <= second - WINDOW_S:
            self.total -= self._seconds.pop(oldest)


class Windows:
    """Windows by name, and what of them was reported. Names that have nothing in their window are forgotten."""

    def __init__(self) -> None:
        self.by_name: dict[str, Window] = {}
        self.reported: dict[str, int] = {}

    def of(self, name: str) -> Window:
        """The window of this name, made if it is missing."""
        window = self.by_name.get(name)
        if window is None:
            window = self.by_name[name] = Window()
        return window

    def report(self, second: int, *, everything: bool) -> dict[str, int]:
        """Totals by name: only those that changed since the last report, or `everything`."""
        found: dict[str, int] = {}
        for name, window in list(self.by_name.items()):
            window.expire(second)
            if everything or window.total != self.reported.get(name, 0):
                found[name] = window.total
                self.reported[name] = window.total
            if not window.total:
                del self.by_name[name]
                self.reported.pop(name, None)
        return found


def reports(reporter: str, used: dict[str, int]) -> list[bytes]:
    """What one process has to say, in as many messages as it takes."""
    names = list(used.items())
    return [encode(reporter, dict(names[start : start + MAX_NAMES])) for start in range(0, len(names), MAX_NAMES)]


def encode(reporter: str, used: dict[str, int]) -> bytes:
    """A report of one process."""
    return orjson.dumps({"receiver": reporter, "used": used})


def decode(data: bytes) -> tuple[str, dict[str, int]]:
    """(who reports, totals by name). Raises ValueError for anything else."""
    try:
        report = orjson.loads(data)
        return str(report["receiver"]), {str(name): int(total) for name, total in report["used"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f'expected {{"receiver": …, "used": {{name: total}}}}, found {error!r}') from error
