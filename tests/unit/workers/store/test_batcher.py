"""The Batcher: when it flushes, what it owns, and above all when it acknowledges."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ops.runtime import tasks
from schemas.counts import Counts
from schemas.outcomes import OUTCOME_COLUMNS, Outcome, outcome_row
from schemas.rows import DEAD_LETTERS_TABLE, OUTCOMES_TABLE, Row
from tests.unit.worker_fakes import TABLE, Bench, heard, origin, settled
from workers.consume.message import Dead, Entry
from workers.normalise.dead_letter import COLUMNS as DEAD_COLUMNS
from workers.store.clickhouse_errors import OurFault, RetryLater
from workers.store.waiting_dead_letters import MAX_ENTRIES

REASON = OUTCOME_COLUMNS.index("reason")
QUANTITY = OUTCOME_COLUMNS.index("quantity")


@pytest.mark.asyncio
async def test_ack_waits_for_insert() -> None:
    """A message is in progress until its rows are stored."""
    async with Bench(age_s=0.2) as bench:
        bench.writer.gate.clear()
        message = bench.message()
        bench.batcher.hold([message])
        await bench.batcher.put(Entry(message, rows=[(1,)]))
        await bench.clock.turn(0.2)
        assert bench.writer.inserts == [(TABLE, 1)]
        assert heard(message) == []
        bench.writer.gate.set()
        await settled()
        assert bench.journal == [f"insert {TABLE} 1", "ack m"]


@pytest.mark.asyncio
async def test_ack_waits_for_rows_outcomes_and_dead_letter() -> None:
    """All three belong to the message; the order makes any crash in between a harmless repetition."""
    async with Bench() as bench:
        message = bench.message()
        bench.batcher.hold([message])
        row = outcome_row(origin(), "event", Outcome("invalid", "invalid", "event"))
        await bench.batcher.put(Entry(message, origin(), [(1,)], [row], dead=Dead("invalid", "why")))
        await bench.batcher.settle()
        assert bench.journal == [f"insert {TABLE} 1", f"insert {OUTCOMES_TABLE} 1", "dead invalid", "ack m"]


@pytest.mark.asyncio
async def test_a_failing_outcome_insert_holds_the_ack() -> None:
    """Rows alone are not enough: the outcome would be lost."""
    async with Bench() as bench:
        message = bench.message()
        bench.batcher.hold([message])
        bench.writer.errors = [RetryLater("network failed on the way", "x", 210)]
        row = outcome_row(origin(), "unpack", Outcome("dropped", "statsd", "statsd"))
        await bench.batcher.put(Entry(message, origin(), outcomes=[row]))
        await bench.clock.turn(0.2)
        assert heard(message) == []
        await bench.clock.turn(1)
        assert heard(message) == ["ack"]
        assert bench.writer.stored == {OUTCOMES_TABLE: [row]}


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [({"rows": 3}, (1, 1, 1)), ({"size_bytes": 100}, (40, 40, 40))],
    ids=["rows", "bytes"],
)
@pytest.mark.asyncio
async def test_a_full_batch_does_not_wait_for_its_age(limits: dict[str, int], sizes: tuple[int, ...]) -> None:
    """Rows and bytes flush at once."""
    async with Bench(age_s=999, **limits) as bench:
        for size in sizes:
            message = bench.message()
            bench.batcher.hold([message])
            await bench.batcher.put(Entry(message, rows=[(1,)], size_bytes=size))
        await settled()
        assert bench.writer.inserts == [(TABLE, 3)]


@pytest.mark.asyncio
async def test_an_entry_without_rows_is_acknowledged_at_once() -> None:
    """An empty request has nothing to wait for."""
    async with Bench() as bench:
        message = bench.message()
        bench.batcher.hold([message])
        await bench.batcher.put(Entry(message))
        assert heard(message) == ["ack"]
        assert bench.writer.inserts == []


@pytest.mark.asyncio
async def test_a_full_batcher_blocks_and_keeps_what_it_blocks() -> None:
    """Back-pressure: with all inserts running and a full batch, put waits, and its message still gets heartbeats."""
    async with Bench(rows=1, in_flight=2, age_s=999, ack_wait_s=60) as bench:
        bench.writer.gate.clear()
        messages = [bench.message(str(number)) for number in range(4)]
        bench.batcher.hold(messages)

        async def put_all() -> None:
            for message in messages:
                await bench.batcher.put(Entry(message, rows=[(1,)]))

        putting = asyncio.create_task(put_all())
        await settled()
        assert len(bench.writer.inserts) == 2
        assert not putting.done()
        await bench.clock.turn(25)
        assert [heard(message) for message in messages] == [["in_progress"]] * 4
        bench.writer.gate.set()
        await putting
        await bench.batcher.settle()
        assert all(heard(message)[-1] == "ack" for message in messages)


@pytest.mark.asyncio
async def test_heartbeats_follow_the_durables_ack_wait() -> None:
    """A durable that waits 9 s hears of a held message within 9 s, again and again, and never after the ack."""
    async with Bench(age_s=999) as bench:
        message = bench.message()
        bench.batcher.use_ack_wait(9)
        bench.batcher.hold([message])
        await bench.clock.turn(5)
        await bench.batcher.beat()
        await bench.clock.turn(3)
        await bench.batcher.beat()
        assert heard(message).count("in_progress") == 2
        await bench.batcher.put(Entry(message))
        await bench.clock.turn(60)
        assert heard(message)[-1] == "ack"


@pytest.mark.asyncio
async def test_a_bad_row_dies_alone() -> None:
    """Bisecting: every good row is stored once, the bad row's message is a dead letter with code and outcome."""
    async with Bench() as bench:
        bench.writer.is_bad = lambda row: row == ("bad",)
        messages = [bench.message(str(number)) for number in range(10)]
        bench.batcher.hold(messages)
        for number, message in enumerate(messages):
            rows: list[Row] = [("bad",), (number,)] if number == 6 else [(number,)]
            await bench.batcher.put(Entry(message, origin(), rows))
        await bench.batcher.settle()
        assert sorted(bench.writer.stored[TABLE], key=str) == [(number,) for number in range(10)]
        [(message, dead)] = bench.dead_letters.stored_dead
        assert message is messages[6]
        assert dead.reason == "row_refused_72"
        assert "Cannot parse" in dead.error
        [row] = bench.writer.stored[OUTCOMES_TABLE]
        assert (row[REASON], row[QUANTITY]) == ("row_refused_72", 1)
        assert all(heard(message) == ["ack"] for message in messages)


@pytest.mark.parametrize(
    "error",
    [
        RetryLater("network failed on the way", "refused", 210),
        OurFault("table does not exist yet", "no table", 60),
        RetryLater("unknown error, tried again anyway", "?", 4711, is_known=False),
    ],
    ids=["retryable", "ours", "unknown"],
)
@pytest.mark.asyncio
async def test_an_outage_loses_and_buries_nothing(error: Exception) -> None:
    """Rows are held as long as it takes, with growing pauses, and stored when the server is back."""
    async with Bench() as bench:
        bench.writer.errors = [error] * 8
        message = bench.message()
        bench.batcher.hold([message])
        await bench.batcher.put(Entry(message, rows=[(1,)]))
        for _ in range(40):
            await bench.clock.turn(1)
        assert bench.writer.stored == {TABLE: [(1,)]}
        assert len(bench.writer.inserts) == 9
        assert bench.dead_letters.stored_dead == []
        assert set(heard(message)) == {"in_progress", "ack"}


@pytest.mark.asyncio
async def test_our_fault_gives_messages_to_other_workers_once() -> None:
    """One stays and finds out when inserts work again; a redelivered one stays too, else it would become poison."""
    async with Bench() as bench:
        bench.writer.errors = [OurFault("authentication of user has failed", "no", 516)] * 3
        messages = [bench.message(str(number), deliveries=2 if number == 2 else 1) for number in range(4)]
        bench.batcher.hold(messages)
        for number, message in enumerate(messages):
            await bench.batcher.put(Entry(message, rows=[(number,)]))
        for _ in range(20):
            await bench.clock.turn(1)
        first, second, redelivered, last = map(heard, messages)
        assert [one for one in first + redelivered if one != "in_progress"] == ["ack", "ack"]
        assert second == last == ["nak 5"]
        assert bench.writer.stored == {TABLE: [(0,), (2,)]}
        assert bench.batcher.held == 0
        assert bench.dead_letters.stored_dead == []


@pytest.mark.asyncio
async def test_nothing_is_tried_while_the_breaker_is_open() -> None:
    """One failure holds the other inserts into the same table too."""
    async with Bench(rows=1, in_flight=2) as bench:
        bench.writer.errors = [RetryLater("too many parts, merges behind", "x", 252)]
        messages = [bench.message(str(number)) for number in range(2)]
        bench.batcher.hold(messages)
        await bench.batcher.put(Entry(messages[0], rows=[(0,)]))
        await settled()
        await bench.batcher.put(Entry(messages[1], rows=[(1,)]))
        await settled()
        assert len(bench.writer.inserts) == 1
        await bench.clock.turn(0.25)
        assert len(bench.writer.inserts) == 3
        assert all(heard(message) == ["ack"] for message in messages)


@pytest.mark.asyncio
async def test_a_message_without_room_waits_and_delays_no_other() -> None:
    """No ack without the dead letter, and no redelivery: in progress until there is room, while others go on."""
    async with Bench(ack_wait_s=60) as bench:
        bench.dead_letters.is_full = True
        message = bench.message("dead")
        bench.batcher.hold([message])
        await bench.batcher.put(Entry(message, dead=Dead("unreadable_headers", "why")))
        await bench.clock.turn(30)
        assert heard(message) == ["in_progress"]
        other = bench.message("other")
        bench.batcher.hold([other])
        await bench.batcher.put(Entry(other, rows=[(1,)]))
        await bench.batcher.settle()
        assert heard(other) == ["ack"]
        bench.dead_letters.is_full = False
        await bench.clock.turn(30)
        assert set(heard(message)) == {"in_progress", "ack"}
        assert [one for one, _ in bench.dead_letters.stored_dead] == [message]


@pytest.mark.asyncio
async def test_more_messages_without_room_than_may_wait_go_to_the_table() -> None:
    """Never lost, never held without bound: the table has them, with number 0."""
    async with Bench() as bench:
        bench.dead_letters.is_full = True
        messages = [bench.message(str(number)) for number in range(MAX_ENTRIES + 3)]
        bench.batcher.hold(messages)
        for message in messages:
            outcome = outcome_row(origin(), "event", Outcome("dead", "poison", "event"))
            await bench.batcher.put(Entry(message, origin(), outcomes=[outcome], dead=Dead("poison", "why")))
        await bench.batcher.settle()
        assert bench.batcher.held == MAX_ENTRIES
        assert [heard(message) for message in messages[MAX_ENTRIES:]] == [["ack"]] * 3
        rows = bench.writer.stored[DEAD_LETTERS_TABLE]
        assert [(row[DEAD_COLUMNS.index("reason")], row[DEAD_COLUMNS.index("dead_seq")]) for row in rows] == [
            ("poison", 0)
        ] * 3
        assert await bench.batcher.drain(timeout_s=1) == MAX_ENTRIES


@pytest.mark.asyncio
async def test_an_invalid_body_without_room_is_let_go_and_counted() -> None:
    """Its sender has heard what is wrong: acknowledged at once, and `not_kept` says that its bytes are gone."""
    async with Bench() as bench:
        bench.dead_letters.is_full = True
        message = bench.message()
        bench.batcher.hold([message])
        outcome = outcome_row(origin(), "event", Outcome("invalid", "invalid", "event"))
        dead = Dead("invalid", "why", by_sender=True)
        await bench.batcher.put(Entry(message, origin(), outcomes=[outcome], dead=dead))
        await bench.batcher.settle()
        assert heard(message) == ["ack"]
        found = [row[OUTCOME_COLUMNS.index("outcome")] for row in bench.writer.stored[OUTCOMES_TABLE]]
        assert found == ["invalid", "not_kept"]
        assert bench.batcher.held == 0


@pytest.mark.asyncio
async def test_a_sync_sender_hears_after_the_insert() -> None:
    """`stored` is told when it is true, and before the ack."""
    async with Bench() as bench:
        message = bench.message()
        bench.batcher.hold([message])
        await bench.batcher.put(Entry(message, origin(), [(1,)], reply_after_insert=Counts(stage="event", accepted=1)))
        assert bench.replies == []
        await bench.batcher.settle()
        assert bench.journal == [f"insert {TABLE} 1", "reply", "ack m"]
        assert bench.replies == [Counts(stage="event", accepted=1, stored=True)]


@pytest.mark.asyncio
async def test_drain_finishes_what_it_can_and_gives_the_rest_back() -> None:
    """Shutdown with ClickHouse away: nothing acknowledged, everything offered again soon."""
    async with Bench() as bench:
        messages = [bench.message(str(number)) for number in range(3)]
        bench.batcher.hold(messages)
        await bench.batcher.put(Entry(messages[0], rows=[(0,)]))
        assert await bench.batcher.drain(timeout_s=5) == 2
        assert heard(messages[0]) == ["ack"]
        assert heard(messages[1]) == heard(messages[2]) == ["nak 1"]
        bench.writer.gate.clear()
        late = bench.message("late")
        bench.batcher.hold([late])
        await bench.batcher.put(Entry(late, rows=[(1,)]))
        assert await bench.batcher.drain(timeout_s=0) == 1
        assert heard(late) == ["nak 1"]


@pytest.mark.asyncio
async def test_a_fault_of_ours_in_a_flush_gives_the_messages_back() -> None:
    """Even then no message stays held for ever, and none is acknowledged."""
    async with Bench() as bench:
        bench.writer.errors = [RuntimeError("a bug")]
        message = bench.message()
        bench.batcher.hold([message])
        await bench.batcher.put(Entry(message, rows=[(1,)]))
        await bench.batcher.settle()
        assert heard(message) == ["nak 5"]
        assert await bench.batcher.drain(timeout_s=1) == 0


def test_the_ack_rule_lives_in_one_place() -> None:
    """Only the Batcher acknowledges; nobody terminates."""
    from pathlib import Path

    room = Path(__file__).parents[4] / "workers"
    sources = {path.relative_to(room).as_posix(): path.read_text() for path in room.rglob("*.py")}
    # handover.py only passes on the last acknowledgement of a body's parts, each of which the Batcher gave.
    assert sorted(name for name, text in sources.items() if ".ack()" in text) == [
        "consume/handover.py",
        "store/batcher.py",
    ]
    assert not [name for name, text in sources.items() if ".term()" in text]


@pytest.mark.asyncio
async def test_it_ends_though_one_of_its_tasks_misses_the_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Python 3.11 a wait for the broker does, when the answer comes in the same turn of the loop."""
    monkeypatch.setattr(tasks, "AGAIN_S", 0.01)
    bench = Bench()
    sleep = bench.clock.sleep

    async def sleep_on(seconds: float) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await sleep(seconds)

    monkeypatch.setattr(bench.clock, "sleep", sleep_on)
    running = asyncio.create_task(bench.batcher.run())
    await settled()
    monkeypatch.setattr(bench.clock, "sleep", sleep)
    await tasks.end(running)
    assert running.cancelled()
