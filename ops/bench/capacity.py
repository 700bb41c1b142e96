"""Computes from measured costs how many receivers, workers, brokers and ClickHouse servers a rate of events needs.

`python -m ops.bench.capacity --write` takes costs from docs/benchmarks.md, which `make bench` writes, and writes
docs/capacity.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FIGURES: Final = ROOT / "docs" / "benchmarks.md"
PAGE: Final = ROOT / "docs" / "capacity.md"
BEGIN: Final = "<!-- from here to the next such line: python -m ops.bench.capacity --write -->"
END: Final = "<!-- end of what ops.bench.capacity writes -->"
RATES: Final = (1_000, 10_000, 100_000, 1_000_000)
PROCESSES: Final = ("receiver", "worker", "nats", "clickhouse")
DAY_S: Final = 86_400
MILLION: Final = 1e6
# Bytes of a stored message besides its body: subject, headers, record frame. Measured with SDK envelopes.
MESSAGE_BYTES: Final = 700

_PROCESSOR: Final = re.compile(
    r"^\| processor, (\w[\w-]*), (\w+) \| ([\d,.]+)[^|]*\| s a million rows \|", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of one kind of body: its rows; per row, bytes as sent and compressed; CPU seconds per million rows."""

    body_rows: int
    wire_bytes: float
    packed_bytes: float
    cpu_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Numbers that were not measured. Rates are peaks; disks are filled by the mean."""

    # The mix: how many of a hundred events are of which kind.
    mix: tuple[tuple[str, float], ...] = (("error", 0.05), ("transaction", 0.15), ("spans", 0.5), ("logs", 0.3))
    process_busy: float = 0.6
    mean_of_peak: float = 0.4
    broker_cores: int = 8
    broker_busy: float = 0.5
    # Bodies per second into one stream with three replicas on one disk each: docs/decisions/0006-cluster.md.
    stream_bodies_s: float = 5_000
    broker_replicas: int = 3
    clickhouse_cores: int = 16
    # The rest is for merges and queries.
    clickhouse_busy: float = 0.3
    clickhouse_replicas: int = 2
    clickhouse_disk_bytes: float = 8e12
    # Disk bytes of a row beside its compressed body: some columns repeat what `payload` holds.
    row_of_packed: float = 1.5
    retention_days: float = 30
    horizon_days: float = 1
    disk_full: float = 0.7


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """What a rate needs. `installations` share the channels; all other numbers are totals."""

    events_s: float
    bodies_s: float
    wire_bytes_s: float
    receivers: int
    workers: int
    installations: int
    brokers: int
    broker_disk_bytes: float
    clickhouse_shards: int
    clickhouse_servers: int
    clickhouse_disk_bytes: float


def plan(events_s: float, costs: Mapping[str, Cost], given: Assumptions) -> CapacityPlan:
    """The model. Raises KeyError for a kind of the mix without costs."""
    mix = [(costs[kind], share * events_s) for kind, share in given.mix]
    bodies_s = sum(rows_s / cost.body_rows for cost, rows_s in mix)
    wire_bytes_s = sum(cost.wire_bytes * rows_s for cost, rows_s in mix)
    cores = {name: sum(cost.cpu_s[name] * rows_s for cost, rows_s in mix) / MILLION for name in PROCESSES}
    # Every broker stores every stream of its installation, so each does the work of a single one.
    by_cores = cores["nats"] / (given.broker_cores * given.broker_busy)
    installations = max(1, ceil(max(by_cores, bodies_s / given.stream_bodies_s)))
    raw_bytes = (wire_bytes_s + MESSAGE_BYTES * bodies_s) * given.mean_of_peak * given.horizon_days * DAY_S
    packed_bytes_s = sum(cost.packed_bytes * rows_s for cost, rows_s in mix)
    table_bytes = packed_bytes_s * given.row_of_packed * given.mean_of_peak * given.retention_days * DAY_S
    by_disk = table_bytes / (given.clickhouse_disk_bytes * given.disk_full)
    shards = max(1, ceil(max(cores["clickhouse"] / (given.clickhouse_cores * given.clickhouse_busy), by_disk)))
    return CapacityPlan(
        events_s=events_s,
        bodies_s=bodies_s,
        wire_bytes_s=wire_bytes_s,
        receivers=max(2 * installations, ceil(cores["receiver"] / given.process_busy)),
        workers=max(2 * installations, ceil(cores["worker"] / given.process_busy)),
        installations=installations,
        brokers=installations * given.broker_replicas,
        broker_disk_bytes=raw_bytes / installations / given.disk_full,
        clickhouse_shards=shards,
        clickhouse_servers=shards * given.clickhouse_replicas,
        clickhouse_disk_bytes=table_bytes * given.clickhouse_replicas / given.disk_full,
    )


# --- costs: from what `make bench` wrote, or from the page itself


def processor_figures(text: str) -> dict[str, dict[str, float]]:
    """Processor seconds per million rows by kind and process, from docs/benchmarks.md or `make bench`'s JSON."""
    seconds_by_kind: dict[str, dict[str, float]] = {}
    for kind, process, value in _processor_values(text):
        seconds_by_kind.setdefault(kind, {})[process] = round(value, 1)
    return seconds_by_kind


def _processor_values(text: str) -> list[tuple[str, str, float]]:
    if not text.lstrip().startswith("{"):
        return [(kind, name, float(value.replace(",", ""))) for kind, name, value in _PROCESSOR.findall(text)]
    figures = json.loads(text)["figures"]
    named = [
        (figure["name"].split(", "), figure["spread"]["median"])
        for figure in figures
        if figure["name"].startswith("processor, ")
    ]
    return [(kind, process, value) for (_, kind, process), value in named]


def read_costs(text: str, given: Assumptions) -> dict[str, Cost]:
    """Costs of the kinds in the mix, with the sizes of the measured bodies. Raises SystemExit."""
    from ops.bench.bodies import kinds  # noqa: PLC0415 (needs the extra `dev`, and makes bodies with real SDKs)

    figures, by_name, costs = processor_figures(text), kinds.by_name(), {}
    for kind, _ in given.mix:
        cpu_s = figures.get(kind, {})
        if missing := [name for name in PROCESSES if name not in cpu_s]:
            sys.exit(f"expected figures `processor, {kind}, …` for {', '.join(missing)}, found none: run `make bench`")
        rows = by_name[kind].rows
        body = by_name[kind].make(kinds.tokens(1, 1)[0])
        packed = body if body[:2] == b"\x1f\x8b" else gzip.compress(body, mtime=0)
        costs[kind] = Cost(rows, round(len(body) / rows, 1), round(len(packed) / rows, 1), cpu_s)
    return costs


def costs_of_page(text: str) -> dict[str, Cost]:
    """The costs that stand in docs/capacity.md; empty where it has none."""
    costs = {}
    for line in text.splitlines():
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        if len(cells) == 4 + len(PROCESSES) and cells[1].isdigit():
            kind, rows, wire, packed, *cpu_s = cells
            named = dict(zip(PROCESSES, map(float, cpu_s), strict=True))
            costs[kind] = Cost(int(rows), float(wire), float(packed), named)
    return costs


# --- the page


def block(costs: Mapping[str, Cost], given: Assumptions) -> str:
    """Both tables: the measured costs, and the result."""
    heads = ("kind of body", "rows in it", "bytes a row, as sent", "packed", *(f"{name}, s" for name in PROCESSES))
    rows = [_cost_cells(kind, cost) for kind, cost in costs.items()]
    plans = [plan(rate, costs, given) for rate in RATES]
    needs = [("", *(f"{need.events_s:,.0f}/s" for need in plans)), *_needs(plans)]
    return "\n".join((BEGIN, "", *_table(heads, rows), "", *_table(needs[0], needs[1:]), "", END))


def _cost_cells(kind: str, cost: Cost) -> tuple[str, ...]:
    sizes = (_one(cost.wire_bytes), _one(cost.packed_bytes))
    return (kind, f"{cost.body_rows}", *sizes, *(_one(cost.cpu_s[name]) for name in PROCESSES))


def _needs(plans: Sequence[CapacityPlan]) -> list[tuple[str, ...]]:
    lines = {
        "bodies a second": [f"{plan.bodies_s:,.0f}" for plan in plans],
        "network in": [f"{plan.wire_bytes_s * 8 / MILLION:,.0f} Mbit/s" for plan in plans],
        "receiver processes": [f"{plan.receivers:,}" for plan in plans],
        "worker processes": [f"{plan.workers:,}" for plan in plans],
        "installations (streams, channels divided)": [f"{plan.installations:,}" for plan in plans],
        "brokers": [f"{plan.brokers:,}" for plan in plans],
        "disk of each broker": [_bytes(plan.broker_disk_bytes) for plan in plans],
        "ClickHouse servers (shards x copies)": [
            f"{plan.clickhouse_servers:,} ({plan.clickhouse_shards} x "
            f"{plan.clickhouse_servers // plan.clickhouse_shards})"
            for plan in plans
        ],
        "disk of all ClickHouse servers": [_bytes(plan.clickhouse_disk_bytes) for plan in plans],
    }
    return [(name, *cells) for name, cells in lines.items()]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rules = ["---", *("---:" for _ in heads[1:])]
    return ["| " + " | ".join(row) + " |" for row in (heads, rules, *rows)]


def _one(value: float) -> str:
    return f"{value:,.1f}"


def _bytes(size_bytes: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:,.1f} {name}"
    return f"{max(1, ceil(size_bytes / 1e9)):,} GB"


def with_block(page: str, text: str) -> str:
    """The page with its tables replaced. Raises ValueError if the marker lines are missing."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the lines {BEGIN!r} and {END!r}, found one or none")
    return head + text + tail


def main() -> None:
    """Prints both tables, or writes them into the page. Exit codes: 0 done, 1 no figures."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.capacity", description=__doc__)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="docs/benchmarks.md, or `make bench`'s JSON")
    parser.add_argument("--write", action="store_true", help="write them into docs/capacity.md")
    arguments = parser.parse_args()
    if not arguments.figures.exists():
        sys.exit(f"expected figures in {arguments.figures}, found no such file: run `make bench`")
    given = Assumptions()
    text = block(read_costs(arguments.figures.read_text(), given), given)
    if arguments.write:
        PAGE.write_text(with_block(PAGE.read_text(), text))
    else:
        print(text)


if __name__ == "__main__":
    main()
