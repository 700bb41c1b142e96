"""A worker that ClickHouse refuses fetches nothing, says why once a minute, and goes on by itself."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.rows import EVENTS_TABLE, OUTCOMES_TABLE
from tests.unit.worker_fakes import FakeClock, FakeWriter, settled
from workers import readiness
from workers.store.access import MAX_PAUSE_S, REPORT_EVERY_S, ClickHouseAccess
from workers.store.clickhouse_errors import InsertFailed, OurFault, RetryLater
from workers.store.insert import Inserter

WRONG_PASSWORD = OurFault("authentication of user has failed", "http://worker:hush@ch: refused", 516)
AWAY = RetryLater("server could not be reached", "no route")


class Server:
    """Answers a check, or raises `error`."""

    def __init__(self, error: InsertFailed | None) -> None:
        self.error = error
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("error", "variable"), [(WRONG_PASSWORD, "AXONPUSH_CLICKHOUSE_PASSWORD"), (AWAY, "AXONPUSH_CLICKHOUSE_URL")]
)
@pytest.mark.asyncio
async def test_it_waits_until_clickhouse_answers(error: InsertFailed, variable: str) -> None:
    """Every worker of the process, with one check for all; a line at once and one a minute."""
    server, clock = Server(error), FakeClock()
    access = ClickHouseAccess(server.check, clock, jitter=lambda: 1.0)
    with capture_logs() as lines:
        waiting = [asyncio.create_task(access.wait({EVENTS_TABLE})) for _ in range(3)]
        await settled()
        assert server.checks == 1
        for _ in range(int(2 * REPORT_EVERY_S / MAX_PAUSE_S)):
            await clock.turn(MAX_PAUSE_S)
        assert not any(task.done() for task in waiting)
        told = [line for line in lines if line["event"] == "waiting_for_clickhouse"]
        assert 2 <= len(told) <= 3
        assert variable in told[0]["remedy"]
        assert "hush" not in str(told)
        assert readiness.refused_tables() == ["start"]
        server.error = None
        await clock.turn(MAX_PAUSE_S)
        await asyncio.gather(*waiting)
    assert readiness.refused_tables() == []


@pytest.mark.asyncio
async def test_a_refused_insert_stops_the_workers_of_its_table() -> None:
    """Until it works again; what is in hand is tried again, and workers of other tables go on."""
    clock, writer = FakeClock(), FakeWriter([])
    access = ClickHouseAccess(Server(None).check, clock)
    inserter = Inserter(writer, clock, jitter=lambda: 1.0, access=access)
    writer.errors = [WRONG_PASSWORD]
    inserting = asyncio.create_task(inserter.insert(EVENTS_TABLE, ("a",), [("row",)]))
    await settled()
    waiting = asyncio.create_task(access.wait({EVENTS_TABLE, OUTCOMES_TABLE}))
    await settled()
    assert not waiting.done()
    assert readiness.refused_tables() == [EVENTS_TABLE]
    await access.wait({OUTCOMES_TABLE})
    await clock.turn(MAX_PAUSE_S)
    assert await inserting == []
    await waiting
    assert readiness.refused_tables() == []


@pytest.mark.asyncio
async def test_a_clickhouse_that_is_away_later_stops_nobody() -> None:
    """Then no other worker could insert either: messages wait where they are, as before."""
    clock, writer = FakeClock(), FakeWriter([])
    access = ClickHouseAccess(Server(None).check, clock)
    inserter = Inserter(writer, clock, jitter=lambda: 1.0, access=access)
    writer.errors = [AWAY]
    inserting = asyncio.create_task(inserter.insert(EVENTS_TABLE, ("a",), [("row",)]))
    await settled()
    await access.wait({EVENTS_TABLE})
    await clock.turn(MAX_PAUSE_S)
    assert await inserting == []
