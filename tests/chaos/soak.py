"""`make soak`: a steady load for a long time, memory and lag sampled; flat is the claim, the table the evidence."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.chaos import trial
from tests.chaos.bodies import WIDE_KINDS
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load

CHANNEL = 2001
SAMPLE_S = 5.0
MIB = 1024**2
# Caches fill and allocators settle in the first fifth; from there on nothing may grow by more than this.
WARM_UP = 0.2
MAX_GROWTH = 0.15
MAX_GROWTH_BYTES = 40 * MIB
DOCUMENT = Path(__file__).parents[2] / "docs" / "soak.md"
INTRODUCTION = """# A long run

`make soak` writes this page. {acknowledged:,} records were acknowledged in {minutes:.1f} minutes at a steady rate, on
one machine that also runs the load ({senders} senders). **Lost: {lost:,}. Doubled: {doubled:,}.**

Sampled every {sample_s:.0f} s, without the warm-up (the first fifth). Messages being processed: on average
{lag_first:.0f} in the first half of the rest and {lag_last:.0f} in the second; maximum {lag_most:,}.

"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident bytes by process, and messages on their way."""

    memory_bytes: dict[str, int]
    queued: int


def main() -> int:
    """0 when nothing was lost or doubled and no process grew."""
    arguments = _arguments()
    senders = 16
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        try:
            fleet.start()
            load = Load(
                fleet.urls(),
                CHANNEL,
                fleet.channel(CHANNEL),
                senders=senders,
                rate_s=arguments.rate,
                kinds=WIDE_KINDS,
            ).start()
            samples = _watch(fleet, load, arguments.minutes * 60)
            load.stop()
            trial.settle(fleet)
            result = trial.reckon(fleet, "soak", CHANNEL, load, 0.0)
        finally:
            fleet.end()
    rows = _rows(samples)
    Console().print(_table(rows))
    Console().print(f"acknowledged {result.acknowledged:,}, lost {result.lost:,}, doubled {result.doubled:,}")
    if arguments.write:
        DOCUMENT.write_text(_document(result, samples, rows, arguments.minutes, senders))
    return 0 if result.is_clean and not any(row.grew for row in rows) else 1


def _watch(fleet: Fleet, load: Load, seconds: float) -> list[Sample]:
    """A sample every SAMPLE_S, until the time is over."""
    samples: list[Sample] = []
    began = time.monotonic()
    with Progress(transient=True) as progress:
        task = progress.add_task("soak", total=seconds)
        while (passed := time.monotonic() - began) < seconds:
            time.sleep(SAMPLE_S)
            samples.append(Sample(_memory(fleet), asyncio.run(trial.queued(fleet))))
            progress.update(
                task, completed=passed, description=f"{len(load.acknowledged):,} records, {samples[-1].queued} queued"
            )
    return samples


def _memory(fleet: Fleet) -> dict[str, int]:
    return {name: _resident_bytes(pid) for name, pid in fleet.pids().items()}


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class Row:
    """A process: mean resident bytes in the first and second half after the warm-up."""

    name: str
    first_bytes: float
    second_bytes: float

    @property
    def grew(self) -> bool:
        """By more than noise."""
        growth = self.second_bytes - self.first_bytes
        return growth > MAX_GROWTH_BYTES and growth > MAX_GROWTH * self.first_bytes


def _halves(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    warm = samples[int(len(samples) * WARM_UP) :]
    return warm[: len(warm) // 2], warm[len(warm) // 2 :]


def _rows(samples: list[Sample]) -> list[Row]:
    first, second = _halves(samples)

    def average(half: list[Sample], name: str) -> float:
        return mean(sample.memory_bytes[name] for sample in half)

    return [Row(name, average(first, name), average(second, name)) for name in samples[-1].memory_bytes]


def _table(rows: list[Row]) -> Table:
    made = Table("process", "first half, MiB", "second half, MiB")
    for row in rows:
        made.add_row(row.name, *_cells(row), style="bold red" if row.grew else "")
    return made


def _cells(row: Row) -> tuple[str, str]:
    return f"{row.first_bytes / MIB:.0f}", f"{row.second_bytes / MIB:.0f}"


def _document(result: trial.Result, samples: list[Sample], rows: list[Row], minutes: float, senders: int) -> str:
    first, second = _halves(samples)
    text = INTRODUCTION.format(
        acknowledged=result.acknowledged,
        minutes=minutes,
        senders=senders,
        lost=result.lost,
        doubled=result.doubled,
        sample_s=SAMPLE_S,
        lag_first=mean(sample.queued for sample in first),
        lag_last=mean(sample.queued for sample in second),
        lag_most=max(sample.queued for sample in (*first, *second)),
    )
    lines = ["| process | first half, MiB | second half, MiB |", "| --- | --- | --- |"]
    lines += [f"| {row.name} | {' | '.join(_cells(row))} |" for row in rows]
    return text + "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--rate", type=float, default=65.0, help="requests a second (default 65)")
    parser.add_argument("--write", action="store_true", help="write docs/soak.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
