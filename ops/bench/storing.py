"""Measures the whole system up to queryable rows: rates, latency, processor time, memory of a worker, a backlog."""

from __future__ import annotations

import asyncio
import gc
import http.client
import os
import signal
import subprocess
import time
import uuid
from statistics import median
from typing import Final

import nats

from ops.bench import load, machine
from ops.bench.bodies import kinds
from ops.bench.figures import Figure, FigureTarget, percentile, rate
from ops.bench.session import BenchSession
from ops.bench.stack import CHANNEL, HOST, NO_COUNTS, Stack, running
from ops.runtime.failures import Failed
from ops.runtime.group_commit import GroupCommit
from ops.runtime.tasks import end
from schemas import headers, subjects
from schemas.headers import Origin

POLL_S: Final = 0.05
# Our own queries cost the engine time, which must not count as the price of rows.
READING_S: Final = 0.25
SETTLED_AFTER_S: Final = 3.0
GIVEN_UP_AFTER_S: Final = 20.0
# A request waits up to 250 ms for its counts: with fewer senders than this, they would be the limit.
CONNECTIONS: Final = 512
# Bodies of one key in the receiver at once; beyond that it refuses, and a refused body costs without making rows.
KEY_BYTES: Final = 24_000_000
# One query for all probes at a time: with one per probe every 5 ms, the queries were the load.
PROBE_POLL_S: Final = 0.05
PROBE_EVERY_S: Final = 0.25
PROBES: Final = 120
SMALL_BACKLOG: Final = 50_000
MEASURED_MESSAGES: Final = 40_000
PUBLISHERS: Final = 400

# More bodies per second than any system here handles: the load ends by time.
_PER_S: Final = {"error": 9_000, "error-small": 12_000, "transaction": 4_000, "spans": 500, "spans-json": 250}
_TARGETS: Final = {"error": FigureTarget(3_000, 6_000), "spans": FigureTarget(50_000, 120_000)}


def rates(session: BenchSession) -> None:
    """Rows stored per second, counted in ClickHouse, with everything on this machine; and processor time by process."""
    for kind in ("error", "error-small", "spans", "spans-json", "logs", "transaction"):
        results = [stored(session, kind) for _ in range(session.turns)]
        rows_s = tuple(result[0] for result in results)
        note = (
            f"{results[-1][2]}; one worker process; Bugsink on such a machine: 50/s"
            if kind == "error"
            else results[-1][2]
        )
        session.add(Figure(f"stored, {kind}", "rows/s", rows_s, target=_TARGETS.get(kind), note=note))
        for name in results[0][1]:
            spent = tuple(result[1][name] for result in results)
            session.add(Figure(f"processor, {kind}, {name}", "s a million rows", spent))
        if kind == "error":
            _latency(session, median(rows_s) / 5)


def stored(session: BenchSession, kind: str) -> tuple[float, dict[str, float], str]:
    """Returns (rows per second, CPU seconds per million rows by process, the sender's result) of one new system."""
    with running(clickhouse=True) as stack:
        port = stack.start_receiver()
        stack.start_workers()
        return measure_stored(session, stack, kind, port, "event_rows")


def measure_stored(
    session: BenchSession, stack: Stack, kind: str, port: int, table: str
) -> tuple[float, dict[str, float], str]:
    """The same of a system that runs: what is sent to `port` becomes rows of `table`."""
    rows = kinds.by_name()[kind].rows
    session.load(stack, kind, port, count=max(1, 400 // rows), seconds=5.0)  # warm-up
    until_settled(stack, table)
    before, cpu = stack.stored(table), stack.cpu_s()
    count = int(_PER_S.get(kind, 400) * session.seconds)
    sending = load.start(session.plan(stack, kind, port, count=count, connections=connections_of(kind)))
    readings = Readings(stack, before, table)
    while sending.poll() is None:
        readings.take()
    sent = load.result(sending)
    readings.take_until(sent.accepted * rows)
    rows_stored = readings.counts[-1] - before
    if not rows_stored:
        raise Failed(f"expected rows of {sent.accepted} bodies of {kind}, found none")
    spent = {name: (value - cpu[name]) / rows_stored * 1e6 for name, value in stack.cpu_s().items()}
    # Both processes use the same monotonic clock of this machine.
    per_s = rate([sent.began_s, *readings.times_s], [before, *readings.counts], rows_stored)
    lost = sent.accepted * rows - rows_stored
    refused = sent.sent - sent.accepted
    said = f"{sent.accepted_s * rows:,.0f}/s accepted meanwhile" + (
        f", {refused:,} requests refused" if refused else ""
    )
    return per_s, spent, said + (f"; {lost} rows MISSING" if lost > 0 else "")


def connections_of(kind: str, share: float = 1.0) -> int:
    """As many as a key may have bodies of this kind in the receiver, or a share of them."""
    size_bytes = len(kinds.by_name()[kind].make(bytes(16)))
    return max(1, int(share * min(CONNECTIONS, KEY_BYTES // size_bytes)))


class Readings:
    """The number of stored rows, queried every READING_S."""

    def __init__(self, stack: Stack, before: int, table: str) -> None:
        self._stack = stack
        self._table = table
        self.times_s = [time.perf_counter()]
        self.counts = [before]

    def take(self) -> None:
        """Takes one reading, and keeps it if rows have come."""
        self._stack.check()
        count = self._stack.stored(self._table)
        if count != self.counts[-1]:
            self.times_s.append(time.perf_counter())
            self.counts.append(count)
        time.sleep(READING_S)

    def take_until(self, rows: int) -> None:
        """Reads until there are `rows` more, or none came for GIVEN_UP_AFTER_S."""
        began_s = time.perf_counter()
        while self.counts[-1] - self.counts[0] < rows:
            self.take()
            if time.perf_counter() - max(began_s, self.times_s[-1]) > GIVEN_UP_AFTER_S:
                return


def until_settled(stack: Stack, table: str = "event_rows") -> None:
    last, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < 1.5:
        stack.check()
        count = stack.stored(table)
        if count != last or not count:
            last, since_s = count, time.monotonic()
        time.sleep(POLL_S)


# --- acknowledged to queryable


def _latency(session: BenchSession, rate_s: float) -> None:
    with running(clickhouse=True) as stack:
        port = stack.start_receiver()
        stack.start_workers()
        session.load(stack, "error", port, count=400, seconds=5.0)
        seconds = max(10.0, PROBES * PROBE_EVERY_S * min(1.0, session.seconds / 6))
        background = load.start(
            session.plan(
                stack, "error", port, count=int(rate_s * seconds), connections=CONNECTIONS, rate=rate_s, seconds=seconds
            )
        )
        probes_ms = asyncio.run(_probe(stack, port, background))
        load.result(background)
    note = f"{len(probes_ms)} probes beside {rate_s:,.0f} errors/s, a fifth of full load; looked for every 50 ms"
    for share, target in ((0.50, FigureTarget(300, 100, "less")), (0.99, FigureTarget(1_000, 400, "less"))):
        name = f"acknowledged to queryable, p{share * 100:.0f}"
        session.add(Figure(name, "ms", (percentile(probes_ms, share),), target=target, note=note))


async def _probe(stack: Stack, port: int, background: subprocess.Popen[bytes]) -> list[float]:
    """Milliseconds from the answer to the first query that finds the event, for one event every PROBE_EVERY_S."""
    kind = kinds.by_name()["tiny"]
    ids = iter(kinds.tokens(time.time_ns(), 10_000))
    acknowledged_s: dict[str, float] = {}
    found_ms: list[float] = []

    async def send(token: bytes) -> None:
        await asyncio.to_thread(_post, port, stack.key, kind.make(token))
        acknowledged_s[str(uuid.UUID(bytes=token))] = time.perf_counter()

    await asyncio.sleep(1.0)
    looking = asyncio.create_task(_look(stack, acknowledged_s, found_ms))
    sent: list[asyncio.Task[None]] = []
    while background.poll() is None:
        sent.append(asyncio.create_task(send(next(ids))))
        await asyncio.sleep(PROBE_EVERY_S)
    await asyncio.gather(*sent)
    while len(found_ms) < len(sent):  # noqa: ASYNC110 (SQL tells nobody)
        await asyncio.sleep(PROBE_POLL_S)
    await end(looking)
    return found_ms


async def _look(stack: Stack, acknowledged_s: dict[str, float], found_ms: list[float]) -> None:
    """Queries all acknowledged events that were not found yet, every PROBE_POLL_S, for ever.

    Queries the table below the view, which is ten times cheaper and has the same events.
    """
    while True:
        if acknowledged_s:
            named = ", ".join(f"'{event_id}'" for event_id in acknowledged_s)
            rows = await asyncio.to_thread(stack.query, f"SELECT event_id FROM event_rows WHERE event_id IN ({named})")
            for [event_id] in rows:
                found_ms.append((time.perf_counter() - acknowledged_s.pop(event_id)) * 1000)
        await asyncio.sleep(PROBE_POLL_S)


def _post(port: int, key: str, body: bytes) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("POST", f"/api/{CHANNEL}/envelope/?sentry_key={key}", body)
    connection.getresponse().read()
    connection.close()


# --- memory and backlog


def worker_memory(session: BenchSession) -> None:
    """A worker whose inserts never end: it must stop growing at its limits."""
    with running(clickhouse=True) as stack:
        port = stack.start_receiver(settings=NO_COUNTS)
        stack.start_workers()
        session.load(stack, "error", port, count=200, seconds=5.0)
        until_settled(stack)
        before = machine.resident_bytes(stack.pid("worker"))
        os.kill(stack.pid("clickhouse"), signal.SIGSTOP)
        try:
            for kind, per_s in (("error", 4_000), ("spans", 100)):
                session.load(stack, kind, port, count=int(per_s * session.seconds), connections=CONNECTIONS)
            _until_steady(stack.pid("worker"))
            full = machine.resident_bytes(stack.pid("worker"), "VmHWM")
        finally:
            os.kill(stack.pid("clickhouse"), signal.SIGCONT)
    note = f"{before / 1e6:.0f} MB before; errors and spans wait for an engine that is stopped"
    target = FigureTarget(600, 400, "less")
    session.add(Figure("worker, memory, full Batchers", "MB", (full / 1e6,), target=target, note=note))


def _until_steady(pid: int) -> None:
    last, since_s = 0, time.monotonic()
    while time.monotonic() - since_s < SETTLED_AFTER_S:
        size_bytes = machine.resident_bytes(pid)
        if size_bytes > last * 1.01:
            last, since_s = size_bytes, time.monotonic()
        time.sleep(POLL_S)


def backlog(session: BenchSession) -> None:
    """The speed of a worker with a long queue, beside its speed with a short one."""
    short, long = [], []
    for _ in range(max(1, session.turns // 2)):
        long.append(_drain(session, session.backlog))
        short.append(_drain(session, SMALL_BACKLOG))
    name = f"worker, with a backlog of {session.backlog:,} messages"
    baseline_name = f"with {SMALL_BACKLOG:,}"
    session.add(Figure(name, "messages/s", tuple(long), tuple(short), baseline_name, FigureTarget(0.8, 1.0)))


def _drain(session: BenchSession, number: int) -> float:
    """Messages per second over the first MEASURED_MESSAGES of `number` waiting ones, one log record each."""
    with running(clickhouse=True) as stack:
        session.tell(f"publishing {number:,} messages")
        asyncio.run(_publish(stack, number))
        gc.collect()
        stack.start_workers("otlp_log")
        while not (first := stack.stored()):
            stack.check()
            time.sleep(POLL_S)
        times_s, counts = [time.perf_counter()], [first]
        while counts[-1] - first < MEASURED_MESSAGES:
            stack.check()
            time.sleep(POLL_S)
            times_s.append(time.perf_counter())
            counts.append(stack.stored())
    return (counts[-1] - first) / (times_s[-1] - times_s[0])


async def _publish(stack: Stack, number: int) -> None:
    """Publishes directly into RAW, like the receiver."""
    client = await nats.connect(stack.settings.nats_url)
    group = GroupCommit(client, subjects.RAW, 60.0)
    left = iter(range(number))
    now_ns = time.time_ns()

    async def publisher() -> None:
        for index in left:
            body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"%d"}}]}]}]}' % index
            origin = Origin("default", CHANNEL, "bench", "production", False, now_ns + index, "application/json")
            await group.publish(subjects.raw(subjects.OTLP_LOGS, CHANNEL), body, headers.write(origin, f"{index:032x}"))

    await asyncio.gather(*(publisher() for _ in range(PUBLISHERS)))
    await client.close()
