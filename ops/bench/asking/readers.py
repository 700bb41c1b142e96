"""Measures ten readers beside full ingest: what each costs the other, and how a query over everything ends."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from typing import Final

from ops.bench.bodies import kinds
from ops.bench.figures import Figure, FigureTarget, percentile
from ops.bench.load import Load
from ops.bench.session import BenchSession
from ops.bench.stack import Stack, running
from ops.bench.storing import until_settled
from ops.local.clickhouse_http.access import users
from ops.runtime.failures import Failed

READERS: Final = 10
# Ingest with readers, of ingest alone; a reader beside ingest.
_KEPT: Final = FigureTarget(0.5, 0.8)
_WAIT: Final = FigureTarget(2_000, 500, "less")
_KIND: Final = "spans"
# What people look at while data arrives.
_ASKED: Final = (
    "SELECT timestamp, name FROM events WHERE channel_id = 1 AND timestamp >= now() - INTERVAL 1 MINUTE"
    " ORDER BY timestamp DESC LIMIT 10",
    "SELECT service_name, count() FROM events WHERE channel_id = 1 AND timestamp >= now() - INTERVAL 1 MINUTE"
    " GROUP BY service_name",
    "SELECT timestamp, name FROM events WHERE trace_id = 'abc'",
)
# Every row with every other one.
_EVERYTHING: Final = "SELECT count() FROM events AS a CROSS JOIN events AS b WHERE a.span_id > b.body"


def beside_ingest(session: BenchSession) -> None:
    """Spans as fast as they go, alone and with ten readers; readers alone and beside them."""
    with running(clickhouse=True) as stack:
        port = stack.start_receiver()
        stack.start_workers()
        session.load(stack, _KIND, port, count=20, seconds=5.0)
        until_settled(stack)
        alone, beside, waits_alone, waits_beside = [], [], [], []
        for _ in range(session.turns):
            waits_alone.append(percentile(_read(stack, session.seconds), 0.95))
            alone.append(_stored_s(session, stack, port))
            until_settled(stack)
            with _Readers(stack) as reading:
                beside.append(_stored_s(session, stack, port))
            waits_beside.append(percentile(reading.taken_ms, 0.95))
            until_settled(stack)
        note = f"{READERS} readers, each asks again at once; rows stored while they ask"
        session.add(
            Figure("stored, spans, beside readers", "rows/s", tuple(beside), tuple(alone), "alone", _KEPT, note)
        )
        name = "readers beside full ingest, p95"
        session.add(Figure(name, "ms", tuple(waits_beside), target=_WAIT, note=f"alone {waits_alone[-1]:.0f} ms"))
        said, taken_s = _everything(stack)
        session.add(Figure("a query over everything ends after", "s", (taken_s,), note=said))


def _stored_s(session: BenchSession, stack: Stack, port: int) -> float:
    """Rows that became visible for each second of the load."""
    before, began_s = stack.stored(), time.monotonic()
    load: Load = session.load(stack, _KIND, port, count=100_000, seconds=session.seconds)
    if not load.accepted:
        raise Failed(f"expected accepted bodies of {kinds.by_name()[_KIND].rows} rows, found {load.statuses}")
    return (stack.stored() - before) / (time.monotonic() - began_s)


def _read(stack: Stack, seconds: float) -> list[float]:
    with _Readers(stack) as reading:
        time.sleep(seconds)
    return reading.taken_ms


class _Readers:
    """Ten threads that ask one question after the other, until the end of the block."""

    def __init__(self, stack: Stack) -> None:
        self.taken_ms: list[float] = []
        self._stack = stack
        self._failed: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(READERS)]

    def __enter__(self) -> _Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise Failed(f"expected an answer to each reader, found {self._failed[0]}")

    def _ask(self, number: int) -> None:
        asked = number
        while not self._ended.is_set():
            began_s = time.monotonic()
            status, text = _answer(self._stack, _ASKED[asked % len(_ASKED)])
            self.taken_ms.append((time.monotonic() - began_s) * 1000)
            if status != 200:
                self._failed.append(f"{status}: {text[:300]}")
            asked += 1


def _everything(stack: Stack) -> tuple[str, float]:
    """What a reader is told, and after how many seconds; then the engine still answers."""
    began_s = time.monotonic()
    status, text = _answer(stack, _EVERYTHING + " SETTINGS max_execution_time = 5")
    taken_s = time.monotonic() - began_s
    if status == 200 or _answer(stack, "SELECT 1")[0] != 200:
        raise Failed(
            f"expected a refusal of a query over everything and an engine that answers, found {status}: {text}"
        )
    return f"{status}: {text.strip()[:160]}", taken_s


def _answer(stack: Stack, sql: str) -> tuple[int, str]:
    reader = {"X-ClickHouse-User": users.READER, "X-ClickHouse-Key": stack.passwords[users.READER]}
    asked = urllib.request.Request(f"{stack.settings.clickhouse_url}/?database=axonpush", sql.encode(), reader)
    try:
        with urllib.request.urlopen(asked, timeout=90) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
