"""Inserts of several batchers as one: each caller learns what became of its own rows, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.rows import Row
from tests.unit.worker_fakes import FakeClock, settled
from workers.store import combining
from workers.store.clickhouse_errors import BadData, InsertFailed, RetryLater
from workers.store.combining import APART_S, GATHER_S, CombiningWriter
from workers.store.insert import Inserter
from workers.store.writers import InsertPart

BAD = ("bad",)
COLUMNS = ("value",)


class PartsKept:
    """A writer that keeps the rows of each insert, by part; `gate` makes inserts wait."""

    def __init__(self) -> None:
        self.inserts: list[list[Sequence[Row]]] = []
        self.stored: list[Row] = []
        self.errors: list[InsertFailed] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_closed = False

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        await self.insert_parts(table, (InsertPart(columns, rows),))

    async def insert_parts(self, table: str, parts: Sequence[InsertPart]) -> None:
        self.inserts.append([part.rows for part in parts])
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        rows = [row for part in parts for row in part.rows]
        if BAD in rows:
            raise BadData("text is not a number", "Cannot parse", 72)
        self.stored += rows

    async def check(self, system_id: str = "") -> None:
        """Nothing to check."""

    async def close(self) -> None:
        self.is_closed = True


class Bench:
    """A CombiningWriter with a clock, and inserts that run."""

    def __init__(self, in_flight: int = 2) -> None:
        self.clock = FakeClock()
        self.below = PartsKept()
        self.writer = CombiningWriter(self.below, self.clock, in_flight)

    def begin(self, *rows: Row, table: str = "t") -> asyncio.Task[None]:
        return asyncio.create_task(self.writer.insert(table, COLUMNS, list(rows)))

    async def gathered(self) -> None:
        await settled()
        await self.clock.turn(GATHER_S)


@pytest.mark.asyncio
async def test_what_comes_at_the_same_moment_is_one_insert() -> None:
    """Of one table; callers wait until their rows are stored."""
    bench = Bench()
    bench.below.gate.clear()
    works = [bench.begin(("a",)), bench.begin(("b",), ("c",)), bench.begin(("d",), table="other")]
    await bench.gathered()
    assert bench.below.inserts == [[[("a",)], [("b",), ("c",)]], [[("d",)]]]
    assert not any(work.done() for work in works)
    bench.below.gate.set()
    await asyncio.gather(*works)


@pytest.mark.asyncio
async def test_what_comes_while_all_inserts_run_goes_with_the_next() -> None:
    """No more than `in_flight` run."""
    bench = Bench(in_flight=1)
    bench.below.gate.clear()
    works = [bench.begin(("a",))]
    await bench.gathered()
    works += [bench.begin(("b",)), bench.begin(("c",))]
    await bench.gathered()
    assert bench.below.inserts == [[[("a",)]]]
    bench.below.gate.set()
    await bench.gathered()
    await asyncio.gather(*works)
    assert bench.below.inserts == [[[("a",)]], [[("b",)], [("c",)]]]


@pytest.mark.parametrize(("limit", "most"), [("MAX_PARTS", 2), ("MAX_ROWS", 5)])
@pytest.mark.asyncio
async def test_one_insert_is_not_too_large(monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    """What is too much goes with the next; a batch that is too large by itself goes alone."""
    monkeypatch.setattr(combining, limit, most)
    bench = Bench(in_flight=1)
    sizes = [2, 2, 2, 6, 2]
    works = [bench.begin(*[(place,)] * size) for place, size in enumerate(sizes)]
    for _ in sizes:
        await bench.gathered()
    await asyncio.gather(*works)
    found = [[len(rows) for rows in insert] for insert in bench.below.inserts]
    assert found == ([[2, 2], [2, 6], [2]] if limit == "MAX_PARTS" else [[2, 2], [2], [6], [2]])


@pytest.mark.asyncio
async def test_bad_rows_of_one_batch_concern_no_other() -> None:
    """All rows of the others are stored once; the search for the bad row holds nobody."""
    bench = Bench()
    inserter = Inserter(bench.writer, bench.clock)
    works = [
        asyncio.create_task(inserter.insert("t", COLUMNS, rows))
        for rows in ([("a",)], [("b",), BAD, ("c",)], [("d",)], [BAD])
    ]
    await bench.gathered()
    refused = await asyncio.gather(*works)
    assert [[one.index for one in rows] for rows in refused] == [[], [1], [], [0]]
    assert sorted(bench.below.stored) == [("a",), ("b",), ("c",), ("d",)]
    assert [len(insert) for insert in bench.below.inserts] == [4, 1, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.asyncio
async def test_after_a_failure_each_insert_goes_alone_for_a_while() -> None:
    """Together they may have been too large, and what waits out an outage must hold no other."""
    bench = Bench()
    bench.below.errors = [RetryLater("memory limit of a query", "too much", 241)]
    works = [bench.begin(("a",)), bench.begin(("b",))]
    await bench.gathered()
    found = await asyncio.gather(*works, return_exceptions=True)
    assert [type(error) for error in found] == [RetryLater, RetryLater]
    await asyncio.gather(bench.begin(("a",)), bench.begin(("b",)))
    assert bench.below.inserts[1:] == [[[("a",)]], [[("b",)]]]
    await bench.clock.turn(APART_S)
    works = [bench.begin(("c",)), bench.begin(("d",))]
    await bench.gathered()
    await asyncio.gather(*works)
    assert bench.below.inserts[3:] == [[[("c",)], [("d",)]]]
    assert bench.below.stored == [("a",), ("b",), ("c",), ("d",)]


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.asyncio
async def test_a_caller_that_gives_up_disturbs_no_other(is_running: bool) -> None:
    """Its rows are not inserted if that had not begun."""
    bench = Bench()
    bench.below.gate.clear()
    gives_up, stays = bench.begin(("a",)), bench.begin(("b",))
    await (bench.gathered if is_running else settled)()
    gives_up.cancel()
    await bench.gathered()
    bench.below.gate.set()
    await stays
    assert gives_up.cancelled()
    assert bench.below.stored == ([("a",), ("b",)] if is_running else [("b",)])


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.asyncio
async def test_close_ends_what_runs(is_running: bool) -> None:
    """Its callers do not wait for ever."""
    bench = Bench()
    bench.below.gate.clear()
    works = [bench.begin(("a",)), bench.begin(("b",))]
    await (bench.gathered if is_running else settled)()
    await bench.writer.close()
    found = await asyncio.wait_for(asyncio.gather(*works, return_exceptions=True), 5)
    assert [type(error) for error in found] == [asyncio.CancelledError] * 2
    assert bench.below.is_closed
    assert bench.below.stored == []
