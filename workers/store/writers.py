"""Writers: one insert into ClickHouse, or none at all in a dry run. insert.py retries and bisects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import clickhouse_connect
import structlog
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.summary import QuerySummary

from schemas.blocks.rows import MixedRows
from schemas.identifiers import SYSTEM_COLUMN, SYSTEM_TABLE, system_in
from schemas.rows import Row
from workers.settings import WorkerSettings
from workers.store.block_insert import BlockInsertContext, PartsInsertContext
from workers.store.clickhouse_errors import OurFault, RetryLater, classify
from workers.store.insert_answer import check_written, read_answers
from workers.store.same_system import check_system

log = structlog.get_logger()

CONNECT_TIMEOUT_S: Final = 5
CHECK_TIMEOUT_S: Final = 10
# Messages are acknowledged by the answer to this insert. So the server must not batch by itself, and for a Distributed
# table the rows must be on their shards. Merges and FINAL remove equal rows anyway; doing it in the insert would copy
# the block once more (docs/decisions/0012-stored.md).
# Progress in headers would make the server answer 200 before it knows how the insert ends.
_INSERT_SETTINGS: Final = {
    "async_insert": 0, "distributed_foreground_insert": 1, "optimize_on_insert": 0, "send_progress_in_http_headers": 0,
}  # fmt: skip
# For a repeat after an answer with too few rows. With deduplication, a server that has stored the rows would skip the
# repeated block, and its number would stay too small. Inserting the same rows twice does no harm.
_REPEAT_SETTINGS: Final = {"insert_deduplicate": 0}


class Writer(Protocol):
    """The interface between workers and ClickHouse."""

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Returns when every row is stored.

        Raises clickhouse_errors.InsertFailed; then any part of them may be stored.
        """


class InsertPart(NamedTuple):
    """Rows with the same columns."""

    columns: Sequence[str]
    rows: Sequence[Row]


class ClosableWriter(Writer, Protocol):
    """A Writer that lives as long as its process."""

    async def check(self, system_id: str = "") -> None:
        """Returns when ClickHouse has answered with our user and database, and its tables are of this system.

        An empty id is not compared. Raises clickhouse_errors.InsertFailed.
        """

    async def close(self) -> None:
        """Ends its connections."""


class PartsWriter(ClosableWriter, Protocol):
    """A Writer that can insert several parts at once."""

    async def insert_parts(self, table: str, parts: Sequence[InsertPart]) -> None:
        """As `insert`, of the rows of all parts: they are stored by one statement."""


class ClickHouseWriter:
    """Native inserts through one asynchronous client for the whole process; connects when first needed."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._types: dict[tuple[str, tuple[str, ...]], Sequence[ClickHouseType]] = {}
        self._not_written: set[str] = set()

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        await self.insert_parts(table, (InsertPart(columns, rows),))

    async def insert_parts(self, table: str, parts: Sequence[InsertPart]) -> None:
        try:
            async with asyncio.timeout(self._settings.worker_insert_timeout_s):
                await self._insert(table, parts)
        except Exception as error:
            failure = classify(error)
            if isinstance(failure, OurFault):
                self._types.clear()
            raise failure from error

    async def check(self, system_id: str = "") -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                client = await self._connected()
                if not system_id:
                    await client.query("SELECT 1")
                    return
                check_system(system_id, await _system_of(client), self._settings.clickhouse_database)
        except Exception as error:
            raise classify(error) from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _insert(self, table: str, parts: Sequence[InsertPart]) -> None:
        client = await self._connected()
        settings = _INSERT_SETTINGS | (_REPEAT_SETTINGS if table in self._not_written else {})
        contexts = [await self._context(client, table, part, settings) for part in parts]
        whole = contexts[0] if len(contexts) == 1 else PartsInsertContext(table, contexts, settings=settings)
        try:
            summary = await client.data_insert(whole)
        finally:
            for context in contexts:
                context.forget()
        self._check(table, summary, sum(len(part.rows) for part in parts))

    async def _context(
        self, client: AsyncClient, table: str, part: InsertPart, settings: dict[str, Any]
    ) -> BlockInsertContext:
        columns = tuple(part.columns)
        types = await self._column_types(client, table, columns)
        # Rows, not columns: the client turns them block by block in its own thread, which is faster than zip(*rows)
        # here (docs/decisions/0003-faststream-pump.md has the numbers) and does not stop the event loop.
        rows = part.rows if isinstance(part.rows, MixedRows) else MixedRows([list(part.rows)])
        return BlockInsertContext(table, columns, types, rows, settings=settings)

    def _check(self, table: str, summary: QuerySummary, rows: int) -> None:
        try:
            check_written(summary, rows)
        except RetryLater:
            self._not_written.add(table)
            raise
        self._not_written.discard(table)

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._settings)
            return self._client

    async def _column_types(
        self, client: AsyncClient, table: str, columns: tuple[str, ...]
    ) -> Sequence[ClickHouseType]:
        types = self._types.get((table, columns))
        if types is None:
            context = await client.create_insert_context(table, columns)
            types = self._types[table, columns] = context.column_types
        return types


async def _system_of(client: AsyncClient) -> str:
    """The id in the comment of a column: a worker may read columns, but no rows."""
    described = await client.query(f"DESCRIBE TABLE {SYSTEM_TABLE}")
    name, comment = (described.column_names.index(column) for column in ("name", "comment"))
    return next((system_in(str(row[comment])) for row in described.result_rows if row[name] == SYSTEM_COLUMN), "")


def is_on_this_machine(url: str) -> bool:
    """Whether an address is of the loopback interface, without TLS: bytes cost nothing there, compressing them does."""
    parts = urlsplit(url)
    if parts.scheme.lower() != "http" or not parts.hostname:
        return False
    with suppress(ValueError):
        return ip_address(parts.hostname).is_loopback
    return parts.hostname == "localhost"


async def connect(settings: WorkerSettings) -> AsyncClient:
    """A client whose inserts may run side by side. Raises what clickhouse-connect raises."""
    client = await clickhouse_connect.get_async_client(
        dsn=settings.clickhouse_url,
        interface=settings.clickhouse_interface(),
        username=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        database=settings.clickhouse_database,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=settings.worker_insert_timeout_s,
        autogenerate_session_id=False,
        query_retries=0,
        compress=not is_on_this_machine(settings.clickhouse_url),
        client_name="axonpush-worker",
    )
    read_answers(client)
    return client
