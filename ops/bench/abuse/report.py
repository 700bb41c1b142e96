"""Tables of `make bench --only abuse`: the worst per kilobyte sent, all that miss the limit, and good data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ops.bench.abuse.search import AbuseFigure, Good
    from ops.bench.abuse.site import BodyCost

SHOWN: Final = 10
_COLUMNS: Final = (
    "body", "sent, bytes", "inflated, bytes", "answer", "processor s", "s per kB sent", "s per MB inflated",
    "times good data", "receiver held, ms", "worker held, ms", "peak, MB",
)  # fmt: skip


def show(seen: Sequence[AbuseFigure], good: Mapping[str, Good], console: Console) -> None:
    """Prints the ten worst per kilobyte sent, good data, and bodies that miss the limit."""
    ranked = sorted(seen, key=lambda figure: figure.cost.per_sent_kb_s, reverse=True)
    _table(
        f"The {SHOWN} worst of {len(seen)} bodies, by processor seconds for each kilobyte sent", ranked[:SHOWN], console
    )
    _good(good, console)
    missed = sorted((figure for figure in seen if figure.is_missed), key=lambda figure: figure.times, reverse=True)
    if missed:
        _table(f"{len(missed)} of {len(seen)} miss the bar", missed, console)
    else:
        console.print(f"none of {len(seen)} misses the bar")


def _table(title: str, seen: Sequence[AbuseFigure], console: Console) -> None:
    table = _new_table(title)
    for figure in seen:
        style = "red" if figure.is_missed else ""
        table.add_row(_figure_name(figure), *_cells(figure.cost, f"{figure.times:,.1f}"), style=style)
    console.print(table)


def _good(good: Mapping[str, Good], console: Console) -> None:
    table = _new_table("Good data")
    for name, baseline in good.items():
        table.add_row(name, *_cells(baseline.cost, "1"))
    console.print(table)


def _new_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(_COLUMNS):
        table.add_column(column, overflow="fold", justify="right" if number else "left")
    return table


def _figure_name(figure: AbuseFigure) -> str:
    shape = figure.kind.shape
    return f"{figure.kind.name} (text {shape.text}, width {shape.width}, depth {shape.depth})"


def _cells(cost: BodyCost, times: str) -> tuple[str, ...]:
    more = "more than " if cost.is_cut else ""
    return (
        f"{cost.sent_bytes:,} {cost.coding}",
        f"{cost.inflated_bytes:,}",
        str(cost.status or "none"),
        f"{more}{cost.cpu_s:.3f}",
        f"{cost.per_sent_kb_s:,.3f}",
        f"{cost.per_mb_s:,.3f}",
        times,
        f"{cost.receiver_held_s * 1e3:,.0f}",
        f"{more}{cost.worker_held_s * 1e3:,.0f}",
        f"{cost.peak_bytes / 1e6:,.0f}",
    )
