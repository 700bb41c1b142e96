"""A ClickHouse cluster: where each table's rows go, and the names that tables have there.

Table `x` becomes `x_local`, replicated, on every server, and `x`, a Distributed table over them. Queries and inserts
use `x` and need not know the number of servers. ops/provisioning/table_templates.py makes the statements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Placement:
    """Sharding of a table: `shard_by` is an expression over its columns, `expires_by` the column of its TTL.

    An empty `expires_by`: its rows are what people have said, and stay; or the table has a TTL of its own; or the
    janitor deletes its rows.
    """

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
    # As event_rows: an error's row replaces its own.
    "error_rows": Placement("shard_hash", "timestamp"),
    # The janitor deletes what is older than the errors that were counted.
    "issue_day_rows": Placement("cityHash64(organisation, issue_id)", ""),
    "issue_changes": Placement("cityHash64(organisation, issue_id)", ""),
    "issue_assignments": Placement("cityHash64(organisation, issue_id)", ""),
    "alert_rule_rows": Placement("cityHash64(organisation, rule_id)", ""),
    "alert_firing_rows": Placement("cityHash64(organisation, rule_id)", ""),
    "alert_delivery_rows": Placement("cityHash64(organisation, rule_id)", ""),
    "alert_state_rows": Placement("cityHash64(organisation, rule_id)", ""),
    "release_rows": Placement("cityHash64(organisation, release)", ""),
    "deploy_rows": Placement("cityHash64(organisation, release)", ""),
    "artifact_rows": Placement("cityHash64(organisation, artifact)", ""),
    "artifact_file_rows": Placement("cityHash64(organisation, artifact)", ""),
    "model_prices": Placement("cityHash64(model)", ""),
    "stored_rows": Placement("cityHash64(source_seq, source_item)", "minute"),
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The name of the cluster in ClickHouse's `remote_servers`, and our database on it."""

    name: str
    database: str

    @property
    def on(self) -> str:
        """The clause ON CLUSTER, which runs a statement on every server."""
        return f"ON CLUSTER {quote_identifier(self.name)}"

    def create_database(self) -> str:
        """Creates the database on every server."""
        return f"CREATE DATABASE IF NOT EXISTS {quote_identifier(self.database)} {self.on}"

    def table(self, name: str) -> str:
        """A table or view with its database: other servers have no current database."""
        return f"{quote_identifier(self.database)}.{name}"

    def stored(self, table: str) -> str:
        """The table that holds this server's share of the rows."""
        placement_of(table)
        return self.table(f"{table}_local")

    def local(self, table: str) -> str:
        """The local table with ON CLUSTER, for statements that a Distributed table refuses (DELETE, ALTER)."""
        return f"{self.stored(table)} {self.on}"

    def distributed(self, table: str) -> str:
        """Creates the Distributed table over all local ones."""
        place = f"{literal(self.name)}, {literal(self.database)}, '{table}_local', {placement_of(table).shard_by}"
        return (
            f"CREATE TABLE IF NOT EXISTS {self.table(table)} {self.on} AS {self.stored(table)}\n"
            f"ENGINE = Distributed({place})"
        )


def placement_of(table: str) -> Placement:
    """The sharding of a table. Raises ValueError if PLACEMENTS does not have it."""
    placement = PLACEMENTS.get(table)
    if placement is None:
        names = ", ".join(PLACEMENTS)
        raise ValueError(f"expected table {table} in PLACEMENTS of ops/provisioning/cluster_tables.py, found {names}")
    return placement


def quote_identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """A quoted SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
