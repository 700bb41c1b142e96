"""Quota use: the units, the sliding minute, and the reports that processes send each other.

Receivers count requests and decompressed bytes, workers count rows. A report holds totals of the last minute, so it
does no harm if one is lost or arrives twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

# After this time everything that was counted has expired, so a waiting client has its whole quota again.
WINDOW_S: Final = 60
# Every process sends all its totals again at this interval, for new listeners.
EVERYTHING_S: Final = 2.0
# Maximum names in one report: far below the broker's message limit, however many keys have quotas.
MAX_NAMES: Final = 10_000


class Unit(StrEnum):
    """What a quota limits, per minute."""

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
    """The name of one count of a key or organisation. Requests have no suffix, because they came first."""
    return owner if unit is Unit.REQUESTS else f"{owner}:{unit}"


def split_name(name: str) -> tuple[str, Unit] | None:
    """The reverse of counter_name; None for a unit that this version does not know."""
    owner, _, unit = name.partition(":")
    if not unit:
        return owner, Unit.REQUESTS
    return (owner, Unit(unit)) if unit in set(Unit) else None


@dataclass(slots=True)
class Window:
    """An amount over the last WINDOW_S seconds, by second."""

    total: int = 0
    # The second for which `total` is right: within one second nothing expires.
    second: int = 0
    _seconds: dict[int, int] = field(default_factory=dict)

    def add(self, second: int, amount: int) -> None:
        """Adds an amount; `second` may be in the past. Expired amounts stay expired."""
        seconds = self._seconds
        seconds[second] = seconds.get(second, 0) + amount
        self.total += amount

    def take_back(self, second: int, amount: int) -> None:
        """Undoes `add`, as far as it is still within the window."""
        counted = self._seconds.get(second, 0)
        back = min(counted, amount)
        if back > 0:
            self._seconds[second] = counted - back
            self.total -= back

    def expire(self, second: int) -> None:
        """Removes what is older than the window, seen from `second`."""
        self.second = second
        while self._seconds and (oldest := next(iter(self._seconds))) <= second - WINDOW_S:
            self.total -= self._seconds.pop(oldest)


class Windows:
    """Windows by name, and which totals were reported. Empty windows are removed."""

    def __init__(self) -> None:
        self.by_name: dict[str, Window] = {}
        self.reported: dict[str, int] = {}

    def of(self, name: str) -> Window:
        """The window of this name, created if missing."""
        window = self.by_name.get(name)
        if window is None:
            window = self.by_name[name] = Window()
        return window

    def report(self, second: int, *, everything: bool) -> dict[str, int]:
        """Totals by name: those that changed since the last report, or all with `everything`."""
        totals: dict[str, int] = {}
        for name, window in list(self.by_name.items()):
            window.expire(second)
            if everything or window.total != self.reported.get(name, 0):
                totals[name] = window.total
                self.reported[name] = window.total
            if not window.total:
                del self.by_name[name]
                self.reported.pop(name, None)
        return totals


def reports(reporter: str, used: dict[str, int]) -> list[bytes]:
    """The report of one process, in as many messages as needed."""
    names = list(used.items())
    return [encode(reporter, dict(names[start : start + MAX_NAMES])) for start in range(0, len(names), MAX_NAMES)]


def encode(reporter: str, used: dict[str, int], health: Mapping[str, object] | None = None) -> bytes:
    """A report of one process. `health` is for `axonpush status`; who adds up numbers does not read it."""
    report = {"receiver": reporter, "used": used}
    return orjson.dumps(report if health is None else report | {"health": health})


def health_in(data: bytes) -> tuple[str, dict[str, Any]] | None:
    """(sender, health) of a report; None for one without."""
    try:
        report = orjson.loads(data)
        health = report.get("health")
        return (str(report["receiver"]), health) if isinstance(health, dict) else None
    except (ValueError, KeyError, AttributeError):
        return None


def decode(data: bytes) -> tuple[str, dict[str, int]]:
    """Returns (sender of the report, totals by name). Raises ValueError for anything else."""
    try:
        report = orjson.loads(data)
        return str(report["receiver"]), {str(name): int(total) for name, total in report["used"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f'expected {{"receiver": …, "used": {{name: total}}}}, found {error!r}') from error
