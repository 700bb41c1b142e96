"""Waiting out failed inserts: how long the pauses are, what the gauge says, whom a failure is told to."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ops.runtime.process.backoff import Backoff
from tests.unit.worker_fakes import FakeClock, FakeWriter, settled
from workers.store.clickhouse_errors import BadData, InsertFailed, OurFault, RetryLater
from workers.store.insert import FIRST_PAUSE_S, MAX_PAUSE_S, Inserter, InsertPause

AWAY = RetryLater("network failed on the way", "x", 210)
MISSING = OurFault("table does not exist yet", "x", 60)
ODD = RetryLater("unknown error, tried again anyway", "x", 4711, is_known=False)


def insert_pause(jitter: float = 1.0) -> tuple[InsertPause, FakeClock]:
    clock = FakeClock()
    return InsertPause("a_table", clock, Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, lambda: jitter)), clock


async def pause_s(target: InsertPause, clock: FakeClock) -> float:
    """How long one more failure makes everybody wait."""
    target.failed(await target.wait(), AWAY)
    waiting = asyncio.create_task(target.wait())
    await settled()
    asked_s = clock.sleeps_s[-1]
    await clock.turn(asked_s)
    assert waiting.done()
    return asked_s


def held(table: str = "a_table") -> float | None:
    return REGISTRY.get_sample_value("axonpush_inserts_held", {"table": table})


@pytest.mark.asyncio
async def test_pauses_double_from_the_first_to_the_longest() -> None:
    """A quarter of a second first: a server that was only restarted is found again at once."""
    target, clock = insert_pause()
    found = [await pause_s(target, clock) for _ in range(8)]
    assert found == pytest.approx([0.25, 0.5, 1, 2, 4, 5, 5, 5])
    assert (found[0], found[-1]) == pytest.approx((FIRST_PAUSE_S, MAX_PAUSE_S))


@pytest.mark.asyncio
async def test_jitter_shortens_a_pause_by_half_at_most() -> None:
    """Processes that failed together do not come back together."""
    target, clock = insert_pause(jitter=0.0)
    assert await pause_s(target, clock) == pytest.approx(FIRST_PAUSE_S / 2)


@pytest.mark.asyncio
async def test_a_success_makes_the_next_pause_the_first_again() -> None:
    """An hour-old outage does not lengthen today's."""
    target, clock = insert_pause()
    for _ in range(6):
        await pause_s(target, clock)
    target.succeeded()
    assert await pause_s(target, clock) == pytest.approx(FIRST_PAUSE_S)


@pytest.mark.asyncio
async def test_the_gauge_is_up_while_inserts_fail_and_down_after() -> None:
    """An alarm rings on it."""
    target, clock = insert_pause()
    await pause_s(target, clock)
    assert held() == 1
    target.succeeded()
    assert held() == 0


@pytest.mark.asyncio
async def test_bad_data_is_an_answer_of_a_server_that_works() -> None:
    """The outage is over with it: the gauge is down and the next failure waits the first pause."""
    clock = FakeClock()
    writer = FakeWriter([])
    inserter = Inserter(writer, clock, jitter=lambda: 1.0)
    writer.errors = [AWAY, AWAY, BadData("text is not a number", "x", 72)]
    refused: list[int] = []

    async def insert() -> None:
        refused.extend(one.index for one in await inserter.insert("b_table", ("value",), [(1,)]))

    task = asyncio.create_task(insert())
    for _ in range(2):
        await clock.turn(0)
        assert held("b_table") == 1
        await clock.turn(MAX_PAUSE_S)
    await task
    assert refused == [0]
    assert held("b_table") == 0
    writer.errors = [AWAY]
    task = asyncio.create_task(insert())
    await clock.turn(0)
    await clock.turn(FIRST_PAUSE_S)
    assert task.done(), "one first pause was enough"


@pytest.mark.parametrize(
    ("error", "level", "remedy"),
    [
        (
            MISSING,
            "error",
            "run `axonpush migrate`, or give the user its rights in ClickHouse; this worker goes on by itself",
        ),
        (ODD, "error", ""),
        (AWAY, "warning", ""),
    ],
)
def test_a_person_hears_of_what_only_a_person_can_mend(error: InsertFailed, level: str, remedy: str) -> None:
    """Our own fault and what nobody has classified are errors; an outage is a warning."""
    target, _ = insert_pause()
    with capture_logs() as logs:
        target.failed(2_000.0, error)
    assert [(one["log_level"], one["event"], one["remedy"], one["code"]) for one in logs] == [
        (level, "insert_held", remedy, error.code)
    ]


@pytest.mark.asyncio
async def test_attempts_side_by_side_count_once() -> None:
    """Four inserts that fail together are one failure: the next pause is the second and not the fifth."""
    target, clock = insert_pause()
    for _ in range(3):
        target.failed(clock.now_s(), AWAY)
    await clock.turn(FIRST_PAUSE_S)
    assert await pause_s(target, clock) == pytest.approx(FIRST_PAUSE_S * 2)
