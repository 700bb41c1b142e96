"""A load of several kinds at once, beside what its parts cost alone: what one process for all item types is worth."""

from __future__ import annotations

import subprocess
from typing import Final

from ops.bench import load
from ops.bench.bodies import kinds
from ops.bench.figures import Figure, FigureTarget
from ops.bench.session import BenchSession
from ops.bench.stack import Stack, running
from ops.bench.storing import Readings, connections_of, stored, until_settled
from ops.runtime.failures import Failed

# Shares of the rows.
SHARES: Final = {"error": 0.05, "transaction": 0.15, "spans": 0.50, "logs": 0.30}
ROWS_S: Final = 20_000
# Far below what any machine stores: every flush has few rows of each type, as most systems have all day.
PACED_ROWS_S: Final = 1_500
PACED_S: Final = 15.0
_TABLE: Final = "event_rows"
_RATE: Final = FigureTarget(0.8, 1.0)


def mixed(session: BenchSession) -> None:
    """Rows stored per second of a mixed load, and processor time by process, beside the sum of its parts."""
    rates, spent = [], []
    part_rates, part_spent = [], []
    for _ in range(session.turns):
        parts = {kind: stored(session, kind) for kind in SHARES}
        part_rates.append(1 / sum(share / parts[kind][0] for kind, share in SHARES.items()))
        names = parts["error"][1]
        part_spent.append({name: sum(s * parts[kind][1][name] for kind, s in SHARES.items()) for name in names})
        rate, by_process = _store_rows(session)
        rates.append(rate)
        spent.append(by_process)
    said = ", ".join(f"{share:.0%} {kind}" for kind, share in SHARES.items())
    name = "sum of its parts"
    session.add(Figure("stored, mixed", "rows/s", tuple(rates), tuple(part_rates), name, _RATE, f"rows: {said}"))
    for process in spent[0]:
        ours, alone = (tuple(turn[process] for turn in turns) for turns in (spent, part_spent))
        session.add(Figure(f"processor, mixed, {process}", "s a million rows", ours, alone, name))
    paced = [_store_rows(session, PACED_ROWS_S)[1] for _ in range(session.turns)]
    for process in paced[0]:
        name = f"processor, mixed at {PACED_ROWS_S:,} rows/s, {process}"
        session.add(Figure(name, "s a million rows", tuple(turn[process] for turn in paced)))


def _store_rows(session: BenchSession, rows_s: int = 0) -> tuple[float, dict[str, float]]:
    """Rows per second until all are stored, and CPU seconds per million rows by process, of one new system.

    As many as go, or so many a second.
    """
    with running(clickhouse=True) as stack:
        port = stack.start_receiver()
        stack.start_workers()
        for kind in SHARES:
            session.load(stack, kind, port, count=max(1, 400 // kinds.by_name()[kind].rows), seconds=5.0)
        until_settled(stack)
        return _measure(session, stack, port, rows_s)


def _measure(session: BenchSession, stack: Stack, port: int, rows_s: int) -> tuple[float, dict[str, float]]:
    known = kinds.by_name()
    rows = rows_s * PACED_S if rows_s else ROWS_S * session.seconds
    counts = {kind: max(1, int(rows * share / known[kind].rows)) for kind, share in SHARES.items()}
    before, cpu = stack.stored(_TABLE), stack.cpu_s()
    sending = _send(session, stack, port, counts, rows_s)
    readings = Readings(stack, before, _TABLE)
    while any(process.poll() is None for process in sending.values()):
        readings.take()
    results = {kind: load.result(process) for kind, process in sending.items()}
    sent = sum(result.accepted * known[kind].rows for kind, result in results.items())
    readings.take_until(sent)
    stored_rows = readings.counts[-1] - before
    if stored_rows < sent:
        raise Failed(f"expected {sent} rows of a mixed load, found {stored_rows}")
    spent = {name: (value - cpu[name]) / stored_rows * 1e6 for name, value in stack.cpu_s().items()}
    # All processes use the same monotonic clock of this machine.
    began_s = min(result.began_s for result in results.values())
    return stored_rows / (readings.times_s[-1] - began_s), spent


def _send(
    session: BenchSession, stack: Stack, port: int, counts: dict[str, int], rows_s: int
) -> dict[str, subprocess.Popen[bytes]]:
    """The generators of all kinds; each kind has its part of the connections."""
    plans = []
    for kind, count in counts.items():
        rate = rows_s * SHARES[kind] / kinds.by_name()[kind].rows
        connections = connections_of(kind, 1 / len(SHARES))
        plans.append(session.plan(stack, kind, port, count=count, connections=connections, rate=rate, seconds=60.0))
    return dict(zip(counts, load.start_together(plans), strict=True))
