"""The chDB engine: opens one directory, and creates sessions in it. HTTP is handled elsewhere.

A session is cheap and isolates settings, database and temporary tables. Statements of two sessions run at the same time
and release the GIL; statements of one session wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import orjson

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.functions import QUERY_OF_FUNCTIONS, Functions
from ops.local.clickhouse_http.access.guard import Guard, Names, Plan, Target
from ops.local.clickhouse_http.access.parse import Parser
from ops.local.clickhouse_http.access.users import LIMITED, OPERATOR, PROGRAMS, USERS
from ops.local.clickhouse_http.config import KEEPER, EngineLimits, write_config
from ops.local.clickhouse_http.errors import (
    ACCESS_DENIED,
    LOGICAL_ERROR,
    NOT_ENOUGH_SPACE,
    QUERY_IS_TOO_LARGE,
    UNKNOWN_DATABASE_ENGINE,
    ServerError,
    from_engine,
    refusal,
)
from ops.local.clickhouse_http.request import setting_pairs
from ops.local.disk_watch import MIN_FREE_BYTES, free_bytes

LOCK_FILE: Final = "engine.lock"
_QUERY_OF_FD: Final = (
    "KILL QUERY WHERE position(query, concat('INTO OUTFILE ''', {path:String}, '''')) > 0 AND query_id != queryID()"
)


class DirectoryInUse(Exception):
    """Another process uses the directory; the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class StatementCounts:
    """Statistics of a statement: rows and bytes read and written, result rows, seconds in the engine."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_s: float = 0.0


def _counts(result: Any) -> StatementCounts:
    return StatementCounts(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_s=result.elapsed(),
    )


class EngineSession:
    """One session of the engine. Not thread-safe. Its methods raise ServerError.

    Data to insert is buffered in folder `spool`.
    """

    def __init__(self, connection: Any, spool: Path) -> None:
        self._connection = connection
        self._spool = spool

    def query(
        self, sql: bytes | str, output_format: str, params: dict[str, str] | None = None
    ) -> tuple[bytes, StatementCounts]:
        """Runs one statement and returns its whole result; `params` fill `{name:Type}`."""
        try:
            result = self._connection.query(sql, output_format, params=params or {})
            return result.bytes(), _counts(result)
        except Exception as error:
            raise from_engine(error) from None

    def insert(self, plan: Plan, pieces: Iterable[bytes]) -> StatementCounts:
        """Inserts `pieces` by the INSERT of `plan`; if a piece fails, nothing is inserted.

        No data is stored for a table that the user may not fill, above the user's limit, or on a full disk.

        The data goes through an unnamed file. chDB's streaming insert is faster, but reports success for errors after
        parsing: a violated constraint, a default that cannot be computed, a view, a full disk (seen in 4.4.0). Callers
        would take lost rows for stored.
        """
        began_s = time.perf_counter()
        with tempfile.TemporaryFile(dir=self._spool, buffering=0) as file:
            try:
                self._keep(file, plan.target, pieces)
            except ServerError:
                raise
            except Exception as error:
                raise from_engine(error) from None
            file.seek(0)
            _, counts = self.query(plan.text(f"/dev/fd/{file.fileno()}"), "Null")
        # The engine's own number adds up its threads.
        elapsed_s = time.perf_counter() - began_s
        return StatementCounts(
            written_rows=counts.written_rows, written_bytes=counts.written_bytes, elapsed_s=elapsed_s
        )

    def _keep(self, file: BinaryIO, target: Target, pieces: Iterable[bytes]) -> None:
        size, unasked = 0, bool(target.question)
        for piece in chain((b"",), pieces):
            if unasked and size >= target.asked_from_bytes:
                self._ask(target)
                unasked = False
            size += len(piece)
            if target.max_bytes and size > target.max_bytes:
                message = f"expected at most {target.max_bytes} bytes of data to insert (inflated), found more"
                raise refusal(QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", message)
            if piece:
                _check_room(self._spool, len(piece) + target.spared_bytes)
                _write_all(file, piece)

    def _ask(self, target: Target) -> None:
        if self.query(target.question, "TSV")[0] != b"1\n":
            raise refusal(ACCESS_DENIED, "ACCESS_DENIED", f"Not enough privileges. {target.refusal}")

    def apply(self, settings: dict[str, str]) -> None:
        """Applies settings to this session; for an unknown one the engine raises error 115 and none is applied."""
        if settings:
            self.query("SET " + setting_pairs(settings), "Null")

    def read_settings(self, names: Iterable[str]) -> dict[str, str | None]:
        """Current values of settings; None for a default."""
        listed = ", ".join("'" + name + "'" for name in names)
        rows, _ = self.query(
            f"SELECT name, value, changed FROM system.settings WHERE name IN ({listed})", "JSONCompactEachRow"
        )
        return {name: value if changed else None for name, value, changed in map(orjson.loads, rows.splitlines())}

    def temporary_bytes(self) -> int:
        """The size of the session's temporary tables."""
        sql = "SELECT sum(total_bytes) FROM system.tables WHERE is_temporary"
        return int(self.query(sql, "TabSeparatedRaw")[0].strip().replace(b"\\N", b"") or 0)

    def use(self, database: str) -> None:
        """Changes the session's database."""
        self.query("USE {database:Identifier}", "Null", {"database": database})

    def database(self) -> str:
        """The session's database."""
        return self.query("SELECT currentDatabase()", "TabSeparatedRaw")[0].decode().removesuffix("\n")

    def close(self) -> None:
        """Closes the session and drops its temporary tables."""
        self._connection.close()


def _check_room(folder: Path, size_bytes: int) -> None:
    """Raises ServerError 243 when the disk has too little space for `size_bytes` more."""
    expected, free = MIN_FREE_BYTES + size_bytes, free_bytes(folder)
    if free < expected:
        text = f"Not enough space for the data of an insert: expected {expected} bytes free, found {free}"
        raise refusal(NOT_ENOUGH_SPACE, "NOT_ENOUGH_SPACE", text)


def _write_all(file: BinaryIO, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


class Engine:
    """The engine for one directory, until close(). Raises DirectoryInUse, ServerError, OSError."""

    def __init__(self, path: Path, limits: EngineLimits, database: str = "axonpush") -> None:
        self._path = path.resolve()
        if "?" in str(self._path):
            raise ValueError(f"the data directory's path must not hold a question mark: {self._path}")
        self._path.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(self._path)
        self.memory_cap_bytes = limits.memory_cap_bytes()
        self._reader_memory_bytes = limits.reader_memory_bytes()
        self._url = f"{self._path}?config-file={write_config(self._path, limits, database)}"
        self._keeper = self.session(KEEPER)  # keeps the engine open while there are no requests
        self._own_default_database()
        self.version, self.timezone, self.host_name = self._facts()
        self.content_types = self._content_types()
        self._parsers = {user: Parser(self.session(KEEPER), user) for user in USERS}
        bounds = allowed.READER_BOUNDS | {
            "max_memory_usage": limits.reader_memory_bytes(),
            "max_threads": limits.thread_cap(),
        }
        self.guard = Guard(self._parsers, Names(self._functions(), self._settings(), self.content_types), bounds)
        self._keep_readers_from(self._unstoppable())
        self._keep_system_tables()

    @property
    def path(self) -> Path:
        """The data directory."""
        return self._path

    def session(self, user: str) -> EngineSession:
        """A new session with the rights of `user` and default settings, in database `default`."""
        session = self._connect()
        try:
            session.query(f"SET ROLE {user}", "Null")
            if user not in (OPERATOR, KEEPER):
                shown = allowed.PROGRAMS_SYSTEM_TABLES if user in PROGRAMS else {}
                session.apply({"additional_table_filters": allowed.hiding_filters(shown)})
            if user in LIMITED:
                session.apply(allowed.READER_DEFAULTS | {"max_memory_usage": str(self._reader_memory_bytes)})
        except BaseException:
            session.close()
            raise
        return session

    def _connect(self) -> EngineSession:
        from chdb.state import sqlitelike  # noqa: PLC0415 (0.25 s and 150 MB for the engine's own process only)

        connect: Any = sqlitelike.Connection
        try:
            return EngineSession(connect(self._url), self._path)
        except Exception as error:
            raise from_engine(error) from None

    def _own_default_database(self) -> None:
        """Replaces the embedded engine's database `default`, which exposes local files as tables, by a plain one."""
        self._keeper.query("DETACH DATABASE default", "Null")
        try:
            self._keeper.query("ATTACH DATABASE default", "Null")
        except ServerError as error:
            # Two errors mean that there is nothing to attach: never created, or known without tables. The engine finds
            # a database's UUID by its tables; of an empty one it knows the file but not the UUID.
            without_tables = error.code == LOGICAL_ERROR and not any((self._path / "metadata/default").glob("*.sql"))
            if not without_tables and error.code != UNKNOWN_DATABASE_ENGINE:
                raise
            (self._path / "metadata/default.sql").unlink(missing_ok=True)
            self._keeper.query("CREATE DATABASE default ENGINE = Atomic", "Null")

    def _functions(self) -> Functions:
        rows, _ = self._keeper.query(QUERY_OF_FUNCTIONS, "JSONCompactEachRow")
        return Functions.of([orjson.loads(row) for row in rows.splitlines()])

    def _unstoppable(self) -> frozenset[str]:
        """Functions (lower-case) of which one call may take minutes or gigabytes without checking limits."""
        sql = "SELECT name, if(alias_to = '', name, alias_to), categories FROM system.functions"
        rows, _ = self._keeper.query(sql, "JSONCompactEachRow")
        functions = map(orjson.loads, rows.splitlines())
        return frozenset(
            name.lower() for name, real, categories in functions if allowed.is_unstoppable(real, categories)
        )

    def _keep_readers_from(self, names: frozenset[str]) -> None:
        for user in LIMITED:
            rights = self.guard.rights[user]
            self.guard.rights[user] = replace(rights, functions=rights.functions.without(names))

    def _settings(self) -> frozenset[str]:
        rows, _ = self._keeper.query("SELECT name FROM system.settings", "TabSeparatedRaw")
        return frozenset(rows.decode().split())

    def _keep_system_tables(self) -> None:
        """Removes `system` tables that no client needs from the engine: files, users, the machine."""
        kept = allowed.READERS_SYSTEM_TABLES | allowed.OPERATORS_SYSTEM_TABLES
        rows, _ = self._keeper.query("SELECT name FROM system.tables WHERE database = 'system'", "JSONCompactEachRow")
        for (name,) in map(orjson.loads, rows.splitlines()):
            if name not in kept:
                self._keeper.query(f"DETACH TABLE system.`{name}`", "Null")

    def _facts(self) -> tuple[str, str, str]:
        rows, _ = self._keeper.query("SELECT version(), timezone(), hostName()", "JSONCompactEachRow")
        version, timezone, host_name = orjson.loads(rows)
        return version, timezone, host_name

    def _content_types(self) -> dict[str, tuple[str, str]]:
        """Formats: lower-case name to spelling and Content-Type."""
        sql = "SELECT name, content_type FROM system.formats"
        rows, _ = self._keeper.query(sql, "JSONCompactEachRow")
        formats = [orjson.loads(row) for row in rows.splitlines()]
        return {name.lower(): (name, content_type) for name, content_type in formats}

    def kill_writer(self, path: str) -> None:
        """Asks the engine to stop the query that writes INTO OUTFILE `path`, if there is one."""
        self._run_apart(_QUERY_OF_FD, {"path": path})

    def kill_all(self) -> None:
        """Asks the engine to stop every running query."""
        self._run_apart("KILL QUERY WHERE query_id != queryID()", {})

    def _run_apart(self, sql: str, params: dict[str, str]) -> None:
        session = self.session(KEEPER)
        try:
            session.query(sql, "Null", params)
        finally:
            session.close()

    def close(self) -> None:
        """Closes the last session and the engine, and unlocks the directory."""
        for parser in self._parsers.values():
            parser.close()
        self._keeper.close()
        self._lock.close()


def take_lock(path: Path) -> TextIO:
    """Locks the directory while the returned file is open. Raises DirectoryInUse, naming the process that has it."""
    file = (path / LOCK_FILE).open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        text = f"{path} is in use by process {holder}: query that server, stop it, or choose another directory"
        raise DirectoryInUse(text) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
