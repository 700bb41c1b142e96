"""Sets the TTL of every table to the days of the desired state. ops/provisioning/migrate.py calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ops.provisioning.cluster_tables import PLACEMENTS, Cluster

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_IN_ENGINE: Final = re.compile(r" TTL (?P<ttl>.+?)(?: SETTINGS |\Z)")
_DAYS: Final = re.compile(r"toIntervalDay\((\d+)\)")
# The other tables hold what people said, and have no TTL.
_EXPIRING: Final = tuple(table for table, place in PLACEMENTS.items() if place.expires_by)
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
    """The TTL of an expiring table as ClickHouse prints it; empty for 0 days, which means rows are never deleted."""
    return f"toDateTime({PLACEMENTS[table].expires_by}) + toIntervalDay({days})" if days else ""


def days_of(ttl: str) -> int:
    """The days of a TTL as ClickHouse prints it; 0 for none."""
    match = _DAYS.search(ttl)
    return int(match[1]) if match else 0


def read_ttls(client: Client, database: str, cluster: Cluster | None) -> dict[str, str]:
    """The TTL of each table that exists and may have one, by the table's name; an empty text means no TTL."""
    stored = {f"{name}_local" if cluster else name: name for name in _EXPIRING}
    rows = client.query(_ENGINES, parameters={"database": database, "names": list(stored)}).result_rows
    matches = {stored[str(name)]: _IN_ENGINE.search(str(engine)) for name, engine in rows}
    return {table: match["ttl"] if match else "" for table, match in matches.items()}


def differences(client: Client, database: str, days: int, cluster: Cluster | None) -> list[TtlChange]:
    """The tables whose TTL must change; a missing table has no TTL."""
    present = read_ttls(client, database, cluster)
    changes = [TtlChange(table, present.get(table, ""), wanted_ttl(table, days)) for table in _EXPIRING]
    return [change for change in changes if change.found != change.wanted]


def statement(change: TtlChange, cluster: Cluster | None) -> str:
    """The statement that changes the TTL. A background mutation updates the rows that are already stored."""
    table = cluster.local(change.table) if cluster else change.table
    return f"ALTER TABLE {table} " + (f"MODIFY TTL {change.wanted}" if change.wanted else "REMOVE TTL")
