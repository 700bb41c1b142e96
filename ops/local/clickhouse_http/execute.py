"""Runs one request against the engine, in its own thread, and sends the result through a pipe.

A result is written `INTO OUTFILE` to a pipe, because that streams every format in bounded memory. chDB's own streaming
repeats headers with every block, so it suits only a few formats.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ops.local.clickhouse_http import statement
from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.guard import Input, Plan
from ops.local.clickhouse_http.access.parse import check_length
from ops.local.clickhouse_http.access.rights import Rights
from ops.local.clickhouse_http.access.users import LIMITED, READER, WORKER
from ops.local.clickhouse_http.engine import Engine, EngineSession, StatementCounts
from ops.local.clickhouse_http.errors import (
    MEMORY_LIMIT_EXCEEDED,
    QUERY_WAS_CANCELLED,
    READONLY,
    SUPPORT_IS_DISABLED,
    ServerError,
    refusal,
)
from ops.local.clickhouse_http.pool import Lease, Pool
from ops.local.clickhouse_http.request import Call, ExternalTable, check_native, setting_pairs
from ops.local.clickhouse_http.watchdog import WatchedCall

# The statement of an insert must end within this many bytes: ClickHouse's default max_query_size.
HEAD_BYTES = 256 * 1024
# Longest time of a worker's statement in the engine; workers wait for a minute or two.
WORKER_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class StatementOutcome:
    """The result of a call besides the data in the pipe. `format` is empty when there is no data."""

    counts: StatementCounts
    format: str = ""
    body: bytes = b""


class Run:
    """One running call. The server creates and watches it; a worker thread runs it and owns the writing end of the
    pipe.
    """

    def __init__(self, engine: Engine, pool: Pool, call: Call, body: Iterator[bytes], pipe: int) -> None:
        self._engine = engine
        self._pool = pool
        self._call = call
        self._body = body
        self._pipe = pipe
        self._guard = threading.Lock()
        self._pipe_open = True
        self._abandoned = False
        self.format = ""
        self.watched = WatchedCall()

    def __call__(self) -> StatementOutcome:
        """Runs to the end and always closes the pipe. Raises ServerError."""
        try:
            return self._run()
        except ServerError as error:
            if error.code == MEMORY_LIMIT_EXCEEDED and self._call.user not in LIMITED:
                self._pool.drop_readers_tables()  # frees space for the next attempt of the worker that inserts
            raise
        finally:
            with self._guard:
                self._pipe_open = False
                os.close(self._pipe)

    def abandon(self) -> None:
        """Called when the client is gone: stops a reading query. Blocks for about a millisecond."""
        with self._guard:
            self._abandoned = True
            running = self._pipe_open
        if running:  # while the pipe is open its number is unique, so no other query can be hit
            self._engine.kill_writer(self._pipe_path)

    @property
    def _pipe_path(self) -> str:
        return f"/dev/fd/{self._pipe}"

    def _run(self) -> StatementOutcome:
        call = self._call
        self._engine.guard.check_settings(call.user, call.settings)
        self._rights.check_database(call.database)
        if call.user == READER:
            self._pool.admit_reader()
        text, whole = self._opening()
        if statement.first_word(text) == "INSERT" and (head := statement.insert_head(text)):
            plan = self._engine.guard.insert(call.user, head.sql, head.format)
            check_native(call, plan.format if isinstance(plan, Plan) else plan.plan.format)
            self._refuse_writing()
            if whole and head.format == "Values":
                return self._insert_values(plan, head, text[head.data_at :])
            with self._pool.lease(call) as lease:
                return StatementOutcome(self._insert(lease, plan, chain((text[head.data_at :],), self._body)))
        plan = self._engine.guard.statement(call.user, text if whole else self._rest(text), call.default_format)
        check_native(call, plan.format)
        with self._pool.lease(call) as lease:
            self._make_tables(lease, call.tables)
            try:
                return self._statement(lease, plan)
            finally:
                self._drop_tables(lease, call.tables)

    def _opening(self) -> tuple[bytes, bool]:
        """The first HEAD_BYTES of the text, and whether that is all of it."""
        parts = [self._call.query] if self._call.query else []
        size = sum(map(len, parts))
        for piece in self._body:
            if not piece:
                continue
            if size and len(parts) == 1 and parts[0] is self._call.query:
                parts.append(b"\n")
            parts.append(piece)
            size += len(piece)
            if size >= HEAD_BYTES:
                return b"".join(parts), False
        return b"".join(parts), True

    def _rest(self, text: bytes) -> bytes:
        """The whole statement, up to what its user may send."""
        parts, size = [text], len(text)
        check_length(self._call.user, size)
        for piece in self._body:
            parts.append(piece)
            size += len(piece)
            check_length(self._call.user, size)
        return b"".join(parts)

    def _insert_values(self, plan: Plan | Input, head: statement.InsertHead, values: bytes) -> StatementOutcome:
        """Inserts VALUES with expressions by a query: the engine does not compute unchecked expressions in VALUES."""
        try:
            with self._pool.lease(self._call) as lease:
                return StatementOutcome(self._insert(lease, plan, iter((values,))))
        except ServerError as error:
            if error.code != SUPPORT_IS_DISABLED:
                raise
        select = self._engine.guard.values(self._call.user, head.sql, values)
        with self._pool.lease(self._call) as lease:
            return self._statement(lease, select)

    def _insert(self, lease: Lease, plan: Plan | Input, data: Iterator[bytes]) -> StatementCounts:
        """An INSERT with data: streamed into the table, or into a temporary one that replaces input()."""
        if isinstance(plan, Plan):
            if self._call.params:  # inserts from a file take parameters only from the session
                lease.spoiled = True
                named = {f"param_{name}": value for name, value in self._call.params.items()}
                lease.session.query("SET " + setting_pairs(named), "Null")
            return self._put(lease, plan, data)
        table = ExternalTable(plan.table, plan.plan.format, plan.structure, b"")
        self._make_tables(lease, (table,), data)
        try:
            with self.watched.running(self._limit_s(plan.plan.text()), stoppable=False):
                counts = lease.session.query(plan.plan.text(), "Null", self._call.params)[1]
            self._pool.wrote(self._call, lease, counts.written_bytes)
            return counts
        finally:
            self._drop_tables(lease, (table,))

    def _make_tables(
        self, lease: Lease, tables: tuple[ExternalTable, ...], data: Iterator[bytes] | None = None
    ) -> None:
        for table in tables:
            lease.spoiled = True
            guard, user = self._engine.guard, self._call.user
            lease.session.query(guard.temporary_table(user, table.name, table.structure), "Null")
            source = iter((table.data,)) if data is None else data
            insert = guard.insert(user, f"INSERT INTO {table.name}".encode(), table.format)
            assert isinstance(insert, Plan)
            self._put(lease, insert, source)

    def _put(self, lease: Lease, plan: Plan, data: Iterator[bytes]) -> StatementCounts:
        try:
            counts = lease.session.insert(plan, self.watched.after(data, self._limit_s(plan.text())))
        finally:
            self.watched.end()
        self._pool.wrote(self._call, lease, counts.written_bytes)
        return counts

    def _limit_s(self, text: bytes) -> float:
        """The longest time a statement may take: statement and session of a reader may differ from the URL.

        The operator has no limit: a migration or a backup may take hours.
        """
        if self._call.user not in LIMITED:
            return WORKER_LIMIT_S if self._call.user == WORKER else math.inf
        name = "max_execution_time"
        given = self._call.settings.get(name)
        if name.encode() in text or (given is None and self._call.session):
            return float(allowed.READER_BOUNDS[name])
        return float(given or allowed.READER_DEFAULTS[name])

    def _drop_tables(self, lease: Lease, tables: tuple[ExternalTable, ...]) -> None:
        for table in tables:
            lease.session.query(f"DROP TEMPORARY TABLE IF EXISTS {table.name}", "Null")

    def _statement(self, lease: Lease, plan: Plan) -> StatementOutcome:
        """Runs a statement without data."""
        if plan.kind == "read":
            return self._read(lease.session, plan)
        if plan.kind == "write":
            self._refuse_writing()
        lease.spoiled = plan.kind in ("session", "use") or plan.temporary
        with self.watched.running(self._limit_s(plan.text()), stoppable=False):
            body, counts = lease.session.query(plan.text(), plan.format, self._call.params)
        if plan.kind == "write":
            self._pool.wrote(self._call, lease, counts.written_bytes)
        if plan.kind == "use":
            self._pool.set_database(self._call, lease)
        return StatementOutcome(counts, plan.format if body or plan.kind == "answer" else "", body)

    def _read(self, session: EngineSession, plan: Plan) -> StatementOutcome:
        self.format = plan.format
        with self._guard:
            if self._abandoned:
                raise refusal(QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", "Query was cancelled")
        text = plan.text(self._pipe_path)
        with self.watched.running(self._limit_s(text), stoppable=True):
            _, counts = session.query(text, plan.format, self._call.params)
        return StatementOutcome(counts, plan.format)

    @property
    def _rights(self) -> Rights:
        return self._engine.guard.rights[self._call.user]

    def _refuse_writing(self) -> None:
        """Refuses changes by GET requests."""
        if self._call.readonly:
            text = (
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
                "You should use method POST for modifying queries"
            )
            raise refusal(READONLY, "READONLY", text)
