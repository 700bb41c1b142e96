"""`make chaos`: every fault under load, one after another; prints the table and writes it where docs have it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.chaos import trial
from tests.chaos.faults import FAULTS, Entry
from tests.chaos.report import cells, markdown, table
from tests.chaos.sites import sites

FIRST_CHANNEL = 1001
DOCUMENT = Path(__file__).parents[2] / "docs" / "chaos.md"


def main() -> int:
    """0 when nothing was lost or doubled anywhere, else 1."""
    arguments = _arguments()
    chosen = [one for one in FAULTS if arguments.only.lower() in one.name.lower()]
    if not chosen:
        sys.stderr.write(f"no fault is called {arguments.only!r}; there are: {', '.join(one.name for one in FAULTS)}\n")
        return 2
    results = _run(chosen, arguments.seconds)
    Console().print(table(results))
    if not arguments.only:
        DOCUMENT.write_text(markdown(results, arguments.seconds))
    return 0 if all(one.is_clean for one in results) else 1


def _run(chosen: list[Entry], seconds: float) -> list[trial.Result]:
    results: list[trial.Result] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        sites(Path(folder)) as at,
        Progress(*columns, transient=True) as progress,
    ):
        for channel, one in enumerate(chosen, FIRST_CHANNEL):
            if reason := one.why_not():
                progress.console.print(f"{one.name}: not tried: {reason}")
                continue
            task = progress.add_task(one.name)
            lasting = max(seconds, one.least_s)
            results.append(
                trial.run(at(one.site), one.name, one.fault, channel, lasting, most_p99_s=one.most_p99_s, **one.load)
            )
            progress.remove_task(task)
            progress.console.print(" | ".join(cells(results[-1])))
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each fault goes on (default 20)")
    parser.add_argument("--only", default="", help="faults whose name holds this text; nothing is written then")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
