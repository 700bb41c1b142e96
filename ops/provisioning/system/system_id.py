"""Do this broker and these tables belong to one system? Both have its id; decided before anything is written.

docs/decisions/0037-system-id.md has the choice. Without ids, on a system of an older version, the bodies that RAW still
holds are compared with what the tables know of their numbers.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.provisioning.cluster_tables import literal, quote_identifier
from ops.provisioning.system import refusals
from ops.provisioning.table_templates import render
from ops.runtime.failures import Failed
from schemas.identifiers import SYSTEM_COLUMN, SYSTEM_TABLE, system_comment, system_in

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

    from ops.provisioning.cluster_tables import Cluster
    from ops.runtime.settings import Settings
    from schemas.registry import DesiredState

ADOPT: Final = "--adopt-tables"
TAKE_BACK: Final = "--take-back"
_STAMP: Final = f"ALTER TABLE {{{{each.{SYSTEM_TABLE}}}}}{{{{on_cluster}}}} COMMENT COLUMN "
# The comment of this column says which system had the tables before; workers compare only the other one.
PREVIOUS_COLUMN: Final = "generation"
_PREVIOUS_COMMENT: Final = "tables were taken from system "
_TAKEN_AT: Final = " at "
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
    # The system whose tables it had before it took others.
    previous_id: str = ""
    # Workers that fetch its messages now, so they have tables with its id.
    fetching: tuple[str, ...] = ()
    # Of an embedded broker.
    folder: str = ""


@dataclass(frozen=True, slots=True)
class TablesSide:
    """What ClickHouse says. `highest` is the highest number of a body in its tables, 0 without one."""

    address: str
    database: str
    exists: bool = False
    system_id: str = ""
    highest: int = 0
    # The last insert, and how long ago it was; None without one of the last STILL_WRITTEN_S seconds.
    written_at: dt.datetime | None = None
    written_s_ago: int | None = None
    # The system that had these tables before another took them.
    previous_id: str = ""
    # Of an embedded ClickHouse.
    folder: str = ""
    # Rows of events, as far as the server counts them.
    rows: int = 0
    # Tables of ours that are there although SYSTEM_TABLE is not: that one alone was lost.
    others: int = 0

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
    # SYSTEM_TABLE alone was lost, and is made again.
    lost_ledger: bool = False
    # What makes the rows of the bodies in RAW again, after tables were lost.
    hint: str = ""
    # What was taken from which system, for people; empty if nothing was.
    took: str = ""


def decide(
    broker: BrokerSide, tables: TablesSide, evidence: Evidence, *, adopts: bool = False, takes_back: bool = False
) -> SystemId:
    """The id of the system, or a refusal. Raises Failed."""
    of_broker, of_tables = broker.system_id, tables.system_id
    if tables.others and not (adopts or takes_back):
        raise Failed(refusals.lost_ledger(tables, SYSTEM_TABLE))
    if of_broker and of_broker == of_tables:
        return SystemId(of_broker, of_broker, of_tables, is_new=False)
    is_new = not broker.has_delivered and not (tables.exists and (tables.highest or of_tables)) and not tables.others
    if is_new and not takes_back:
        if of_broker and broker.fetching:  # a running system that has not received anything yet
            raise Failed(refusals.running_broker(broker, tables))
        # A first `migrate` that was interrupted has left one side without an id.
        return SystemId(of_broker or _new_id(), of_broker, of_tables, is_new=not of_broker)
    if adopts or takes_back:
        _check_taking(broker, tables, takes_back=takes_back)
        # A new id for both sides: whoever used these tables before is refused from now on.
        hint = refusals.hint(broker, tables)
        return SystemId(
            _new_id(),
            of_broker,
            of_tables,
            is_new=False,
            is_adopted=True,
            lost_ledger=bool(tables.others),
            hint=hint,
            took=refusals.took(broker, tables),
        )
    if of_broker and of_tables:
        raise Failed(refusals.different(broker, tables, can_take_back=_was_ones(broker, tables)))
    if not tables.exists:
        raise Failed(refusals.no_tables(broker, tables))
    if evidence is Evidence.SAME or (evidence is Evidence.NONE and _numbers_fit(broker, tables)):
        return SystemId(of_broker or of_tables or _new_id(), of_broker, of_tables, is_new=False)
    raise Failed(refusals.unproven(broker, tables, they_know=_found(broker, tables, evidence)))


def _check_taking(broker: BrokerSide, tables: TablesSide, *, takes_back: bool) -> None:
    """Neither side may be taken from a system that runs; only its former owner may take it back. Raises Failed."""
    was_ones = _was_ones(broker, tables)
    if takes_back:
        if not was_ones:
            raise Failed(refusals.never_ones(broker, tables))
        return
    if broker.fetching:
        raise Failed(refusals.running_broker(broker, tables, can_take_back=was_ones))
    if tables.written_s_ago is not None and tables.written_s_ago < STILL_WRITTEN_S:
        raise Failed(refusals.still_written(broker, tables, STILL_WRITTEN_S, can_take_back=was_ones))


def _was_ones(broker: BrokerSide, tables: TablesSide) -> bool:
    """Whether both were one system's until one of them was taken."""
    of_broker, of_tables = broker.system_id, tables.system_id
    return bool((of_broker and of_broker == tables.previous_id) or (of_tables and of_tables == broker.previous_id))


def _found(broker: BrokerSide, tables: TablesSide, evidence: Evidence) -> str:
    if evidence is Evidence.OTHER:
        return "they know other bodies under the numbers of the bodies in RAW"
    return f"they know bodies up to number {tables.highest}, and this broker has stored {broker.last_seq}"


def _numbers_fit(broker: BrokerSide, tables: TablesSide) -> bool:
    """Where nothing can be compared because RAW was trimmed: neither side is another system's, and the tables know no
    body that this broker has not stored."""
    if broker.system_id or tables.system_id or not broker.has_delivered:
        return False
    return 0 < tables.highest <= broker.last_seq


def _new_id() -> str:
    return uuid.uuid4().hex


# --- tables


@dataclass(frozen=True, slots=True)
class IdsOfTables:
    """The id in the tables, and the one that they had before another system took them; empty if they have none."""

    current: str
    previous: str
    # When they were taken, for people; empty where an older version took them.
    taken_at: str = ""


def tables_id(client: ClickHouseClient, database: str) -> str | None:
    """The id in the tables; empty if they have none, None if there are no tables. Raises what the client raises."""
    ids = tables_ids(client, database)
    return ids.current if ids else None


def tables_ids(client: ClickHouseClient, database: str) -> IdsOfTables | None:
    """Both ids; None if there are no tables. Raises what the client raises."""
    try:
        described = client.query(f"DESCRIBE TABLE {quote_identifier(database)}.{SYSTEM_TABLE}")
    except ClickHouseError as error:
        if is_missing(error):
            return None
        raise
    name, comment = (described.column_names.index(column) for column in ("name", "comment"))
    comments = {row[name]: str(row[comment]) for row in described.result_rows}
    previous = comments.get(PREVIOUS_COLUMN, "")
    taken_from, _, taken_at = (
        previous.removeprefix(_PREVIOUS_COMMENT).partition(_TAKEN_AT)
        if previous.startswith(_PREVIOUS_COMMENT)
        else ("", "", "")
    )
    return IdsOfTables(system_in(comments.get(SYSTEM_COLUMN, "")), taken_from, taken_at)


def tables_of_ours(client: ClickHouseClient, database: str) -> int:
    """Whether the database has the rows, as a number: its other tables are there. Raises what the client raises."""
    sql = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'event_rows'"
    return int(client.query(sql, parameters={"database": database}).result_rows[0][0])


def rows_of(client: ClickHouseClient, database: str) -> int:
    """Rows of events on the server that is asked. Raises what the client raises."""
    sql = (
        "SELECT sum(total_rows) FROM system.tables WHERE database = {database:String} "
        "AND name IN ('event_rows', 'event_rows_local') AND engine != 'Distributed'"
    )
    return int(client.query(sql, parameters={"database": database}).result_rows[0][0] or 0)


def is_missing(error: ClickHouseError) -> bool:
    """Whether the database or the table does not exist."""
    return error.code in {60, 81} or any(name in str(error) for name in ("UNKNOWN_TABLE", "UNKNOWN_DATABASE"))


def write_system_id(
    client: ClickHouseClient, database: str, cluster: Cluster | None, system_id: str, previous_id: str = ""
) -> None:
    """Writes the id into the tables; first, if they were taken, whose they were. Raises what the client raises."""
    client.database = database
    taken_at = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
    previous = f"{_PREVIOUS_COMMENT}{previous_id}{_TAKEN_AT}{taken_at}"
    comments = {PREVIOUS_COLUMN: previous} if previous_id else {}
    for column, comment in (comments | {SYSTEM_COLUMN: system_comment(system_id)}).items():
        for statement in render(_STAMP, cluster):
            client.command(f"{statement}{column} {literal(comment)}")


def mismatch(
    state: DesiredState | None, in_tables: str | None, settings: Settings, ids: IdsOfTables | None = None
) -> str:
    """What is wrong between the ids of both sides, for commands that change neither; empty if nothing is.

    A system of an older version has no ids; then nothing is known. `found` also says who had the tables before.
    """
    on_broker = state.system_id if state else ""
    if not on_broker or on_broker == in_tables:
        return ""
    if ids and ids.previous == on_broker:
        return refusals.taken("these tables", settings.clickhouse_database, ids.current, on_broker, ids.taken_at)
    if state and in_tables and state.previous_system_id == in_tables:
        return refusals.taken("this broker", settings.nats_addresses(), on_broker, in_tables)
    where = f"database {settings.clickhouse_database}"
    is_other_database = False
    if state and state.clickhouse_database and state.clickhouse_database != settings.clickhouse_database:
        where += f" (the one of this system is {state.clickhouse_database})"
        is_other_database = True
    if in_tables:
        return (
            f"broker and tables belong to two systems: the broker at {settings.nats_addresses()} to "
            f"{refusals.short(on_broker)}, {where} to {refusals.short(in_tables)}. Correct "
            "AXONPUSH_NATS_URL, AXONPUSH_CLICKHOUSE_URL or AXONPUSH_CLICKHOUSE_DATABASE"
            + ("" if is_other_database else f"; after a restore: `axonpush migrate {ADOPT}`")
        )
    what = "has no tables" if in_tables is None else "does not say which system it belongs to"
    return (
        f"the broker at {settings.nats_addresses()} belongs to system {refusals.short(on_broker)}, and {where} {what}. "
        "Correct AXONPUSH_CLICKHOUSE_URL or AXONPUSH_CLICKHOUSE_DATABASE, or run `axonpush migrate`, which says what "
        "to do"
    )
