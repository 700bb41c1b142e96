"""Why a broker and tables are not brought together, in words: what was expected, what was found, what to do."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Final

from schemas.identifiers import SYSTEM_TABLE
from schemas.subjects import RAW

if TYPE_CHECKING:
    from ops.provisioning.system.system_id import BrokerSide, TablesSide

SHOWN_DIGITS: Final = 8
SHOWN_WORKERS: Final = 3
NATS, CLICKHOUSE, DATABASE = "AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL", "AXONPUSH_CLICKHOUSE_DATABASE"


def short(system_id: str) -> str:
    """The first digits, for people."""
    return system_id[:SHOWN_DIGITS] or "none"


def hint(broker: BrokerSide, tables: TablesSide) -> str:
    """The replay that makes the rows of lost tables again; empty if there is nothing to replay."""
    if tables.highest or not broker.bodies:
        return ""
    what = f"table {SYSTEM_TABLE} is" if tables.others else "the tables are"
    bodies = "1 body" if broker.bodies == 1 else f"{broker.bodies} bodies"
    return (
        f"{what} empty, and {RAW} still holds {bodies}, the oldest of {broker.oldest_at}: "
        f"`axonpush replay --since {broker.oldest_at}` makes their rows again"
    )


def running_broker(broker: BrokerSide, tables: TablesSide, *, can_take_back: bool = False) -> str:
    """Its workers have tables already."""
    names = ", ".join(broker.fetching[:SHOWN_WORKERS])
    more = len(broker.fetching) - SHOWN_WORKERS
    named = f"{names} and {more} more" if more > 0 else names
    where = f"in its database {broker.database}" if broker.database else "elsewhere"
    is_embedded_here = bool(tables.folder)
    own = f"set {CLICKHOUSE} to its ClickHouse" if is_embedded_here else f"correct {CLICKHOUSE} or {DATABASE}"
    return (
        f"expected a broker whose system does not run, found workers ({named}) that fetch messages from the broker at "
        f"{broker.address}: they store rows of system {short(broker.system_id)} {where}, not in {tables.text}. Taking "
        "this broker for other tables would stop them, and divide its rows among two databases. Nothing was changed. "
        f"To work on that system, {own}. For a system of your own, unset {NATS} or correct it ({broker.address}). If "
        "the tables of that system are lost: its workers stop by themselves within two minutes after ClickHouse "
        f"answers again, or stop them; then run this again.{_take_back(can_take_back)}"
    )


def still_written(broker: BrokerSide, tables: TablesSide, wait_s: int, *, can_take_back: bool) -> str:
    """Somebody else inserts rows."""
    at = tables.written_at or dt.datetime.now(dt.UTC)
    free_at = at + dt.timedelta(seconds=wait_s)
    return (
        f"expected tables that nobody writes to, found that rows were inserted at {at:%H:%M:%S} UTC "
        f"({tables.written_s_ago} s ago) into {tables.text}, which belongs to {_owner(tables)}, not to the broker at "
        f"{broker.address}: taking the tables of a running system away would mix the rows of two. Nothing was changed. "
        f"To use tables of your own, correct {CLICKHOUSE} or {DATABASE}. If these are meant: stop the workers that "
        f"insert into them, and run this again after {free_at:%H:%M:%S} UTC ({wait_s // 60} minutes after the last "
        f"insert; a later time in the next message means that somebody still inserts).{_take_back(can_take_back)}"
    )


def never_ones(broker: BrokerSide, tables: TablesSide) -> str:
    """They cannot be taken back."""
    return (
        f"--take-back: expected tables that belonged to the system of the broker at {broker.address} "
        f"({short(broker.system_id)}) until another one took them, found no sign of that: {tables.text} belongs to "
        f"{_owner(tables)}, before that to {short(tables.previous_id)}. Nothing was changed. {_correct(broker, tables)}"
        "For tables after a restore or a loss: --adopt-tables"
    )


def different(broker: BrokerSide, tables: TablesSide, *, can_take_back: bool = False) -> str:
    """Both have an id."""
    return (
        f"expected broker and tables of one system, found two: the broker at {broker.address} belongs to system "
        f"{short(broker.system_id)}, {tables.text} to system {short(tables.system_id)}. {_remedy(broker, tables)}"
        f"{_take_back(can_take_back)}"
    )


def no_tables(broker: BrokerSide, tables: TablesSide) -> str:
    """The broker has delivered bodies."""
    return (
        f"expected the tables of the system at {broker.address} (id {short(broker.system_id)}), found none: its "
        f"{broker.last_seq} bodies became rows elsewhere, and {tables.text} has no tables. {_remedy(broker, tables)}"
    )


def lost_ledger(tables: TablesSide, table: str) -> str:
    """The table with the id is gone, the rows are there."""
    return (
        f"expected table {table} in {tables.text}, found it missing beside its other tables: it alone was dropped or "
        f"lost, and with it the id of the system and what `status` compares. Nothing was changed. Restore it from a "
        f"backup: `RESTORE TABLE {tables.database}.{table} FROM …` (docs/operations.md, `Back up`). Without a backup: "
        "`axonpush migrate --adopt-tables` (or `axonpush up --adopt-tables`) makes it again, empty; all other rows "
        "stay, and a replay fills it for the bodies that RAW still holds"
    )


def unproven(broker: BrokerSide, tables: TablesSide, *, they_know: str) -> str:
    """One side has no id."""
    own = f"belongs to system {short(broker.system_id)}" if broker.system_id else "has no id yet"
    return (
        f"expected broker and tables of one system: the broker at {broker.address} {own}, {tables.text} belongs to "
        f"{_owner(tables)}; {they_know}. {_remedy(broker, tables)}"
    )


def taken(what: str, where: str, taker: str, owner: str, at: str = "") -> str:
    """For the system that had it."""
    when = f" at {at}" if at else ""
    return (
        f"another system ({short(taker)}) took {what} ({where}) from system {short(owner)}{when}. By mistake? "
        "`axonpush migrate --take-back` brings both together again; then stop that system"
    )


def took(broker: BrokerSide, tables: TablesSide) -> str:
    """For the taker: what it took, and from whom. Empty for servers of its own folder."""
    of_broker, of_tables = broker.system_id, tables.system_id
    if of_tables and of_tables != of_broker and not tables.folder:
        rows = "1 row" if tables.rows == 1 else f"{tables.rows} rows"
        return f"took database {tables.database} ({rows}) from system {short(of_tables)}"
    if of_broker and not broker.folder:
        bodies = "1 body" if broker.bodies == 1 else f"{broker.bodies} bodies"
        return f"the broker at {broker.address} ({bodies}) was of system {short(of_broker)}, and is of these tables now"
    return ""


def _owner(tables: TablesSide) -> str:
    return f"system {short(tables.system_id)}" if tables.system_id else "an unknown system"


def _take_back(can_take_back: bool) -> str:
    if not can_take_back:
        return ""
    return (
        " Both were one system until another one took one of them: to take it back at once, use --take-back in place "
        "of --adopt-tables, and stop the other system"
    )


def _correct(broker: BrokerSide, tables: TablesSide) -> str:
    """Only variables that are set can be corrected."""
    addresses = {NATS: broker.address, CLICKHOUSE: tables.address}
    named = [f"{variable} ({addresses[variable]})" for variable in addresses if os.environ.get(variable)]
    text = f"Correct {' or '.join(named)}. " if named else ""
    if len(named) == 1:
        text += "`axonpush up` starts a server of its own for the one that is not set. "
    return text


def _remedy(broker: BrokerSide, tables: TablesSide) -> str:
    if broker.folder and tables.folder and not (tables.highest and broker.last_seq):
        return _put_clickhouse_back(broker, tables) if broker.last_seq else _put_broker_back(broker)
    if broker.database and broker.database != tables.database:
        return (
            f"Nothing was changed. The database of the broker's system is {broker.database}: correct "
            f"{DATABASE} ({tables.database}), or the addresses {NATS} ({broker.address}) and {CLICKHOUSE} "
            f"({tables.address})"
        )
    return (
        f"Nothing was changed. {_correct(broker, tables)}If these tables shall be this broker's from now on, as after "
        "a restore or a loss: add --adopt-tables (to `axonpush migrate` or `axonpush up`), while nothing else writes "
        "to them"
    )


def _put_broker_back(broker: BrokerSide) -> str:
    return (
        f"First put the broker's folder {broker.folder} back, if it was moved or its disk is not mounted, and start "
        "again: it has keys, and bodies that may not be rows yet. Nothing was changed. Only if it is lost for good: "
        "`axonpush up --adopt-tables` begins a new one beside these rows; then `axonpush registry import` of a backup "
        "brings the keys back"
    )


def _put_clickhouse_back(broker: BrokerSide, tables: TablesSide) -> str:
    """One half of an `up` is lost, or only not in its place."""
    remaining = f"{RAW} still holds {broker.bodies} of them" if broker.bodies else f"{RAW} holds none of them any more"
    return (
        f"First put ClickHouse's folder {tables.folder} back, if it was moved or its disk is not mounted, and start "
        f"again. Nothing was changed. Only if it is lost for good: `axonpush up --adopt-tables` makes empty tables and "
        f"new passwords of ClickHouse's users, and prints the replay that makes the rows of older bodies again "
        f"({remaining}); all other rows are gone, unless you restore a backup"
    )
