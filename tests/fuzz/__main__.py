"""`python -m tests.fuzz [--inputs N] [--seed S] [TARGET...]`: runs targets, prints one table, exits 1 on an escape."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.fuzz import bench
from tests.fuzz.bench import Total
from tests.fuzz.targets import TABLE

INPUTS = 200_000
PROCESSES = 2
WIDTH = 120


def main() -> int:
    """Runs what was asked for; the exit code is 1 if a target failed."""
    arguments = _arguments()
    if arguments.input is not None:
        return _one(arguments.targets, arguments.seed, arguments.input)
    totals = _run(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(_table(totals, arguments.seed))
    failures = [f"{total.target}: {failure}" for total in totals for failure in total.failures]
    for failure in failures:
        console.print(failure, style="red", markup=False, highlight=False)
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TABLE)}; or the start of several")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="inputs for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="side by side (default: %(default)s)")
    parser.add_argument("--input", type=int, help="run this one input of one target alone, and print it")
    found = parser.parse_args()
    wanted = found.targets or [""]
    found.targets = [name for name in TABLE if any(name.startswith(start) for start in wanted)]
    unknown = [start for start in wanted if not any(name.startswith(start) for name in TABLE)]
    if unknown:
        parser.error(f"expected targets of {', '.join(TABLE)}; found {', '.join(unknown)}")
    return found


def _run(arguments: argparse.Namespace) -> list[Total]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {name: progress.add_task(name, total=arguments.inputs, start=False) for name in arguments.targets}

        def on_progress(total: Total) -> None:
            progress.start_task(tasks[total.target])
            progress.update(tasks[total.target], completed=total.done)

        return bench.run_all(arguments.targets, arguments.inputs, arguments.seed, arguments.processes, on_progress)


def _one(names: list[str], seed: int, index: int) -> int:
    """One input in this process: its bytes, and its outcome or its traceback."""
    if len(names) != 1:
        sys.exit("expected exactly one TARGET beside --input")
    target = TABLE[names[0]]
    data = bench.input_of(target, seed, index)
    sys.stdout.write(f"{data!r}\n")
    try:
        sys.stdout.write("accepted\n" if target.run(data) else "refused\n")
    except target.may_raise as error:
        sys.stdout.write(f"refused: {error!r}\n")
    return 0


def _table(totals: list[Total], seed: int) -> Table:
    table = Table(title=f"seed {seed}")
    for heading in ("target", "inputs", "accepted", "refused", "escapes", "memory", "seconds"):
        table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
    for total in totals:
        counts = (f"{number:,}" for number in (total.done, total.accepted, total.refused, len(total.escapes)))
        table.add_row(total.target, *counts, f"{total.growth_bytes / 1e6:+.1f} MB", f"{total.elapsed_s:.0f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
