"""Rows of one system never go into another's tables, also when a server is replaced under its address."""

from __future__ import annotations

import asyncio

import pytest
from nats.errors import NoRespondersError
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from schemas.identifiers import SYSTEM_METADATA
from schemas.rows import EVENTS_TABLE
from schemas.subjects import SOURCES
from tests.unit.worker_fakes import FakeClock, FakeWriter, settled
from workers.store.access import COMPARE_EVERY_S, ClickHouseAccess, remedy
from workers.store.clickhouse_errors import OurFault, RetryLater
from workers.store.insert import Inserter
from workers.store.same_system import SystemCheck, WrongSystem, check_system

OURS, OTHERS = "a" * 32, "b" * 32


class Info:
    """A durable's info."""

    def __init__(self, metadata: dict[str, str] | None) -> None:
        self.config = ConsumerConfig(metadata=metadata)


class JetStream:
    """Answers with the metadata of a durable, or fails."""

    def __init__(self, answer: dict[str, str] | Exception | None) -> None:
        self.answer = answer

    async def consumer_info(self, _stream: str, _durable: str) -> Info:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Info(self.answer)


class Tables:
    """A writer whose tables have an id."""

    def __init__(self, system_id: str) -> None:
        self.system_id = system_id
        self.asked: list[str] = []

    async def check(self, system_id: str = "") -> None:
        self.asked.append(system_id)
        if system_id:
            check_system(system_id, self.system_id, "axonpush")


def check_of(jetstream: JetStream, tables: Tables) -> SystemCheck:
    return SystemCheck(jetstream, SOURCES["event"], tables)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_the_id_of_the_durable_is_compared_with_that_of_the_tables() -> None:
    """A broker without an id, and a missing durable, are not compared."""
    tables = Tables(OURS)
    for answer in ({SYSTEM_METADATA: OURS, "_nats.ver": "2.12"}, {}, None, NotFoundError()):
        await check_of(JetStream(answer), tables).check()
    assert tables.asked == [OURS, "", "", ""]
    for found in (OTHERS, ""):
        with pytest.raises(WrongSystem, match=OURS[:8]):
            await check_of(JetStream({SYSTEM_METADATA: OURS}), Tables(found)).check()


@pytest.mark.asyncio
async def test_a_broker_that_does_not_answer_is_waited_for() -> None:
    with pytest.raises(RetryLater) as raised:
        await check_of(JetStream(NoRespondersError()), Tables(OURS)).check()
    assert "broker" in remedy(raised.value)


@pytest.mark.asyncio
async def test_a_new_connection_is_checked_before_the_next_fetch() -> None:
    tables = Tables(OURS)
    access = ClickHouseAccess(check_of(JetStream({SYSTEM_METADATA: OURS}), tables).check, FakeClock())
    await access.wait({EVENTS_TABLE})
    await access.wait({EVENTS_TABLE})
    assert len(tables.asked) == 1
    access.check_again()
    tables.system_id = OTHERS
    waiting = asyncio.create_task(access.wait({EVENTS_TABLE}))
    await settled()
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.asyncio
async def test_an_insert_that_failed_is_repeated_only_into_our_tables() -> None:
    """The ClickHouse that answers after an outage may be another one."""
    tables = Tables(OURS)
    clock, writer = FakeClock(), FakeWriter([])
    access = ClickHouseAccess(check_of(JetStream({SYSTEM_METADATA: OURS}), tables).check, clock, jitter=lambda: 1.0)
    await access.wait({EVENTS_TABLE})
    writer.errors = [RetryLater("server could not be reached", "no route")]
    inserter = Inserter(writer, clock, jitter=lambda: 1.0, access=access)
    inserting = asyncio.create_task(inserter.insert(EVENTS_TABLE, ("a",), [(1,)]))
    await settled()
    tables.system_id = OTHERS
    for _ in range(3):
        await clock.turn(5.0)
    assert len(writer.inserts) == 1
    tables.system_id = OURS
    await clock.turn(5.0)
    assert await inserting == []
    assert len(writer.inserts) == 2


@pytest.mark.asyncio
async def test_tables_that_are_taken_away_are_noticed_without_a_new_connection() -> None:
    """Beside the inserts, at the latest after the interval; then nothing is fetched, and no insert starts."""
    tables, clock = Tables(OURS), FakeClock()
    access = ClickHouseAccess(check_of(JetStream({SYSTEM_METADATA: OURS}), tables).check, clock, jitter=lambda: 0.0)
    watching = asyncio.create_task(access.watch())
    await access.wait({EVENTS_TABLE})
    await settled()
    writer = FakeWriter([])
    inserter = Inserter(writer, clock, jitter=lambda: 1.0, access=access)
    assert await inserter.insert(EVENTS_TABLE, ("a",), [(1,)]) == []
    assert len(tables.asked) == 1, "an insert does not compare"
    tables.system_id = OTHERS
    await clock.turn(COMPARE_EVERY_S)
    assert len(tables.asked) == 2
    inserting = asyncio.create_task(inserter.insert(EVENTS_TABLE, ("a",), [(2,)]))
    fetching = asyncio.create_task(access.wait({EVENTS_TABLE}))
    await clock.turn(5.0)
    assert (len(writer.inserts), fetching.done()) == (1, False)
    tables.system_id = OURS
    for _ in range(3):
        await clock.turn(COMPARE_EVERY_S)
    assert await inserting == []
    await fetching
    assert len(writer.inserts) == 2
    watching.cancel()


@pytest.mark.asyncio
async def test_a_server_that_is_away_when_it_is_compared_stops_nothing() -> None:
    """Inserts wait for it by themselves, and the next comparison asks again."""
    broker, tables, clock = JetStream({SYSTEM_METADATA: OURS}), Tables(OURS), FakeClock()
    access = ClickHouseAccess(check_of(broker, tables).check, clock, jitter=lambda: 0.0)
    watching = asyncio.create_task(access.watch())
    await access.wait({EVENTS_TABLE})
    await settled()
    broker.answer = NoRespondersError()
    await clock.turn(COMPARE_EVERY_S)
    await asyncio.wait_for(access.wait({EVENTS_TABLE}), 5)
    broker.answer = {SYSTEM_METADATA: OURS}
    await clock.turn(COMPARE_EVERY_S)
    assert tables.asked == [OURS, OURS]
    watching.cancel()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WrongSystem("other", "x"), ("AXONPUSH_CLICKHOUSE_URL", "start this worker again", "--adopt-tables")),
        (OurFault("password", "x", 516), ("AXONPUSH_CLICKHOUSE_PASSWORD", "start this worker again", "by itself")),
        (OurFault("table", "x", 60), ("axonpush migrate", "by itself")),
        (RetryLater("away", "x"), ("AXONPUSH_CLICKHOUSE_URL", "start it again", "by itself")),
    ],
)
def test_a_remedy_says_when_a_restart_is_needed(error: OurFault, words: tuple[str, ...]) -> None:
    """A variable is read at the start only."""
    for word in words:
        assert word in remedy(error)
