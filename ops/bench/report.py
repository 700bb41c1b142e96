"""Shows figures as a table, a page for docs/, and JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from ops.bench import machine
from ops.bench.figures import Figure, Spread

COLUMNS: Final = ("figure", "ours", "unit", "baseline", "ratio", "bar / aim", "reached", "notes")
_ABOUT: Final = """\
# Benchmarks

A complete run of `make bench` writes this page; do not edit it. A figure is the median of its turns, with its range
in brackets. The baseline is the least work that could do the same; figure and baseline run in turns, and the ratio is
that of each pair. Compare ratios, because rates depend on the machine. All run on one machine: load generator,
receiver, broker, workers and the embedded ClickHouse engine. `sync_interval: always`: every accepted request is on
disk. Stored rows are counted in ClickHouse. The Sentry and OpenTelemetry SDKs make the bodies, and every request has
its own ids. `ops/bench/load.py` says why the load generator is not wrk.
"""

_QUESTIONS: Final = "## Questions"
_ABOUT_QUESTIONS: Final = """\
`make bench ARGS="--only questions"` writes this section; with `--full` it also asks over 30 million rows. Rows of seven
days: spans, logs, errors, 2.5 % stored twice, 2.5 % replayed, 0.3 % replaced by other content. Days that are over are
one part, as six hours after their last row; then an hour of one of them was replayed. Asked as the reader of
`ready.json`. The baseline is the same query of the bare table, which counts duplicates twice.
"""


def show(figures: Sequence[Figure], console: Console) -> None:
    """Prints the table."""
    table = Table(title=f"{machine.describe()}, commit {machine.commit()}", title_justify="left", header_style="bold")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, overflow="fold", justify="right" if number in {1, 3, 4} else "left")
    for figure in figures:
        style = "red" if figure.verdict.startswith("missed") else ""
        table.add_row(*_cells(figure), style=style)
    console.print(table)


def page(figures: Sequence[Figure], failures: Mapping[str, str]) -> str:
    """The content of docs/benchmarks.md. `failures` are groups that could not be measured, with the reason."""
    now = dt.datetime.now(dt.UTC)
    about = f"{now:%Y-%m-%d}, commit {machine.commit()}, {machine.describe()}."
    unmeasured = [f"Not measured: {name} ({' '.join(reason.split())[:200]})." for name, reason in failures.items()]
    return "\n".join((_ABOUT, about, "", *unmeasured, *([""] if unmeasured else []), *_lines(figures), ""))


def with_first_section(page_text: str, first_section: str) -> str:
    """The page with another first section; that of questions stays."""
    questions = page_text.partition(f"\n{_QUESTIONS}\n")[2]
    return f"{first_section}\n{_QUESTIONS}\n{questions}" if questions else first_section


def with_questions(page_text: str, figures: Sequence[Figure]) -> str:
    """The page with these figures as its section of questions, in place of the one that it has."""
    now = dt.datetime.now(dt.UTC)
    about = f"{now:%Y-%m-%d}, commit {machine.commit()}, {machine.describe()}, {machine.busy():.1f} runnable processes."
    before = page_text.partition(f"\n{_QUESTIONS}\n")[0].rstrip("\n")
    return "\n".join((before, "", _QUESTIONS, "", _ABOUT_QUESTIONS, about, "", *_lines(figures), ""))


def as_json(figures: Sequence[Figure]) -> dict[str, Any]:
    """For scripts."""
    documents = [figure.as_json() for figure in figures]
    return {"machine": machine.describe(), "commit": machine.commit(), "figures": documents}


def _lines(figures: Sequence[Figure]) -> list[str]:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(_cells(figure) for figure in figures)]
    return ["| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in row) + " |" for row in rows]


def _cells(figure: Figure) -> tuple[str, ...]:
    target = figure.target
    wanted = f"{_number(target.bar)} / {_number(target.aim)}" if target else ""
    baseline = f"{_spread(figure.baseline_spread)} ({figure.baseline_name})" if figure.baseline_spread else ""
    ratio = _spread(figure.ratio) if figure.ratio else ""
    return (
        figure.name,
        _spread(figure.spread),
        figure.unit,
        baseline,
        ratio,
        wanted,
        figure.verdict,
        figure.note,
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.low == spread.high:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    """A number with three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
