"""ClickHouse tables: the numbered SQL files of schemas/tables, applied in order and recorded in table `migrations`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.provisioning.cluster_tables import Cluster, identifier
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
MIGRATIONS_DDL: Final = """
CREATE TABLE IF NOT EXISTS migrations
(version UInt32, name String, sha256 String, applied_at DateTime('UTC') DEFAULT now())
ENGINE = ReplacingMergeTree(applied_at) ORDER BY version"""

# One token of SQL. Semicolons inside quotes, comments and heredocs are text; a doubled quote counts as two strings.
_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<end> ; )
    | (?P<other> [^'"`;/$#-]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file: its number, name, hash and statements."""

    version: int
    name: str
    sha256: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of table `migrations`."""

    name: str
    sha256: str


def statements(sql: str) -> list[str]:
    """The statements of a script, without comments and semicolons."""
    texts: list[str] = []
    current: list[str] = []
    for token in _TOKEN.finditer(sql):
        if token["end"]:
            texts.append("".join(current).strip())
            current = []
        else:
            current.append(" " if token["comment"] else token[0])
    texts.append("".join(current).strip())
    return [statement for statement in texts if statement]


def migration(name: str, text: str) -> Migration:
    """Parses a migration file. Raises ValueError for a name other than NNNN_words.sql."""
    match = FILE_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"expected a file name like 0001_events.sql, found {name!r} in schemas/tables: rename it")
    return Migration(int(match[1]), name, hashlib.sha256(text.encode()).hexdigest(), tuple(statements(text)))


def known() -> list[Migration]:
    """All migrations of this version of the code, in order. Raises ValueError when two have one number."""
    folder = files("schemas").joinpath("tables")
    texts = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")}
    migrations = [migration(name, texts[name]) for name in sorted(texts)]
    if len({one.version for one in migrations}) != len(migrations):
        raise ValueError(f"expected one file per number in schemas/tables, found {sorted(texts)}")
    return migrations


def database_exists(client: Client, database: str) -> bool:
    """Whether the database exists."""
    result = client.query(
        "SELECT count() FROM system.databases WHERE name = {name:String}", parameters={"name": database}
    )
    return bool(result.result_rows[0][0])


def applied(client: Client, database: str) -> dict[int, Applied]:
    """The applied migrations by version; empty for a new database."""
    if not database_exists(client, database):
        return {}
    client.database = database
    if not client.query("EXISTS TABLE migrations").result_rows[0][0]:
        return {}
    result = client.query("SELECT version, name, sha256 FROM migrations FINAL ORDER BY version")
    return {version: Applied(name, sha256) for version, name, sha256 in result.result_rows}


def check_shape(client: Client, database: str, cluster: Cluster | None) -> None:
    """Raises Failed when the database was created for one server and a cluster is wanted, or the reverse."""
    result = client.query(
        "SELECT engine FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
        parameters={"database": database},
    ).result_rows
    if not result or result[0][0].startswith("Replicated") == (cluster is not None):
        return
    shape = f"a cluster ({cluster.name})" if cluster else "one server"
    raise Failed(
        f"expected database {database} to be made for {shape}, as AXONPUSH_CLICKHOUSE_CLUSTER says, found its table "
        f"migrations with engine {result[0][0]}. Tables cannot be converted: choose another "
        "AXONPUSH_CLICKHOUSE_DATABASE, migrate it, and copy the rows or replay them."
    )


def pending(migrations: list[Migration], before: dict[int, Applied], database: str) -> list[Migration]:
    """The migrations still to apply. Raises Failed when the database is newer than the code or was made from other
    files.
    """
    newest = max((migration.version for migration in migrations), default=0)
    ahead = [f"{before[version].name}" for version in before if version > newest]
    if ahead:
        raise Failed(
            f"database {database} is newer than this axonpush: it has {', '.join(ahead)}, this version knows up to "
            f"{newest:04d}. migrate does not go backwards: install the newer axonpush-ingest again."
        )
    for migration in migrations:
        _check_unchanged(migration, before.get(migration.version), database)
    return [migration for migration in migrations if migration.version not in before]


def _check_unchanged(migration: Migration, applied: Applied | None, database: str) -> None:
    if applied is None or (applied.name, applied.sha256) == (migration.name, migration.sha256):
        return
    raise Failed(
        f"schemas/tables/{migration.name} differs from what was applied to database {database} "
        f"(as {applied.name}, sha256 {applied.sha256[:12]}; the file now has {migration.sha256[:12]}). "
        "An applied file must not change: restore it and put the change into a new file with the next number."
    )


def apply(client: Client, database: str, migrations: list[Migration], cluster: Cluster | None = None) -> None:
    """Creates the database, applies `migrations` in order, and records each after its last statement. Raises Failed.

    With `cluster`, everything is created on all its servers.
    """
    client.command(cluster.create_database() if cluster else f"CREATE DATABASE IF NOT EXISTS {identifier(database)}")
    client.database = database
    client.command(cluster.record_of_migrations(MIGRATIONS_DDL) if cluster else MIGRATIONS_DDL)
    for migration in migrations:
        for number, statement in enumerate(migration.statements, start=1):
            for rewritten in cluster.rewrite(statement) if cluster else (statement,):
                _run(client, migration, number, rewritten)
        client.command(
            "INSERT INTO migrations (version, name, sha256) VALUES ({version:UInt32}, {name:String}, {sha256:String})",
            parameters={"version": migration.version, "name": migration.name, "sha256": migration.sha256},
        )


def _run(client: Client, migration: Migration, number: int, statement: str) -> None:
    try:
        client.command(statement)
    except ClickHouseError as error:
        first_line = statement.splitlines()[0]
        raise Failed(f"{migration.name}, statement {number} ({first_line} …) was refused: {error}") from error
