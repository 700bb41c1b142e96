"""ClickHouse tables: the numbered SQL files of schemas/tables, applied in order and recorded in table `migrations`.

ops/provisioning/table_templates.py describes the parameters of their statements.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.provisioning.cluster_tables import Cluster, quote_identifier
from ops.provisioning.table_templates import render
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
MIGRATIONS_DDL: Final = """
CREATE TABLE IF NOT EXISTS {{name.migrations}}{{on_cluster}}
(version UInt32, name String, sha256 String, applied_at DateTime('UTC') DEFAULT now())
ENGINE = {{replicated}}ReplacingMergeTree({{every_shard}}applied_at) ORDER BY version"""

# Earlier code recorded the hash of the whole file, comments included. These are the hashes that it recorded for files
# 0001 to 0006, and those of the statements that the files had.
_FILE_HASHES: Final = (
    "fc7b2780ee49bbc1830c592b85b03afa7a9894eb2df2c60b1a9575fb0b72c47f",
    "fe2cb19986864f1f442b26c8737cf055572f2dfb48b566f3ef16bb4575bcde7e",
    "65fe9fa1c71d25b15f98d8f9fd9619c3b0f85a1fbefa19eb0c753179bf015f70",
    "6f474707afee2716b35328bab9e70bde96365c018d6b753db7f52a0f7145ab5a",
    "2af203aecedeaa6f40289a2ae774ea7d56005066a58adf031b3856f8211eb817",
    "cef815c1835139e14627167325440e915294efa47b7728f6c9aeab89b0c3e664",
)
_STATEMENT_HASHES: Final = (
    "c2b1b3e7069217886c395c8a859c1309bfe3c650620f825261ea26b57dabe078",
    "e863a87a5273b5d31f5b2b49ff2021a26b0fe2c849445a4312da3c2a6a2f2658",
    "6e2c27901d2afa6598e55ddf411d4924d5a875ab3033c9dd565fdbe49d5ebf3b",
    "b8032a1abe6718399fac56133e6ae5880a11cfe7e40b3da8990f967f72e503f3",
    "34d3422a53fd33c18492ed879f6b3594625067bb9378fa48b63b36fd2ab37ccf",
    "a1c98c0554405283c6ab8e282e65788f1f45f5eb259b77767835fee1bf72c0da",
)
_STATEMENTS_OF_FILES: Final = dict(zip(_FILE_HASHES, _STATEMENT_HASHES, strict=True))
# Statements that make new tables better and that tables which are there need not have: the hash of those before, and of
# those that replaced them. 0001: the primary key of event_rows begins with a number for the day.
_IMPROVED: Final = {
    _STATEMENT_HASHES[0]: "6fe08290d36c8cb82e3b078c0f43c0a824f4684a2047726cfea7b9341ae32147",
}

_ALTER: Final = re.compile(r"ALTER TABLE (?P<table>\S+)\s")
_ALIAS: Final = re.compile(
    r"ALTER TABLE (?P<table>\S+)\s(?:ON CLUSTER \S+ )?\s*MODIFY COLUMN (?P<column>\w+) \S+ ALIAS "
)
_DROP: Final = re.compile(r"DROP COLUMN IF EXISTS (\w+)")
_CREATE_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (?P<table>\S+)\s")
_COLUMN: Final = re.compile(r"^ +(?P<column>\w+) +\S+ ALIAS [^\n]*,\n", re.MULTILINE)
_CREATE_VIEW: Final = re.compile(r"CREATE OR REPLACE VIEW (?P<view>\S+)\s")

# One token of SQL. Semicolons inside quotes, comments and heredocs are text; a doubled quote counts as two strings.
_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<end> ; )
    | (?P<blank> \s+ )
    | (?P<other> \w+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file: its number, its name, the hash of its statements, and the statements as templates."""

    version: int
    name: str
    sha256: str
    templates: tuple[str, ...]

    def statements(self, cluster: Cluster | None = None) -> list[str]:
        """The statements for one server, or for a cluster."""
        return [statement for template in self.templates for statement in render(template, cluster)]


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
    templates = tuple(statements(text))
    rendered = [statement for template in templates for statement in render(template, None)]
    return Migration(int(match[1]), name, hash_of(rendered), templates)


def hash_of(texts: Iterable[str]) -> str:
    """The hash of statements. Comments and blank space do not count, unless they are inside quotes."""
    tokens = (token for text in texts for token in _TOKEN.finditer(f"{text};"))
    words = (token[0] for token in tokens if not token["comment"] and not token["blank"])
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def known() -> list[Migration]:
    """All migrations of this version of the code, in order. Raises ValueError when two have one number."""
    folder = files("schemas").joinpath("tables")
    texts = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")}
    migrations = [migration(name, texts[name]) for name in sorted(texts)]
    if len({migration.version for migration in migrations}) != len(migrations):
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
    if applied is None:
        return
    statements_hash = _STATEMENTS_OF_FILES.get(applied.sha256, applied.sha256)
    if applied.name == migration.name and migration.sha256 in (statements_hash, _IMPROVED.get(statements_hash)):
        return
    raise Failed(
        f"schemas/tables/{migration.name} differs from what was applied to database {database} "
        f"(as {applied.name}, sha256 {statements_hash[:12]}; its statements now have {migration.sha256[:12]}). "
        "Statements that were applied must not change: restore them and put the change into a new file with the next "
        "number."
    )


def apply(client: Client, database: str, migrations: list[Migration], cluster: Cluster | None = None) -> None:
    """Creates the database, applies `migrations` in order, and records each after its last statement. Raises Failed.

    With `cluster`, everything is created on all its servers.
    """
    client.command(
        cluster.create_database() if cluster else f"CREATE DATABASE IF NOT EXISTS {quote_identifier(database)}"
    )
    client.database = database
    for statement in render(MIGRATIONS_DDL, cluster):
        client.command(statement)
    dropped = DroppedColumns(statement for migration in migrations for statement in migration.statements(cluster))
    for migration in migrations:
        for number, statement in enumerate(migration.statements(cluster), start=1):
            if seen := dropped.without(statement):
                _run(client, migration, number, seen)
        client.command(
            "INSERT INTO migrations (version, name, sha256) VALUES ({version:UInt32}, {name:String}, {sha256:String})",
            parameters={"version": migration.version, "name": migration.name, "sha256": migration.sha256},
        )


class DroppedColumns:
    """Computed columns that a later one of `statements` drops.

    The engine needs 0.3 s of processor time to change or drop one, half of what a new database takes
    (docs/decisions/0070-columns-that-are-dropped-are-not-made.md). Nothing is stored of these columns.
    """

    def __init__(self, statements: Iterable[str]) -> None:
        texts = list(statements)
        self._dropped = {
            (match["table"], column)
            for text in texts
            if (match := _ALTER.match(text))
            for column in _DROP.findall(text)
        }
        self._views = {match["view"]: text for text in texts if (match := _CREATE_VIEW.match(text))}

    def without(self, statement: str) -> str:
        """`statement` without such columns; empty for a change of one, or a view of one that is replaced later."""
        if (match := _ALIAS.match(statement)) and (match["table"], match["column"]) in self._dropped:
            return ""
        if match := _CREATE_TABLE.match(statement):
            table = match["table"]
            return _COLUMN.sub(lambda line: "" if (table, line["column"]) in self._dropped else line[0], statement)
        if (match := _CREATE_VIEW.match(statement)) and self._views.get(match["view"]) != statement:
            columns = {column for _, column in self._dropped}
            return "" if columns & set(re.findall(r"\w+", statement)) else statement
        return statement


def record(client: Client, applied: Mapping[int, Applied], cluster: Cluster | None) -> None:
    """Makes table `migrations` and writes down what was applied. Raises what the client raises."""
    for statement in render(MIGRATIONS_DDL, cluster):
        client.command(statement)
    rows = [(version, migration.name, migration.sha256) for version, migration in applied.items()]
    client.insert("migrations", rows, column_names=("version", "name", "sha256"))


def _run(client: Client, migration: Migration, number: int, statement: str) -> None:
    try:
        client.command(statement)
    except ClickHouseError as error:
        first_line = statement.splitlines()[0]
        raise Failed(f"{migration.name}, statement {number} ({first_line} …) was refused: {error}") from error
