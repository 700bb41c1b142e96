"""Blocks of rows in a real engine: every column as if each row had been encoded by itself, and a bad row dies alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.cli.servers import open_clickhouse
from ops.provisioning import migrate
from schemas.blocks.rows import MixedRows, RowBlock, join_rows
from schemas.compiled import readers as compiled
from schemas.otlp import record_blocks
from schemas.rows import EVENTS_TABLE, Row
from tests import databases
from tests.servers import Server
from tests.unit import log_bodies, span_bodies
from tests.unit.workers.normalise.sentry import test_transaction_blocks as spans_of_transactions
from tests.unit.workers.normalise.sentry.test_transaction_blocks import USUAL
from workers.clock import SystemClock
from workers.normalise.otlp.body import LOG_COLUMNS, SPAN_COLUMNS, normalise_logs, normalise_spans
from workers.normalise.sentry import transaction
from workers.settings import WorkerSettings
from workers.store import block_insert, writers
from workers.store.insert import Inserter
from workers.store.writers import ClickHouseWriter

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(compiled.span_block is None, reason="no compiled readers: there are no blocks"),
]
SORTED = "SELECT * FROM event_rows ORDER BY organisation, channel_id, source_seq, source_ordinal"
QUANTITY = SPAN_COLUMNS.index("source_seq")

Database = Callable[[], WorkerSettings]


@pytest.fixture
def empty_database(clickhouse_server: Server) -> Iterator[Database]:
    """Settings with a database that has no row; each call empties the one before."""
    used: list[str] = []

    def empty() -> WorkerSettings:
        if used:
            databases.give_back(clickhouse_server, used.pop())
        used.append(databases.take(clickhouse_server))
        settings = WorkerSettings(clickhouse_url=clickhouse_server.url, clickhouse_database=used[0])
        migrate.migrate_tables(settings, dry_run=False)
        return settings

    yield empty
    for name in used:
        databases.give_back(clickhouse_server, name)


def made() -> MixedRows:
    """The rows of all messages, in blocks and beside them."""
    rows = join_rows(normalise_spans(origin, body).rows for origin, body in span_bodies.messages())
    assert isinstance(rows, MixedRows)
    assert len(rows.blocks()) > 15
    assert rows.loose()
    return rows


@pytest.fixture
def from_afar(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Whether inserts go to the engine as to another machine: compressed."""
    return lambda is_far: monkeypatch.setattr(writers, "is_on_this_machine", lambda _url: not is_far)


async def stored(
    settings: WorkerSettings, rows: Any, columns: tuple[str, ...] = SPAN_COLUMNS
) -> tuple[list[Any], list[Any]]:
    """What the engine gives back, with the names of its columns; and the refused rows."""
    writer = ClickHouseWriter(settings)
    try:
        refused = await Inserter(writer, SystemClock()).insert(EVENTS_TABLE, columns, rows)
    finally:
        await writer.close()
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    return client.query(SORTED).result_rows, refused


@pytest.mark.asyncio
async def test_the_engine_has_equal_rows(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, from_afar: Callable[[bool], None]
) -> None:
    """Each column, computed ones too, however many blocks are joined, with few and with hundreds of keys, compressed
    and not.

    As of the same rows encoded one by one, and as of those that are made without compiled code.
    """
    rows = made()
    assert len({key for block in rows.blocks() for key in block.keys}) > 256
    expected, refused = await stored(empty_database(), list(rows))
    assert not refused
    assert len(expected) == len(rows)
    for joined_bytes in (0, 100_000, block_insert.JOINED_BYTES):
        from_afar(joined_bytes == 0)
        monkeypatch.setattr(block_insert, "JOINED_BYTES", joined_bytes)
        found, _ = await stored(empty_database(), rows)
        assert repr(found) == repr(expected)
    monkeypatch.setattr(record_blocks, "LEAST_RECORDS", 2**63)
    plain = join_rows(normalise_spans(origin, body).rows for origin, body in span_bodies.messages())
    assert isinstance(plain, list)
    assert repr(plain) == repr(rows)


@pytest.mark.asyncio
async def test_the_engine_has_equal_rows_of_logs(empty_database: Database) -> None:
    """The same of log records: severities of several blocks, repairs, ids that come last."""
    rows = join_rows(normalise_logs(origin, body).rows for origin, body in log_bodies.messages())
    assert isinstance(rows, MixedRows)
    assert len({word for block in rows.blocks() for word in block.words}) > 256
    expected, refused = await stored(empty_database(), list(rows), LOG_COLUMNS)
    assert not refused
    assert len(expected) == len(rows)
    found, _ = await stored(empty_database(), rows, LOG_COLUMNS)
    assert repr(found) == repr(expected)


@pytest.mark.asyncio
async def test_the_engine_has_equal_rows_of_transactions(
    empty_database: Database, from_afar: Callable[[bool], None]
) -> None:
    """The same of the spans of transactions: the rows of the transactions stand beside them, and an odd span."""
    spans = [spans_of_transactions.span(number, **members) for number, members in enumerate(USUAL.values())]
    bodies = [spans_of_transactions.body(spans), spans_of_transactions.body([*spans[:9], {**spans[9], "op": None}])]
    rows = join_rows(transaction.normalise(spans_of_transactions.ORIGIN, body).rows for body in bodies)
    assert isinstance(rows, MixedRows)
    assert [block.count for block in rows.blocks()] == [len(spans), 9]
    from_afar(True)
    expected, refused = await stored(empty_database(), list(rows), transaction.COLUMNS)
    assert not refused
    assert len(expected) == len(rows)
    from_afar(False)
    found, _ = await stored(empty_database(), rows, transaction.COLUMNS)
    assert repr(found) == repr(expected)


def _spoiled(row: Row) -> Row:
    return (*row[:QUANTITY], -1, *row[QUANTITY + 1 :])


@pytest.mark.asyncio
async def test_a_bad_row_beside_blocks_dies_alone(empty_database: Database) -> None:
    """It is found by halves; a block is taken apart only where the bad row may be in it."""
    rows = made()
    bad = len(rows)
    rows.append(_spoiled(rows[0]))
    found, refused = await stored(empty_database(), rows)
    assert [one.index for one in refused] == [bad]
    assert len(found) == bad


@pytest.mark.asyncio
async def test_a_bad_block_costs_no_other(empty_database: Database) -> None:
    """A value that all rows of a block share, and that does not fit: they are refused one by one, the others stored."""
    rows = made()
    block = rows.blocks()[3]
    place = rows.pieces.index(block)
    start = sum(map(len, rows.pieces[:place]))
    constants = list(block.constants)
    constants[SPAN_COLUMNS.index("channel_id")] = -1
    spoiled = RowBlock(block.layout, block.parts, block.keys, tuple(constants), block.first, block.count)
    rows = MixedRows([*rows.pieces[:place], spoiled, *rows.pieces[place + 1 :]])
    found, refused = await stored(empty_database(), rows)
    assert sorted(one.index for one in refused) == list(range(start, start + len(spoiled)))
    assert len(found) == len(rows) - len(spoiled)
