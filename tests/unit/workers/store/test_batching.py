"""When a batch is flushed, and what its metrics say."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from ops.runtime import tasks
from schemas.blocks.columns import Ordinals
from schemas.blocks.rows import Layout, MixedRows, RowBlock
from schemas.outcomes import LedgerRow, Outcome, outcome_row
from schemas.rows import LEDGER_TABLE
from tests.unit.worker_fakes import COLUMNS, TABLE, Bench, heard, origin, settled
from workers.consume.message import Entry
from workers.store.batcher import Batcher, BatchLimits


async def put(bench: Bench, name: str, **entry: object) -> object:
    message = bench.message(name)
    bench.batcher.hold([message])
    await bench.batcher.put(Entry(message, **entry))  # type: ignore[arg-type]
    return message


@pytest.mark.asyncio
async def test_entries_wait_for_company_until_the_first_is_old_enough() -> None:
    """One insert of all that came within the age of the first: not one each, and not later."""
    async with Bench(age_s=0.2) as bench:
        for number in range(4):
            await put(bench, str(number), rows=[(number,)])
            await bench.clock.turn(0.05 if number < 3 else 0)
        assert bench.writer.inserts == []
        await bench.clock.turn(0.06)
        assert bench.writer.inserts == [(TABLE, 4)]


@pytest.mark.asyncio
async def test_the_age_counts_from_the_first_entry_of_each_batch() -> None:
    """The one before was stored long ago: the next waits its own time."""
    async with Bench(age_s=0.2) as bench:
        await put(bench, "a", rows=[(1,)])
        await bench.clock.turn(0.2)
        await bench.clock.turn(100)
        await put(bench, "b", rows=[(2,)])
        await settled()
        assert bench.writer.inserts == [(TABLE, 1)]
        await bench.clock.turn(0.19)
        assert bench.writer.inserts == [(TABLE, 1)]
        await bench.clock.turn(0.02)
        assert bench.writer.inserts == [(TABLE, 1), (TABLE, 1)]


@pytest.mark.asyncio
async def test_rows_and_outcomes_fill_a_batch_together() -> None:
    """Both are rows to the engine."""
    async with Bench(age_s=999, rows=2) as bench:
        row = outcome_row(origin(), "event", Outcome("rejected", "late", "event"))
        message = await put(bench, "a", origin=origin(), rows=[(1,)], outcomes=[row])
        await settled()
        assert heard(message) == ["ack"]  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_no_label_has_a_senders_text() -> None:
    """What SDKs report as lost has any reason they like: one series, whatever they write. Ours are cut at the colon."""
    async with Bench() as bench:
        outcomes = [
            *(outcome_row(origin(), "unpack", Outcome("client_discarded", f"text {n}", "event")) for n in range(9)),
            *(outcome_row(origin(), "unpack", Outcome("dropped", f"unsupported:type {n}", "x", 2)) for n in range(9)),
        ]
        before = series()
        await put(bench, "a", origin=origin(), outcomes=outcomes)
        await bench.batcher.settle()
        counted = {name: count - before.get(name, 0) for name, count in series().items()}
        assert {name: count for name, count in counted.items() if count} == {
            ("client_discarded", ""): 9,
            ("dropped", "unsupported"): 18,
        }


def series() -> dict[tuple[str, str], float]:
    """What the outcome metric says of the worker `event`, by its labels."""
    return {
        (one.labels["outcome"], one.labels["reason"]): one.value
        for metric in REGISTRY.collect()
        for one in metric.samples
        if one.name == "axonpush_worker_outcomes_total" and one.labels["worker"] == "event"
        if one.labels["outcome"] in ("client_discarded", "dropped")
    }


@pytest.mark.asyncio
async def test_twice_as_many_rows_in_blocks_fill_a_batch() -> None:
    """They take less memory; a row beside them counts as ever."""
    layout = Layout("test", (Ordinals("place", 0),), 0)
    block = RowBlock(layout, (bytes(4 * 4),), [], (), 0, 4, [(4,)])
    async with Bench(age_s=999, rows=6) as bench:
        for number in range(2):
            await put(bench, str(number), rows=MixedRows([block]))
            await settled()
            assert bench.writer.inserts == ([(TABLE, 10)] if number else [])


@pytest.mark.parametrize(("table", "joins"), [(TABLE, True), ("other_rows", False)])
@pytest.mark.asyncio
async def test_batches_of_one_table_leave_together(table: str, joins: bool) -> None:
    """The younger one goes with the older: its rows wait less, and there is one insert."""
    async with Bench(age_s=0.2) as bench:
        other = Batcher("log", table, COLUMNS, bench.outlets, BatchLimits(age_s=999))
        message = bench.message("other")
        other.hold([message])
        await put(bench, "a", rows=[(1,)])
        await bench.clock.turn(0.1)
        await other.put(Entry(message, rows=[(2,), (3,)]))
        await settled()
        assert bench.writer.inserts == []
        await bench.clock.turn(0.1)
        assert bench.writer.inserts == [(TABLE, 1), (TABLE, 2)][: 1 + joins]
        assert heard(message) == ["ack"] * joins


@pytest.mark.asyncio
async def test_a_batch_with_no_insert_left_joins_nobody() -> None:
    """It grows until one of its own inserts has ended."""
    async with Bench(age_s=0.2) as bench:
        other = Batcher("log", TABLE, COLUMNS, bench.outlets, BatchLimits(rows=1, in_flight=1))
        messages = [bench.message("first"), bench.message("second")]
        other.hold(messages)
        bench.writer.gate.clear()
        await other.put(Entry(messages[0], rows=[(1,)]))
        waiting = asyncio.create_task(other.put(Entry(messages[1], rows=[(2,)])))
        await settled()
        await put(bench, "a", rows=[(3,)])
        await bench.clock.turn(0.2)
        assert bench.writer.inserts == [(TABLE, 1), (TABLE, 1)]
        bench.writer.gate.set()
        await waiting
        await settled()
        assert bench.writer.stored == {TABLE: [(1,), (3,), (2,)]}


def counted() -> LedgerRow:
    return LedgerRow(0, "acme", 7, "unpack", 5, 0, 0, 1)


@pytest.mark.asyncio
async def test_counts_without_rows_leave_with_those_of_rows() -> None:
    """Rows first, then the counts of both workers at the same moment."""
    async with Bench(age_s=0.2) as bench:
        unpack = Batcher("unpack", "", (), bench.outlets, BatchLimits(age_s=999))
        message = bench.message("body")
        unpack.hold([message])
        await unpack.put(Entry(message, ledger=counted()))
        await put(bench, "a", rows=[(1,)], ledger=counted())
        bench.writer.gate.clear()
        await bench.clock.turn(0.2)
        assert bench.writer.inserts == [(TABLE, 1)]
        bench.writer.gate.set()
        await settled()
        assert bench.writer.inserts == [(TABLE, 1), (LEDGER_TABLE, 1), (LEDGER_TABLE, 1)]
        assert heard(message) == ["ack"]


@pytest.mark.asyncio
async def test_counts_without_rows_wait_twice_as_long() -> None:
    """And then leave by themselves, once: no batch of counts calls another one."""
    async with Bench() as bench:
        unpack = Batcher("unpack", "", (), bench.outlets, BatchLimits(age_s=0.2))
        running = asyncio.create_task(unpack.run())
        messages = [bench.message(str(number)) for number in range(2)]
        unpack.hold(messages)
        await unpack.put(Entry(messages[0], ledger=counted()))
        await bench.clock.turn(0.3)
        assert bench.writer.inserts == []
        bench.writer.gate.clear()
        await bench.clock.turn(0.2)
        await unpack.put(Entry(messages[1], ledger=counted()))
        bench.writer.gate.set()
        await settled()
        assert bench.writer.inserts == [(LEDGER_TABLE, 1)]
        await bench.clock.turn(0.4)
        assert bench.writer.inserts == [(LEDGER_TABLE, 1), (LEDGER_TABLE, 1)]
        await tasks.end(running)
