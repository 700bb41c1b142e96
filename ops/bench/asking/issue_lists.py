"""Measures lists of issues: the console's own queries over many stored errors, with the engine of `axonpush up`."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Final

from console.access.registry import KnownEntries
from console.issues.find import SORTS, IssueFinder, Search
from console.settings import ConsoleSettings
from console.storage.clickhouse import ClickHouse
from ops.bench.figures import Figure, FigureTarget, percentile
from ops.bench.session import BenchSession
from ops.bench.stack import CHANNEL, Stack, running
from ops.local.clickhouse_http.access import users
from schemas.registry import Channel

DAYS: Final = 30
ISSUES: Final = 5_000
# Errors of a full run for each message of its backlog: 300,000 messages, 4,000,000 errors.
ERRORS_OF_BACKLOG: Final = 40 / 3
LISTS: Final = 20
_QUERIES: Final = {"newest, unresolved": ("is:unresolved", "date"), "most frequent": ("is:unresolved", "freq")}
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
    """Measures how long pages of issues take over millions of errors."""
    errors = int(session.backlog * ERRORS_OF_BACKLOG)
    with running(clickhouse=True) as stack:
        step_ms = max(1, DAYS * 86_400_000 // errors)
        stack.execute(_INSERT.format(channel=CHANNEL, step_ms=step_ms, issues=ISSUES, errors=errors))
        # What `min_age_to_force_merge_seconds` does to days that are over.
        stack.execute("OPTIMIZE TABLE error_rows FINAL")
        for name, (query, order) in _QUERIES.items():
            began_s = stack.cpu_s()["clickhouse"]
            taken_ms = asyncio.run(_taken_ms(stack, query, order))
            cpu_ms = (stack.cpu_s()["clickhouse"] - began_s) * 1000 / len(taken_ms)
            note = f"{errors:,} errors, {ISSUES:,} issues, {DAYS} days; {cpu_ms:.0f} ms of processor in ClickHouse"
            p95 = percentile(taken_ms, 0.95)
            target = FigureTarget(300, 150, "less")
            session.add(Figure(f"list of issues, {name}, p95", "ms", (p95,), target=target, note=note))


async def _taken_ms(stack: Stack, query: str, order: str) -> list[float]:
    """Of each of several pages, one after the other, as the Web API asks for them."""
    settings = ConsoleSettings(
        clickhouse_url=f"http://127.0.0.1:{stack.clickhouse_port}",
        clickhouse_user=users.CONSOLE,
        clickhouse_password=stack.passwords[users.CONSOLE],
    )
    clickhouse, now = ClickHouse(settings), dt.datetime.now(dt.UTC)
    search = Search("default", [Channel(id=CHANNEL, organisation="default")], query, order=SORTS[order])
    taken: list[float] = []
    try:
        for _ in range(LISTS + 1):
            began_s = time.monotonic()
            assert len(await IssueFinder(clickhouse, KnownEntries(), now).page(search, limit=26, offset=0)) == 26
            taken.append((time.monotonic() - began_s) * 1000)
    finally:
        await clickhouse.close()
    return taken[1:]  # the first reads from disk
