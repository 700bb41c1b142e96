"""The results as people read them: a table in the terminal, the same in docs/."""

from __future__ import annotations

import os
import platform

from rich.table import Table

from tests.chaos.trial import Result

HEADINGS = ("fault", "acknowledged", "lost", "doubled", "other outcomes", "p99 meanwhile", "found again after")
INTRODUCTION = """# What happens when things break

Written by `make chaos`: real processes (two receivers, two processes with every worker, a janitor, one broker, the
ClickHouse engine), load from outside over HTTP, faults of {seconds:.0f} s each (ClickHouse is away for a minute), one
after another on the same system; three brokers and a small disk have systems of their own, and full disks an
`axonpush up` on file systems of a few megabytes, which nobody restarts anything of.

- **acknowledged**: records whose request got a 200. A sender repeats the same bytes until it gets a final answer.
- **lost**: acknowledged records that SQL does not find at the end. **doubled**: those it finds more than once.
- **other outcomes**: what `outcomes` counts beside rows: refused or rejected on purpose by the fault's load.
- **p99 meanwhile**: the time within which 99 of 100 requests that got a 200 during the fault were answered.
- **found again after**: from the end of the fault until all that was acknowledged by then is found by SQL.

{machine}. The times are of this machine, which also runs the load; the zeros are the point.

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
