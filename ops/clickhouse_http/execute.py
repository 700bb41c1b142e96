"""Running one call against the engine, in a thread of its own: decides how, and leads the result into a pipe.

The result of a reading statement goes `INTO OUTFILE` of a pipe, for every format streams through it in bounded memory
(chDB's own streaming repeats headers with every block, so it only suits a few formats); it costs 0.2 ms.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ops.clickhouse_http import statement
from ops.clickhouse_http.body import PIECE_BYTES
from ops.clickhouse_http.engine import Analysis, Counts, Engine, Session, unknown_format
from ops.clickhouse_http.errors import (
    QUERY_IS_TOO_LARGE,
    QUERY_WAS_CANCELLED,
    READONLY,
    SYNTAX_ERROR,
    refusal,
)
from ops.clickhouse_http.pool import Lease, Pool
from ops.clickhouse_http.request import Call, ExternalTable, setting_pairs

# An insert's statement must end within this many bytes of text: ClickHouse's default max_query_size.
HEAD_BYTES = 256 * 1024
# Statements longer than the engine's max_query_size are refused by it; this only bounds what we hold to ask it.
MAX_QUERY_BYTES = 64 * PIECE_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave, apart from what went through the pipe. `format` is empty when there is no result."""

    counts: Counts
    format: str = ""
    body: bytes = b""


class Run:
    """One call on its way. Made and watched by the server, called in a worker thread, which owns the pipe's end."""

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

    def __call__(self) -> Outcome:
        """Run to the end and close the pipe, whatever happens. Raises ServerError."""
        try:
            return self._run()
        finally:
            with self._guard:
                self._pipe_open = False
                os.close(self._pipe)

    def abandon(self) -> None:
        """Nobody waits for the result any more: stop it if it is a reading query. Blocks for a millisecond."""
        with self._guard:
            self._abandoned = True
            running = self._pipe_open
        if running:  # while the pipe is open its number is ours alone, so no other query can be meant
            self._engine.kill_writer(self._pipe_path)

    @property
    def _pipe_path(self) -> str:
        return f"/dev/fd/{self._pipe}"

    def _run(self) -> Outcome:
        call = self._call
        text, whole = self._opening()
        if statement.first_word(text) == "INSERT" and (head := statement.insert_head(text)):
            inline = head.format == "Values" and whole
            source = statement.input_call(head.sql)
            if source or not (inline or _selects(head.sql)):
                data = chain((text[head.data_at :],), self._body)
                with self._pool.lease(call) as lease:
                    return Outcome(self._insert(lease, head, source, data))
        with self._pool.lease(call) as lease:
            self._make_tables(lease, call.tables)
            try:
                return self._statement(lease, text if whole else self._rest(text))
            finally:
                self._drop_tables(lease, call.tables)

    def _opening(self) -> tuple[bytes, bool]:
        """The text up to HEAD_BYTES and whether that is all of it."""
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
        parts, size = [text], len(text)
        for piece in self._body:
            parts.append(piece)
            size += len(piece)
            if size > MAX_QUERY_BYTES:
                found = f"The query is longer than {MAX_QUERY_BYTES} bytes"
                raise refusal(QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", found)
        return b"".join(parts)

    def _insert(
        self,
        lease: Lease,
        head: statement.InsertHead,
        source: statement.InputCall | None,
        data: Iterator[bytes],
    ) -> Counts:
        """An INSERT with data: streamed into the table, or into a temporary one which input() then stands for."""
        self._refuse_writing(head.sql)
        statement.refuse_local_files(head.sql)
        if self._call.params and source is None:  # streaming inserts take parameters from the session only
            lease.spoiled = True
            named = {f"param_{name}": value for name, value in self._call.params.items()}
            lease.session.query("SET " + setting_pairs(named), "Null")
        if source is None:
            return lease.session.insert(head.sql, head.format, data)
        return self._insert_through_input(lease, head, source, data)

    def _insert_through_input(
        self, lease: Lease, head: statement.InsertHead, source: statement.InputCall, data: Iterator[bytes]
    ) -> Counts:
        table = ExternalTable(f"_input_{uuid.uuid4().hex}", head.format, source.structure, b"")
        self._make_tables(lease, (table,), data)
        try:
            sql = head.sql[: source.start] + table.name.encode() + head.sql[source.end :]
            return lease.session.query(sql, "Null", self._call.params)[1]
        finally:
            self._drop_tables(lease, (table,))

    def _make_tables(
        self, lease: Lease, tables: tuple[ExternalTable, ...], data: Iterator[bytes] | None = None
    ) -> None:
        for table in tables:
            lease.spoiled = True
            lease.session.query(f"CREATE TEMPORARY TABLE {table.name} ({table.structure})", "Null")
            source = iter((table.data,)) if data is None else data
            lease.session.insert(f"INSERT INTO {table.name}".encode(), table.format, source)

    def _drop_tables(self, lease: Lease, tables: tuple[ExternalTable, ...]) -> None:
        for table in tables:
            lease.session.query(f"DROP TEMPORARY TABLE IF EXISTS {table.name}", "Null")

    def _statement(self, lease: Lease, sql: bytes) -> Outcome:
        """Any statement that brings no data of its own."""
        statement.refuse_local_files(sql)
        if not statement.first_word(sql):
            raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error: Empty query")
        analysis = lease.session.analyse(sql)
        if analysis.statements > 1:
            raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
        word = statement.first_word(sql)
        if analysis.kind == "READ_ONLY":
            return self._read(lease.session, sql)
        self._refuse_writing(sql, analysis)
        lease.spoiled = analysis.kind != "MUTATING"
        name = self._format_name(statement.output_clause(sql).format)
        body, counts = lease.session.query(sql, name, self._call.params)
        if word == "USE":
            self._pool.moved(self._call, lease)
        return Outcome(counts, name if body else "", body)

    def _read(self, session: Session, sql: bytes) -> Outcome:
        clause = statement.output_clause(sql)
        self.format = self._format_name(clause.format)
        piped = clause.into(sql, self._pipe_path, self.format)
        if session.analyse(piped).kind != "CONTROL":  # the rewritten text must parse as an export; else run it as it is
            body, counts = session.query(sql, self.format, self._call.params)
            return Outcome(counts, self.format, body)
        with self._guard:
            if self._abandoned:
                raise refusal(QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", "Query was cancelled")
        _, counts = session.query(piped, self.format, self._call.params)
        return Outcome(counts, self.format)

    def _format_name(self, named: str) -> str:
        """The engine's spelling of the statement's format, else of the call's default one."""
        wanted = named or self._call.default_format
        found = self._engine.content_types.get(wanted.lower())
        if found is None:
            raise unknown_format(wanted)
        return found[0]

    def _refuse_writing(self, sql: bytes, analysis: Analysis | None = None) -> None:
        """GET means readonly. What does not parse is let through: it only fails, with the engine's own message."""
        if not self._call.readonly or (analysis is not None and analysis.kind == "UNKNOWN"):
            return
        if statement.first_word(sql) in ("SET", "USE"):
            return
        text = (
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
            "You should use method POST for modifying queries"
        )
        raise refusal(READONLY, "READONLY", text)


def _selects(head: bytes) -> bool:
    return any(token.word in ("SELECT", "WITH") and token.depth == 0 for token in statement.tokens(head))
