"""Measures lists of issues: the console's own queries over ten million stored errors, alone and beside ingest."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
import time
from collections.abc import Iterator
from typing import Final

from console.access.registry import KnownEntries
from console.api.request import Period
from console.issues.find import SORTS, IssueFinder
from console.issues.groups import Search
from console.settings import ConsoleSettings
from console.storage.clickhouse import ClickHouse
from ops.bench import load
from ops.bench.figures import Figure, FigureTarget, percentile
from ops.bench.session import BenchSession
from ops.bench.stack import CHANNEL, Stack, running, wait_for
from ops.cli.servers import open_clickhouse
from ops.janitor.issue_counts import IssueCounter
from ops.local.clickhouse_http.access import users
from ops.runtime.failures import Failed
from schemas.registry import Channel

DAYS: Final = 30
ISSUES: Final = 5_000
# Errors for each message of the backlog: 300,000 messages, 10,000,000 errors.
ERRORS_OF_BACKLOG: Final = 100 / 3
LISTS: Final = 20
# Errors that arrive meanwhile, as a quarter of what such a machine stores.
INGEST_S: Final = 400
_QUERIES: Final = {
    "newest, unresolved": ("is:unresolved", "date", None),
    "newest, unresolved, of 14 days": ("is:unresolved", "date", 14),
    "most frequent": ("is:unresolved", "freq", None),
}
# One error every few seconds, evenly over the days; the columns in the order of the table.
_INSERT: Final = """
INSERT INTO error_rows
SELECT 'default', {channel},
       toUUID(UUIDNumToString(toFixedString(unhex(leftPad(hex(cityHash64(number)), 32, 'a')), 16))),
       1, 'event', now64(9) - toIntervalMillisecond(number * {step_ms}),
       now64(9) - toIntervalMillisecond(number * {step_ms}), bitShiftRight(cityHash64(number % {issues}), 1),
       'production', concat('shop@', toString(number % 20)), 17, cityHash64(number % 100000), number, 0,
       cityHash64(number)
FROM numbers({errors}) SETTINGS max_partitions_per_insert_block = 0"""


def lists(session: BenchSession) -> None:
    """Measures how long pages of issues take over ten million errors, alone and while errors arrive."""
    errors = int(session.backlog * ERRORS_OF_BACKLOG)
    with running(clickhouse=True) as stack:
        step_ms = max(1, DAYS * 86_400_000 // errors)
        stack.execute(_INSERT.format(channel=CHANNEL, step_ms=step_ms, issues=ISSUES, errors=errors))
        # What `min_age_to_force_merge_seconds` does to days that are over.
        stack.execute("OPTIMIZE TABLE error_rows FINAL")
        _count_days(stack)
        note = f"{errors:,} errors, {ISSUES:,} issues, {DAYS} days"
        _measure(session, stack, "", note)
        port = stack.start_receiver()
        stack.start_workers()
        with _arriving(session, stack, port):
            _measure(session, stack, ", beside ingest", f"{note}; {INGEST_S} errors/s arrive")


def _count_days(stack: Stack) -> None:
    """What the janitor does when they are over."""
    client, counter = open_clickhouse(stack.settings), IssueCounter()
    client.database = stack.settings.clickhouse_database
    try:
        while counter.work(client, quiet_s=0):
            pass
    finally:
        client.close()


def _measure(session: BenchSession, stack: Stack, beside: str, note: str) -> None:
    for name, (query, order, days) in _QUERIES.items():
        began_s = stack.cpu_s()["clickhouse"]
        taken_ms = asyncio.run(_taken_ms(stack, query, order, days))
        cpu_ms = (stack.cpu_s()["clickhouse"] - began_s) * 1000 / len(taken_ms)
        target = FigureTarget(300, 150, "less")
        # Beside ingest the inserts' are in it too.
        note_of_list = note if beside else f"{note}; {cpu_ms:.0f} ms of processor in ClickHouse"
        p95 = percentile(taken_ms, 0.95)
        session.add(Figure(f"list of issues, {name}{beside}, p95", "ms", (p95,), target=target, note=note_of_list))


@contextlib.contextmanager
def _arriving(session: BenchSession, stack: Stack, port: int) -> Iterator[None]:
    """Errors at a steady rate until the end of the block, one load after the other."""
    is_over = threading.Event()
    failures: list[Exception] = []

    def send() -> None:
        while not is_over.is_set() and not failures:
            try:
                load.run(session.plan(stack, "error", port, count=INGEST_S * 10, rate=INGEST_S, seconds=10.0))
            except RuntimeError as error:
                failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        wait_for(lambda: stack.stored() > 0, "stored errors")
        yield
    finally:
        is_over.set()
        sender.join()
    if failures:
        raise Failed(f"expected errors that arrive during all lists, found: {failures[0]}")


async def _taken_ms(stack: Stack, query: str, order: str, days: int | None) -> list[float]:
    """Of each of several pages, one after the other, as the Web API asks for them."""
    settings = ConsoleSettings(
        clickhouse_url=f"http://127.0.0.1:{stack.clickhouse_port}",
        clickhouse_user=users.CONSOLE,
        clickhouse_password=stack.passwords[users.CONSOLE],
    )
    clickhouse, now = ClickHouse(settings), dt.datetime.now(dt.UTC)
    period = Period(now - dt.timedelta(days=days), now) if days else None
    channels = [Channel(id=CHANNEL, organisation="default")]
    search = Search("default", channels, query, period=period, order=SORTS[order])
    taken: list[float] = []
    try:
        for _ in range(LISTS + 1):
            began_s = time.monotonic()
            assert len(await IssueFinder(clickhouse, KnownEntries(), now).page(search, limit=26, offset=0)) == 26
            taken.append((time.monotonic() - began_s) * 1000)
    finally:
        await clickhouse.close()
    return taken[1:]  # the first reads from disk
