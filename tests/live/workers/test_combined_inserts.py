"""Rows of several item types in one insert: a real engine has the same rows as after an insert for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from ops.cli.servers import open_clickhouse
from ops.provisioning import migrate
from schemas.blocks.rows import MixedRows, Rows, join_rows
from schemas.rows import EVENTS_TABLE
from tests import databases
from tests.servers import Server
from tests.unit import span_bodies
from tests.unit.workers.normalise import test_examples as examples
from workers.clock import SystemClock
from workers.normalise.otlp.body import normalise_spans
from workers.settings import WorkerSettings
from workers.store import combining
from workers.store.clickhouse_errors import BadData
from workers.store.combining import CombiningWriter
from workers.store.insert import Inserter, RowRefused
from workers.store.writers import ClickHouseWriter, InsertPart

pytestmark = pytest.mark.live
# Some examples make the same rows; when these are merged is up to the engine.
EVENTS = "SELECT * FROM event_rows FINAL ORDER BY ALL"
ERRORS = "SELECT * FROM error_rows FINAL ORDER BY ALL"
TRACES = "SELECT trace_id, min(first_at), max(last_at) FROM trace_bounds GROUP BY trace_id ORDER BY trace_id"


@contextmanager
def database(server: Server) -> Iterator[WorkerSettings]:
    """Settings with an empty database."""
    name = databases.take(server)
    try:
        settings = WorkerSettings(clickhouse_url=server.url, clickhouse_database=name)
        migrate.migrate_tables(settings, dry_run=False)
        yield settings
    finally:
        databases.give_back(server, name)


def made() -> dict[str, InsertPart]:
    """The rows of all examples by worker, and spans in blocks."""
    rows: dict[str, Rows] = {}
    for path in sorted(examples.CASES.glob("*.json")):
        for worker, verdict in examples.verdicts(json.loads(path.read_text()))[0]:
            rows[worker] = join_rows([rows.get(worker, []), verdict.rows])
    spans = join_rows(normalise_spans(origin, body).rows for origin, body in span_bodies.messages())
    rows["otlp_span"] = join_rows([rows["otlp_span"], spans])
    return {worker: InsertPart(examples.OF_WORKER[worker].columns, found) for worker, found in rows.items()}


def stored(settings: WorkerSettings, query: str) -> str:
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    return repr(client.query(query).result_rows)


class CountingWriter(ClickHouseWriter):
    """Keeps the number of parts of each insert."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.inserts: list[int] = []

    async def insert_parts(self, table: str, parts: Sequence[InsertPart]) -> None:
        self.inserts.append(len(parts))
        await super().insert_parts(table, parts)


async def insert(
    settings: WorkerSettings, parts: list[InsertPart], *, combined: bool
) -> tuple[list[list[RowRefused]], list[int]]:
    """Each part as a batcher inserts it, one after another or all at once. What was refused, and parts by insert."""
    below = CountingWriter(settings)
    writer = CombiningWriter(below, SystemClock(), in_flight=1)
    inserter = Inserter(writer, SystemClock())
    works = [inserter.insert(EVENTS_TABLE, part.columns, part.rows) for part in parts]
    try:
        refused = list(await asyncio.gather(*works)) if combined else [await work for work in works]
    finally:
        await writer.close()
    return refused, below.inserts


@pytest.mark.asyncio
async def test_the_engine_has_equal_rows(clickhouse_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column of each item type, computed ones too, and what views make of them."""
    monkeypatch.setattr(combining, "MAX_PARTS", 100)
    parts = list(made().values())
    assert len(parts) > 10
    assert any(isinstance(part.rows, MixedRows) for part in parts)
    with database(clickhouse_server) as settings:
        assert await insert(settings, parts, combined=False) == ([[]] * len(parts), [1] * len(parts))
        expected = [stored(settings, query) for query in (EVENTS, ERRORS, TRACES)]
    with database(clickhouse_server) as settings:
        assert await insert(settings, parts, combined=True) == ([[]] * len(parts), [len(parts)])
        assert [stored(settings, query) for query in (EVENTS, ERRORS, TRACES)] == expected
    assert "[]" not in expected


@pytest.mark.asyncio
async def test_a_bad_row_is_refused_in_its_own_part(clickhouse_server: Server) -> None:
    """The others are stored, though all were one insert first."""
    found = made()
    parts = [found["event"], found["transaction"], found["otlp_span"]]
    columns, rows = found["event"]
    spoiled = list(rows[2])
    spoiled[list(columns).index("source_seq")] = -1
    parts[0] = InsertPart(columns, [*rows[:2], tuple(spoiled), *rows[3:]])
    with database(clickhouse_server) as settings:
        refused, inserts = await insert(settings, parts, combined=True)
        count = stored(settings, "SELECT count() FROM event_rows")
    assert [[one.index for one in of_part] for of_part in refused] == [[2], [], []]
    assert isinstance(refused[0][0].error, BadData)
    assert inserts[:4] == [3, 1, 1, 1]
    assert set(inserts[4:]) == {1}
    assert count == f"[({sum(len(part.rows) for part in parts) - 1},)]"
