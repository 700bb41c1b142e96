"""Options of one bench run, shared by all measurements, and its figures."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ops.bench import load
from ops.bench.bodies import kinds
from ops.bench.figures import Figure
from ops.bench.load import Load, LoadPlan
from ops.bench.stack import CHANNEL, Stack

# All bodies of a turn are built before it starts; this limits their size.
MAX_BYTES: Final = 600_000_000


@dataclass(slots=True)
class BenchSession:
    """One run of the bench. `tell` prints a line of progress."""

    seconds: float
    turns: int
    backlog: int
    tell: Callable[[str], None]
    # Only abusive bodies whose name contains this text.
    bodies: str = ""
    # Numbers of rows over which questions are asked.
    rows: tuple[int, ...] = (3_000_000,)
    figures: list[Figure] = field(default_factory=list)
    _seeds: itertools.count[int] = field(default_factory=lambda: itertools.count(time.time_ns()))

    def add(self, figure: Figure) -> None:
        """Stores and prints a figure."""
        self.figures.append(figure)
        spread, ratio = figure.spread, figure.ratio
        beside = f", {ratio.median:.2f} of the baseline" if ratio else ""
        self.tell(f"{figure.name}: {spread.median:,.4g} {figure.unit}{beside}  {figure.verdict}")

    def plan(self, stack: Stack, kind: str, port: int, **changes: float | int) -> LoadPlan:
        """A plan for this stack with unused ids; a turn whose bodies would not fit into memory is shortened."""
        body = kinds.by_name()[kind].make(bytes(16))
        given: dict[str, float | int] = {"count": 1, "seconds": self.seconds} | changes
        given["count"] = max(1, min(int(given["count"]), MAX_BYTES // len(body)))
        return LoadPlan(kind, port, CHANNEL, stack.key, next(self._seeds), **given)  # type: ignore[arg-type]

    def load(self, stack: Stack, kind: str, port: int, **changes: float | int) -> Load:
        """Runs such a plan."""
        result = load.run(self.plan(stack, kind, port, **changes))
        stack.check()
        return result
