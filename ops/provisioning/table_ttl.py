"""Sets the TTL of every table to AXONPUSH_CLICKHOUSE_TTL_DAYS. ops/provisioning/migrate.py calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ops.provisioning.cluster_tables import PLACEMENTS, Cluster

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_IN_ENGINE: Final = re.compile(r" TTL (?P<ttl>.+?)(?: SETTINGS |\Z)")
_ENGINES: Final = """
SELECT name, engine_full FROM system.tables
WHERE database = {database:String} AND name IN {names:Array(String)}"""


@dataclass(frozen=True, slots=True)
class TtlChange:
    """A table whose TTL must change; an empty text means no TTL."""

    table: str
    found: str
    wanted: str


def wanted_ttl(table: str, days: int) -> str:
    """The TTL as ClickHouse prints it; empty for 0 days, which means rows are never deleted."""
    return f"toDateTime({PLACEMENTS[table].expires_by}) + toIntervalDay({days})" if days else ""


def differences(client: Client, database: str, days: int, cluster: Cluster | None) -> list[TtlChange]:
    """The tables whose TTL must change; a missing table has no TTL."""
    stored = {name: f"{name}_local" if cluster else name for name in PLACEMENTS}
    rows = client.query(_ENGINES, parameters={"database": database, "names": list(stored.values())}).result_rows
    engines = {str(name): str(engine) for name, engine in rows}
    changes = []
    for table, name in stored.items():
        match = _IN_ENGINE.search(engines.get(name, ""))
        found, wanted = match["ttl"] if match else "", wanted_ttl(table, days)
        if found != wanted:
            changes.append(TtlChange(table, found, wanted))
    return changes


def statement(change: TtlChange, cluster: Cluster | None) -> str:
    """The statement that changes the TTL. A background mutation updates the rows that are already stored."""
    table = cluster.local(change.table) if cluster else change.table
    return f"ALTER TABLE {table} " + (f"MODIFY TTL {change.wanted}" if change.wanted else "REMOVE TTL")
