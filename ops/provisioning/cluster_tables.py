"""Rewrites the statements of schemas/tables for a ClickHouse cluster. ops/provisioning/tables.py runs them.

Table `x` becomes `x_local`, replicated, on every server, and `x`, a Distributed table over them. Queries and inserts
use `x` and need not know the number of servers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Placement:
    """Sharding of a table: `shard_by` is an expression over its columns, `expires_by` the column of its TTL."""

    shard_by: str
    expires_by: str


# Rows that replace each other must be on one shard, because FINAL works per shard. So `shard_by` depends only on what
# makes rows equal. Events are sharded by trace, because whole traces are read most. An event id is made from the same
# bytes as its trace id, so two rows of one event are on the same shard.
PLACEMENTS: Final[dict[str, Placement]] = {
    "event_rows": Placement("cityHash64(if(trace_id = '', toString(event_id), trace_id))", "timestamp"),
    "trace_bounds": Placement("cityHash64(trace_id)", "last_at"),
    "outcome_rows": Placement("cityHash64(source_id)", "minute"),
    "taken_rows": Placement("cityHash64(stage, origin_seq, item_index)", "minute"),
    "dead_letter_rows": Placement("cityHash64(dead_id)", "received_at"),
    "stored_rows": Placement("cityHash64(source_seq, source_item)", "minute"),
}

# No block deduplication: equal rows are merged anyway. A deduplicated second insert would not reach the materialised
# views, and these may be what failed the first time.
_LOCAL_SETTINGS: Final = "replicated_deduplication_window = 0"

_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (?P<table>\w+)\b(?P<rest>.*)", re.DOTALL)
_FILLING: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<view>\w+) TO (?P<target>\w+) AS\b(?P<select>.*)", re.DOTALL
)
_FILLING_CHANGED: Final = re.compile(r"ALTER TABLE (?P<view>\w+) MODIFY QUERY\b(?P<select>.*)", re.DOTALL)
_VIEW: Final = re.compile(r"CREATE OR REPLACE VIEW (?P<view>\w+) AS\b(?P<select>.*)", re.DOTALL)
_ALTER: Final = re.compile(r"ALTER TABLE (?P<table>\w+)\b(?P<change>.*)", re.DOTALL)
_ENGINE: Final = re.compile(r"^ENGINE = (?=\w*MergeTree\b)", re.MULTILINE)
_SETTINGS: Final = re.compile(r"^SETTINGS (?=[^\n]*\Z)", re.MULTILINE)
_SOURCE: Final = re.compile(r"(?<!ARRAY )\b(?P<word>FROM|JOIN)\s+(?P<name>\w+)\b(?!\s*\()")
_NAMED_QUERY: Final = re.compile(r"\b(\w+)\s+AS\s+\(\s*SELECT\b")
_KIND: Final = r"(?:LEFT|RIGHT|INNER|FULL|OUTER|ANY|ALL|SEMI|ANTI)\s+"
_JOIN: Final = re.compile(rf"(?<!ARRAY )\b(?:GLOBAL\s+)?(?P<kind>(?:{_KIND})*JOIN)\b")
_IN_SELECT: Final = re.compile(r"\b(?:GLOBAL\s+)?(?P<word>(?:NOT\s+)?IN)\s*\(\s*SELECT\b")
_OF_COLUMN: Final = re.compile(r"\s*(?:ADD|DROP|MODIFY|RENAME|COMMENT|ALTER) COLUMN\b")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The name of the cluster in ClickHouse's `remote_servers`, and our database on it."""

    name: str
    database: str

    @property
    def on(self) -> str:
        """The clause ON CLUSTER, which runs a statement on every server."""
        return f"ON CLUSTER {identifier(self.name)}"

    def create_database(self) -> str:
        """Creates the database on every server."""
        return f"CREATE DATABASE IF NOT EXISTS {identifier(self.database)} {self.on}"

    def rewrite(self, statement: str) -> list[str]:
        """One statement of schemas/tables, rewritten for this cluster as statements in order.

        Raises ValueError for an unknown kind of statement or an unknown table.
        """
        if match := _TABLE.fullmatch(statement):
            return self._table(match["table"], match["rest"])
        if match := _FILLING.fullmatch(statement):
            return [self._filling(match["view"], match["target"], match["select"])]
        if match := _FILLING_CHANGED.fullmatch(statement):
            select = self._sources(match["select"], "_local")
            return [f"ALTER TABLE {self._name(match['view'])} {self.on} MODIFY QUERY{select}"]
        if match := _VIEW.fullmatch(statement):
            select = self._sources(_globally(match["select"]), "")
            return [f"CREATE OR REPLACE VIEW {self._name(match['view'])} {self.on} AS{select}"]
        if match := _ALTER.fullmatch(statement):
            return self._alter(match["table"], match["change"])
        raise ValueError(
            "expected CREATE TABLE IF NOT EXISTS, CREATE MATERIALIZED VIEW IF NOT EXISTS ... TO, "
            f"CREATE OR REPLACE VIEW, ALTER TABLE or ALTER TABLE (a view) MODIFY QUERY, found {statement[:60]!r}: "
            "add a rule for it to ops/provisioning/cluster_tables.py"
        )

    def record_of_migrations(self, statement: str) -> str:
        """The table of applied migrations: one set of replicas over all shards, because every server must know it."""
        head, engine = statement.replace("EXISTS migrations", f"EXISTS {self._name('migrations')} {self.on}").split(
            "ENGINE = ReplacingMergeTree(", 1
        )
        place = "'/clickhouse/tables/{uuid}/every_shard', '{shard}-{replica}'"
        return f"{head}ENGINE = ReplicatedReplacingMergeTree({place}, {engine}"

    def local(self, table: str) -> str:
        """The local table with ON CLUSTER, for statements that a Distributed table refuses (DELETE, ALTER)."""
        return f"{self._name(f'{table}_local')} {self.on}"

    def _table(self, table: str, rest: str) -> list[str]:
        placement, local = placement_of(table), f"{table}_local"
        replicated, engines = _ENGINE.subn("ENGINE = Replicated", rest)
        if engines != 1:
            raise ValueError(f"expected one line `ENGINE = ...MergeTree` in CREATE TABLE {table}, found {engines}")
        replicated, had_settings = _SETTINGS.subn(f"SETTINGS {_LOCAL_SETTINGS}, ", replicated)
        if not had_settings:
            replicated += f"\nSETTINGS {_LOCAL_SETTINGS}"
        distributed = f"Distributed({literal(self.name)}, {literal(self.database)}, '{local}', {placement.shard_by})"
        return [
            f"CREATE TABLE IF NOT EXISTS {self._name(local)} {self.on}{replicated}",
            f"CREATE TABLE IF NOT EXISTS {self._name(table)} {self.on} AS {self._name(local)}\nENGINE = {distributed}",
        ]

    def _filling(self, view: str, target: str, select: str) -> str:
        """A materialised view from local table to local table: a row and the rows made from it are on one shard."""
        placement_of(target)
        head = f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self._name(view)} {self.on}"
        return f"{head} TO {self._name(f'{target}_local')} AS{self._sources(select, '_local')}"

    def _alter(self, table: str, change: str) -> list[str]:
        placement_of(table)
        both = (f"{table}_local", table) if _OF_COLUMN.match(change) else (f"{table}_local",)
        return [f"ALTER TABLE {self._name(name)} {self.on}{change}" for name in both]

    def _sources(self, select: str, suffix: str) -> str:
        """Adds the database to every table and view in a query: other servers have no current database."""
        own = set(_NAMED_QUERY.findall(select))

        def qualified(found: re.Match[str]) -> str:
            name = found["name"]
            if name in own:
                return found[0]
            return f"{found['word']} {self._name(name + (suffix if name in PLACEMENTS else ''))}"

        return _SOURCE.sub(qualified, select)

    def _name(self, table: str) -> str:
        return f"{identifier(self.database)}.{table}"


def placement_of(table: str) -> Placement:
    """The sharding of a table. Raises ValueError if PLACEMENTS does not have it."""
    placement = PLACEMENTS.get(table)
    if placement is None:
        names = ", ".join(PLACEMENTS)
        raise ValueError(f"expected table {table} in PLACEMENTS of ops/provisioning/cluster_tables.py, found {names}")
    return placement


def _globally(select: str) -> str:
    """Makes JOIN and IN global: their right side is computed once over all shards and sent to each."""
    return _IN_SELECT.sub(r"GLOBAL \g<word> (SELECT", _JOIN.sub(r"GLOBAL \g<kind>", select))


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """A quoted SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
