"""Do this broker and these tables belong to one system? Both have its id; decided before anything is written.

docs/decisions/0037-system-id.md has the choice. Without ids, on a system of an older version, the bodies that RAW still
holds are compared with what the tables know of their numbers.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.provisioning.cluster_tables import identifier, literal
from ops.provisioning.table_templates import render
from ops.runtime.failures import Failed
from schemas.identifiers import SYSTEM_COLUMN, SYSTEM_TABLE, system_comment, system_in
from schemas.subjects import RAW

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

    from ops.provisioning.cluster_tables import Cluster
    from ops.runtime.settings import Settings
    from schemas.registry import DesiredState

ADOPT: Final = "--adopt-tables"
_STAMP: Final = f"ALTER TABLE {{{{each.{SYSTEM_TABLE}}}}}{{{{on_cluster}}}} COMMENT COLUMN {SYSTEM_COLUMN} "
SHOWN_DIGITS: Final = 8
# Tables with a younger row than this are not taken from another system: it may still write into them.
STILL_WRITTEN_S: Final = 300


class Evidence(Enum):
    """What the bodies in RAW say about the tables: they know the same bodies, others, or nothing can be compared."""

    SAME = "same"
    OTHER = "other"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class BrokerSide:
    """What the broker says. `last_seq` counts every body ever stored; `has_delivered`: a worker got one of them.

    `database` is where the tables of its system are, as far as it knows.
    """

    address: str
    system_id: str = ""
    last_seq: int = 0
    has_delivered: bool = False
    database: str = ""
    # Of RAW now, and when it stored the oldest of them.
    bodies: int = 0
    oldest_at: str = ""


@dataclass(frozen=True, slots=True)
class TablesSide:
    """What ClickHouse says. `highest` is the highest number of a body in its tables, 0 without one."""

    address: str
    database: str
    exists: bool = False
    system_id: str = ""
    highest: int = 0
    # How long ago the newest row was received that came after the tables were made; None without such a row.
    written_s_ago: int | None = None

    @property
    def text(self) -> str:
        return f"database {self.database} at {self.address}"


@dataclass(frozen=True, slots=True)
class SystemId:
    """The id that both sides shall have. `is_adopted`: the tables were another system's, or of unknown origin."""

    system_id: str
    on_broker: str = ""
    in_tables: str = ""
    is_new: bool = True
    is_adopted: bool = False
    # What makes the rows of the bodies in RAW again, after tables were lost.
    hint: str = ""
    changes: list[tuple[str, str]] = field(default_factory=list)


def decide(broker: BrokerSide, tables: TablesSide, evidence: Evidence, *, adopts: bool) -> SystemId:
    """The id of the system, or a refusal. Raises Failed."""
    of_broker, of_tables = broker.system_id, tables.system_id
    if of_broker and of_broker == of_tables:
        return SystemId(of_broker, of_broker, of_tables, is_new=False)
    is_new = not broker.has_delivered and not (tables.exists and (tables.highest or of_tables))
    if is_new:
        # A first `migrate` that was interrupted has left one side without an id.
        return SystemId(of_broker or _new_id(), of_broker, of_tables, is_new=not of_broker)
    if adopts:
        if tables.written_s_ago is not None and tables.written_s_ago < STILL_WRITTEN_S:
            raise Failed(_still_written(broker, tables, tables.written_s_ago))
        # A new id for both sides: whoever used these tables before is refused from now on.
        return SystemId(_new_id(), of_broker, of_tables, is_new=False, is_adopted=True, hint=_hint(broker, tables))
    if of_broker and of_tables:
        raise Failed(_different(broker, tables))
    if not tables.exists:
        raise Failed(_no_tables(broker, tables))
    if evidence is Evidence.SAME or (evidence is Evidence.NONE and _numbers_fit(broker, tables)):
        return SystemId(of_broker or of_tables or _new_id(), of_broker, of_tables, is_new=False)
    raise Failed(_unproven(broker, tables, evidence))


def _numbers_fit(broker: BrokerSide, tables: TablesSide) -> bool:
    """Where nothing can be compared because RAW was trimmed: neither side is another system's, and the tables know no
    body that this broker has not stored."""
    if broker.system_id or tables.system_id or not broker.has_delivered:
        return False
    return 0 < tables.highest <= broker.last_seq


def _new_id() -> str:
    return uuid.uuid4().hex


def shown(system_id: str) -> str:
    """The first digits, for people."""
    return system_id[:SHOWN_DIGITS] or "none"


def _hint(broker: BrokerSide, tables: TablesSide) -> str:
    if tables.highest or not broker.bodies:
        return ""
    return (
        f"the tables are empty, and {RAW} still holds {broker.bodies} bodies, the oldest of {broker.oldest_at}: "
        f"`axonpush replay --since {broker.oldest_at}` makes their rows again"
    )


def _still_written(broker: BrokerSide, tables: TablesSide, written_s_ago: int) -> str:
    return (
        f"expected tables that nobody writes to, found a row of {written_s_ago} s ago in {tables.text}, which belongs "
        f"to {_owner(tables)}, not to the broker at {broker.address}: taking the tables of a running system away would "
        f"mix the rows of two. Nothing was changed. To use tables of your own, correct AXONPUSH_CLICKHOUSE_URL or "
        f"AXONPUSH_CLICKHOUSE_DATABASE. If these are meant: stop the receivers and workers that use them, wait until "
        f"the newest row is {STILL_WRITTEN_S // 60} minutes old, and run this again"
    )


def _owner(tables: TablesSide) -> str:
    return f"system {shown(tables.system_id)}" if tables.system_id else "an unknown system"


def _remedy(broker: BrokerSide, tables: TablesSide) -> str:
    if broker.database and broker.database != tables.database:
        return (
            f"Nothing was changed. The database of the broker's system is {broker.database}: correct "
            f"AXONPUSH_CLICKHOUSE_DATABASE ({tables.database}), or the addresses AXONPUSH_NATS_URL ({broker.address}) "
            f"and AXONPUSH_CLICKHOUSE_URL ({tables.address})"
        )
    addresses = {"AXONPUSH_NATS_URL": broker.address, "AXONPUSH_CLICKHOUSE_URL": tables.address}
    named = [f"{variable} ({addresses[variable]})" for variable in addresses if os.environ.get(variable)]
    correct = f" Correct {' or '.join(named)}." if named else ""
    if len(named) == 1:
        correct += " `axonpush up` starts a server of its own for the one that is not set."
    return (
        f"Nothing was changed.{correct} If these tables shall be this broker's from now on, as after a restore or a "
        f"loss: add {ADOPT} (to `axonpush migrate` or `axonpush up`), while nothing else writes to them"
    )


def _different(broker: BrokerSide, tables: TablesSide) -> str:
    return (
        f"expected broker and tables of one system, found two: the broker at {broker.address} belongs to system "
        f"{shown(broker.system_id)}, {tables.text} to system {shown(tables.system_id)}. {_remedy(broker, tables)}"
    )


def _no_tables(broker: BrokerSide, tables: TablesSide) -> str:
    return (
        f"expected the tables of the system at {broker.address} (id {shown(broker.system_id)}), found none: its "
        f"{broker.last_seq} bodies became rows elsewhere, and {tables.text} has no tables. {_remedy(broker, tables)}"
    )


def _unproven(broker: BrokerSide, tables: TablesSide, evidence: Evidence) -> str:
    found = {
        Evidence.SAME: "",
        Evidence.OTHER: "they know other bodies under the numbers of the bodies in RAW",
        Evidence.NONE: f"they know bodies up to number {tables.highest}, and this broker has stored {broker.last_seq}",
    }[evidence]
    own = f"belongs to system {shown(broker.system_id)}" if broker.system_id else "has no id yet"
    return (
        f"expected broker and tables of one system: the broker at {broker.address} {own}, {tables.text} belongs to "
        f"{_owner(tables)}; {found}. {_remedy(broker, tables)}"
    )


# --- tables


def tables_id(client: ClickHouseClient, database: str) -> str | None:
    """The id in the tables; empty if they have none, None if there are no tables. Raises what the client raises."""
    try:
        described = client.query(f"DESCRIBE TABLE {identifier(database)}.{SYSTEM_TABLE}")
    except ClickHouseError as error:
        if is_missing(error):
            return None
        raise
    name, comment = (described.column_names.index(column) for column in ("name", "comment"))
    comments = {row[name]: str(row[comment]) for row in described.result_rows}
    return system_in(comments.get(SYSTEM_COLUMN, ""))


def is_missing(error: ClickHouseError) -> bool:
    """Whether the database or the table does not exist."""
    return error.code in {60, 81} or any(name in str(error) for name in ("UNKNOWN_TABLE", "UNKNOWN_DATABASE"))


def stamp_tables(client: ClickHouseClient, database: str, cluster: Cluster | None, system_id: str) -> None:
    """Writes the id into the tables. Raises what the client raises."""
    client.database = database
    for statement in render(_STAMP, cluster):
        client.command(statement + literal(system_comment(system_id)))


def mismatch(state: DesiredState | None, in_tables: str | None, settings: Settings) -> str:
    """What is wrong between the ids of both sides, for commands that change neither; empty if nothing is.

    A system of an older version has no ids; then nothing is known.
    """
    on_broker = state.system_id if state else ""
    if not on_broker or on_broker == in_tables:
        return ""
    where = f"database {settings.clickhouse_database}"
    is_other_database = False
    if state and state.clickhouse_database and state.clickhouse_database != settings.clickhouse_database:
        where += f" (the one of this system is {state.clickhouse_database})"
        is_other_database = True
    if in_tables:
        return (
            f"broker and tables belong to two systems: the broker at {settings.nats_addresses()} to "
            f"{shown(on_broker)}, {where} to {shown(in_tables)}. Correct AXONPUSH_NATS_URL, AXONPUSH_CLICKHOUSE_URL or "
            "AXONPUSH_CLICKHOUSE_DATABASE"
            + ("" if is_other_database else f"; after a restore: `axonpush migrate {ADOPT}`")
        )
    what = "has no tables" if in_tables is None else "does not say which system it belongs to"
    return (
        f"the broker at {settings.nats_addresses()} belongs to system {shown(on_broker)}, and {where} {what}. Correct "
        "AXONPUSH_CLICKHOUSE_URL or AXONPUSH_CLICKHOUSE_DATABASE, or run `axonpush migrate`, which says what to do"
    )
