"""Figures and their arithmetic: medians, ranges, ratios in pairs. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

Better = Literal["more", "less"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeats of one measurement."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value; raises ValueError for none."""
        if not values:
            raise ValueError("expected at least one measurement, found none")
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class FigureTarget:
    """The target of a figure, or of its ratio to the baseline: at least (or at most) `bar`, better `aim`."""

    bar: float
    aim: float
    better: Better = "more"

    def verdict(self, value: float) -> str:
        """`aim`, `bar`, or by how much the bar is missed."""
        if self._reaches(value, self.aim):
            return "aim"
        if self._reaches(value, self.bar):
            return "bar"
        missed = abs(value / self.bar - 1)
        return f"missed by {missed:.0%}"

    def _reaches(self, value: float, limit: float) -> bool:
        return value >= limit if self.better == "more" else value <= limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `ours` and `baseline` are repeats, which ran in turns.

    `target` is for the ratio if there is a baseline, else for the median.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...] = ()
    baseline_name: str = ""
    target: FigureTarget | None = None
    note: str = ""

    @property
    def spread(self) -> Spread:
        return Spread.of(self.ours)

    @property
    def baseline_spread(self) -> Spread | None:
        return Spread.of(self.baseline) if self.baseline else None

    @property
    def ratio(self) -> Spread | None:
        """Ours divided by the baseline, turn by turn, so that a busy machine affects both; None without a baseline."""
        if not self.baseline:
            return None
        return Spread.of([ours / other for ours, other in zip(self.ours, self.baseline, strict=True)])

    @property
    def verdict(self) -> str:
        """The comparison with the target; empty without one."""
        if self.target is None:
            return ""
        return self.target.verdict((self.ratio or self.spread).median)

    def as_json(self) -> dict[str, Any]:
        """For scripts: repeats, medians, ranges."""
        derived = {"spread": asdict(self.spread), "ratio": asdict(self.ratio) if self.ratio else None}
        return asdict(self) | derived | {"verdict": self.verdict}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all do not exceed (nearest rank). Raises ValueError for none."""
    if not values:
        raise ValueError("expected at least one value, found none")
    ordered = sorted(values)
    rank = -(-share * len(ordered) // 1)  # rounded up
    return ordered[min(len(ordered), max(1, int(rank))) - 1]


def rate(times_s: Sequence[float], counts: Sequence[int], total: int) -> float:
    """Growth per second of a counter, from the first reading to the first one that has reached `total`.

    Raises ValueError if none has.
    """
    if not counts:
        raise ValueError("expected readings, found none")
    for moment_s, count in zip(times_s, counts, strict=True):
        if count - counts[0] >= total:
            return total / (moment_s - times_s[0])
    raise ValueError(f"expected {total} in the end, found {counts[-1] - counts[0]}")
