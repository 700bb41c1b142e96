"""The results as people read them: a table in the terminal, the same in docs/."""

from __future__ import annotations

import os
import platform

from rich.table import Table

from tests.chaos.trial import Result

HEADINGS = ("fault", "acknowledged", "lost", "doubled", "other outcomes", "p99 meanwhile", "found again after")
INTRODUCTION = """# What happens when things break

`make chaos` writes this page. It runs real processes (two receivers, two processes with every worker, a janitor, one
broker, the ClickHouse engine), load over HTTP, and faults of {seconds:.0f} s each (ClickHouse is away for a minute),
one after another on the same system. Three brokers, and a small disk, have separate systems; full disks are tested with
`axonpush up` on file systems of a few megabytes, without any manual restart.

- **acknowledged**: records whose request got a 200. A sender repeats the same bytes until it gets a final answer.
- **lost**: acknowledged records that SQL does not find at the end. **doubled**: those it finds more than once.
- **other outcomes**: what `outcomes` counts besides rows: records that the test sends to be refused or rejected.
- **p99 meanwhile**: 99 of 100 requests with a 200 during the fault were answered within this time.
- **found again after**: from the end of the fault until SQL finds all records acknowledged by then.

{machine}. The times depend on this machine, which also runs the load; the zeros must hold everywhere.

"""


def cells(result: Result) -> tuple[str, ...]:
    """One row of either table."""
    others = ", ".join(f"{n:,} {name}" for name, n in sorted(result.others.items()))
    return (
        result.fault,
        f"{result.acknowledged:,}",
        f"{result.lost:,}",
        f"{result.doubled:,}",
        others or "none",
        f"{result.p99_s * 1000:,.0f} ms",
        f"{result.recovered_s:.1f} s",
    )


def table(results: list[Result]) -> Table:
    """For the terminal; what is not clean stands out."""
    made = Table(*HEADINGS)
    for result in results:
        made.add_row(*cells(result), style="" if result.is_clean else "bold red")
    return made


def markdown(results: list[Result], seconds: float) -> str:
    """For docs/chaos.md."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(cells(result) for result in results)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return INTRODUCTION.format(seconds=seconds, machine=machine) + "\n".join(lines) + "\n"
