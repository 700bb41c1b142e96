"""Measures the receiver alone with its broker: accepted per second, latency, price of counts, memory."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from typing import Final

from ops.bench import machine
from ops.bench.figures import Figure, FigureTarget
from ops.bench.session import BenchSession
from ops.bench.stack import CHANNEL, HOST, NO_COUNTS, Stack, running

# More bodies than can be answered, so that time ends a turn.
BASELINE_PER_S: Final = 30_000
OURS_PER_S: Final = 12_000
# An answer waits for the disk: with few senders the disk is the limit, not the receiver (so 64 are measured too).
CONNECTIONS: Final = 256
FEW_CONNECTIONS: Final = 64
IDLE_CONNECTIONS: Final = 5_000
SLOW_BODY_BYTES: Final = 5_900_000
SLOW_SENDERS: Final = 12
ASKED_ONE_BY_ONE: Final = 200


def rates(session: BenchSession) -> None:
    """Error envelopes: accepted per second by one receiver process, beside the baseline; then latency at half of that
    rate.
    """
    with running() as stack:
        port, baseline_port = stack.start_receiver(settings=NO_COUNTS), stack.start_baseline()
        _rate(session, stack, ("error", CONNECTIONS), (port, baseline_port), FigureTarget(0.20, 0.35))
        accepted_s = next(figure for figure in session.figures if "error, accepted" in figure.name).spread.median
        _latency(session, stack, port, accepted_s / 2)
        _rate(session, stack, ("error", FEW_CONNECTIONS), (port, baseline_port))
        for kind in ("error-small", "spans"):
            _rate(session, stack, (kind, CONNECTIONS), (port, baseline_port))


def _rate(
    session: BenchSession,
    stack: Stack,
    sent: tuple[str, int],
    both: tuple[int, int],
    target: FigureTarget | None = None,
) -> None:
    """`sent` is the kind of body and the number of connections, `both` the ports of receiver and baseline."""
    kind, connections = sent
    rates_s: dict[str, list[float]] = {"receiver": [], "baseline": []}
    costs_us: dict[str, list[float]] = {"receiver": [], "baseline": []}
    heavy = 15 if kind == "spans" else 1
    for _ in range(session.turns):
        for name, port, per_s in (("receiver", both[0], OURS_PER_S), ("baseline", both[1], BASELINE_PER_S)):
            before_s = machine.cpu_s(stack.pid(name))
            count = int(per_s / heavy * session.seconds)
            done = session.load(stack, kind, port, count=count, connections=connections)
            rates_s[name].append(done.accepted_s)
            costs_us[name].append((machine.cpu_s(stack.pid(name)) - before_s) / done.sent * 1e6)
    for name, unit, measured, wanted in (
        ("accepted on disk", "requests/s", rates_s, target),
        ("processor", "us a request", costs_us, None),
    ):
        ours, baseline = tuple(measured["receiver"]), tuple(measured["baseline"])
        title = f"receiver, {kind}, {name}, {connections} connections"
        session.add(Figure(title, unit, ours, baseline, "same server, answers 200", wanted))


def _latency(session: BenchSession, stack: Stack, port: int, rate: float) -> None:
    p50, p99 = [], []
    for _ in range(session.turns):
        count = int(rate * session.seconds)
        done = session.load(stack, "error", port, count=count, connections=CONNECTIONS, rate=rate)
        p50.append(done.p50_ms)
        p99.append(done.p99_ms)
    note = f"{rate:,.0f}/s, half of what was accepted at full load; from the moment a request was due"
    session.add(Figure("receiver, error, p50 at half rate", "ms", tuple(p50), note=note))
    session.add(
        Figure("receiver, error, p99 at half rate", "ms", tuple(p99), target=FigureTarget(30, 10, "less"), note=note)
    )


def counts(session: BenchSession) -> None:
    """What waiting for the workers' counts adds to a request at low load: two receivers, in turns."""
    with running(clickhouse=True) as stack:
        waiting = stack.start_receiver("receiver")
        never = stack.start_receiver("receiver-0", NO_COUNTS)
        stack.start_workers()
        for kind in ("error", "tiny"):
            _median(session, stack, kind, waiting)  # warm-up
            added = [
                _median(session, stack, kind, waiting) - _median(session, stack, kind, never)
                for _ in range(session.turns)
            ]
            name = f"counts round trip added to a request, {kind}, p50"
            session.add(
                Figure(name, "ms", tuple(added), target=FigureTarget(25, 5, "less"), note="one request at a time")
            )


def _median(session: BenchSession, stack: Stack, kind: str, port: int) -> float:
    return session.load(stack, kind, port, count=ASKED_ONE_BY_ONE, connections=1, seconds=20.0).p50_ms


def memory(session: BenchSession) -> None:
    """The receiver with IDLE_CONNECTIONS open connections and its whole byte budget used by slow senders."""
    allow_files(IDLE_CONNECTIONS + 1_000)
    with running() as stack:
        port = stack.start_receiver(settings=NO_COUNTS)
        pid = stack.pid("receiver")
        before = machine.resident_bytes(pid)
        with open_connections(port, IDLE_CONNECTIONS), slow_bodies(CHANNEL, stack.key, port, SLOW_SENDERS):
            done = session.load(stack, "error", port, count=2_000, connections=16, seconds=10.0)
            during = machine.resident_bytes(pid)
        peak = machine.resident_bytes(pid, "VmHWM")
    note = f"{before / 1e6:.0f} MB before; {during / 1e6:.0f} MB while held; meanwhile answers {done.statuses}"
    name = f"receiver, memory, {IDLE_CONNECTIONS:,} connections and full byte budget"
    session.add(Figure(name, "MB", (peak / 1e6,), target=FigureTarget(200, 120, "less"), note=note))


@contextlib.contextmanager
def open_connections(port: int, number: int) -> Iterator[None]:
    """Connections that send nothing."""
    with contextlib.ExitStack() as connections:
        for _ in range(number):
            connections.enter_context(socket.create_connection((HOST, port), 30))
        yield


@contextlib.contextmanager
def slow_bodies(channel_id: int, key: str, port: int, number: int) -> Iterator[None]:
    """Senders of nearly 6 MB each that stop before the end; those above the budget are refused."""
    head = (
        f"POST /api/{channel_id}/envelope/ HTTP/1.1\r\nhost: x\r\nx-sentry-auth: Sentry sentry_key={key}\r\n"
        f"content-length: {SLOW_BODY_BYTES}\r\n\r\n"
    )
    with contextlib.ExitStack() as connections:
        for _ in range(number):
            sender = connections.enter_context(socket.create_connection((HOST, port), 30))
            with contextlib.suppress(OSError):  # a refusal because of the budget is an answer too
                sender.sendall(head.encode() + b"x" * (SLOW_BODY_BYTES - 1))
        time.sleep(0.5)
        yield


def allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, number * 2))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
