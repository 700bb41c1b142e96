"""schemas/tables on a ClickHouse cluster: the same text, rewritten statement by statement. ops/provisioning/tables.py
runs it.

`x` of the files becomes `x_local`, replicated, on every server, and `x`, a Distributed table over all of them. Whoever
inserts into `x` or reads it, a view included, needs not know how many servers there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Placement:
    """Where rows of a table go: `shard_by`, an expression over its columns; `expires_by`, the time of its TTL."""

    shard_by: str
    expires_by: str


# Rows that replace each other must meet on one shard, for FINAL is done there: `shard_by` is a function of what makes
# two rows the same one. Events go by their trace, which is read as a whole more often than anything else is: bytes that
# give an event its id also hold its trace, so two rows of one event meet there too.
PLACEMENTS: Final[dict[str, Placement]] = {
    "event_rows": Placement("cityHash64(if(trace_id = '', toString(event_id), trace_id))", "timestamp"),
    "trace_bounds": Placement("cityHash64(trace_id)", "last_at"),
    "outcome_rows": Placement("cityHash64(source_id)", "minute"),
    "taken_rows": Placement("cityHash64(stage, origin_seq, item_index)", "minute"),
    "dead_letter_rows": Placement("cityHash64(dead_id)", "received_at"),
    "stored_rows": Placement("cityHash64(source_seq, source_item)", "minute"),
}

# Rows make two equal inserts one. Dropped as a repeated block, the second would not reach the materialised views, and
# those may be where the first one failed.
_LOCAL_SETTINGS: Final = "replicated_deduplication_window = 0"

_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (?P<table>\w+)\b(?P<rest>.*)", re.DOTALL)
_FILLING: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<view>\w+) TO (?P<target>\w+) AS\b(?P<select>.*)", re.DOTALL
)
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
    """The cluster as ClickHouse's `remote_servers` names it, and our database on it."""

    name: str
    database: str

    @property
    def on(self) -> str:
        """The clause that has a statement run on every server."""
        return f"ON CLUSTER {identifier(self.name)}"

    def create_database(self) -> str:
        """The database on every server."""
        return f"CREATE DATABASE IF NOT EXISTS {identifier(self.database)} {self.on}"

    def rewrite(self, statement: str) -> list[str]:
        """One statement of schemas/tables as this cluster needs it, in order.

        Raises ValueError for a kind of statement or a table that nothing here knows what to do with.
        """
        if found := _TABLE.fullmatch(statement):
            return self._table(found["table"], found["rest"])
        if found := _FILLING.fullmatch(statement):
            return [self._filling(found["view"], found["target"], found["select"])]
        if found := _VIEW.fullmatch(statement):
            select = self._sources(_globally(found["select"]), "")
            return [f"CREATE OR REPLACE VIEW {self._name(found['view'])} {self.on} AS{select}"]
        if found := _ALTER.fullmatch(statement):
            return self._alter(found["table"], found["change"])
        raise ValueError(
            "expected CREATE TABLE IF NOT EXISTS, CREATE MATERIALIZED VIEW IF NOT EXISTS ... TO, "
            f"CREATE OR REPLACE VIEW or ALTER TABLE, found {statement[:60]!r}: "
            "teach ops/provisioning/cluster_tables.py what that is on a cluster"
        )

    def record_of_migrations(self, statement: str) -> str:
        """The table of what ran: one set of replicas over all shards, for every server has to know everything."""
        head, engine = statement.replace("EXISTS migrations", f"EXISTS {self._name('migrations')} {self.on}").split(
            "ENGINE = ReplacingMergeTree(", 1
        )
        place = "'/clickhouse/tables/{uuid}/every_shard', '{shard}-{replica}'"
        return f"{head}ENGINE = ReplicatedReplacingMergeTree({place}, {engine}"

    def local(self, table: str) -> str:
        """`table` as statements name it that a Distributed table refuses (DELETE, ALTER), on every server."""
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
        """Where a row is inserted it also fills: what it is made of and what it makes lie on one shard."""
        placement_of(target)
        head = f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self._name(view)} {self.on}"
        return f"{head} TO {self._name(f'{target}_local')} AS{self._sources(select, '_local')}"

    def _alter(self, table: str, change: str) -> list[str]:
        placement_of(table)
        both = (f"{table}_local", table) if _OF_COLUMN.match(change) else (f"{table}_local",)
        return [f"ALTER TABLE {self._name(name)} {self.on}{change}" for name in both]

    def _sources(self, select: str, suffix: str) -> str:
        """Every table and view a query reads, with its database: another server does not know which one we were in."""
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
    """Where its rows go. Raises ValueError for a table that is not in PLACEMENTS."""
    found = PLACEMENTS.get(table)
    if found is None:
        names = ", ".join(PLACEMENTS)
        raise ValueError(f"expected table {table} in PLACEMENTS of ops/provisioning/cluster_tables.py, found {names}")
    return found


def _globally(select: str) -> str:
    """The right side of a JOIN or an IN is made once, of all shards, and sent to each."""
    return _IN_SELECT.sub(r"GLOBAL \g<word> (SELECT", _JOIN.sub(r"GLOBAL \g<kind>", select))


def identifier(name: str) -> str:
    """A name as SQL wants it: quoted, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """A text as SQL wants it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
