"""Since when a table counts that was lost and made again, empty: a column's comment says it, with the table.

ClickHouse knows no such time: that of its last change moves with every change.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.provisioning.cluster_tables import literal, quote_identifier

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Every table of rows of bodies has this column; the id of the system is in another's comment.
_COLUMN: Final = "organisation"
_COMMENT: Final = "made again, empty, at "
_FORM: Final = "%Y-%m-%d %H:%M:%S UTC"


def write_made_again(client: Client, tables: Iterable[str], now: dt.datetime) -> None:
    """Writes it into these tables of the client's database. Raises what the client raises."""
    comment = literal(f"{_COMMENT}{now.astimezone(dt.UTC):{_FORM}}")
    for table in tables:
        client.command(f"ALTER TABLE {table} COMMENT COLUMN {_COLUMN} {comment}")


def made_again(client: Client, database: str, tables: Iterable[str]) -> dict[str, dt.datetime]:
    """When each of these tables was made again; without those that never were, do not exist or may not be read.

    Raises what the client raises.
    """
    times = {table: _time(client, database, table) for table in tables}
    return {table: time for table, time in times.items() if time}


def _time(client: Client, database: str, table: str) -> dt.datetime | None:
    try:
        described = client.query(f"DESCRIBE TABLE {quote_identifier(database)}.{table}")
    except ClickHouseError as error:
        if any(word in str(error) for word in ("ACCESS_DENIED", "UNKNOWN_")):
            return None
        raise
    name, comment = (described.column_names.index(column) for column in ("name", "comment"))
    return _read({row[name]: str(row[comment]) for row in described.result_rows})


def _read(comments: Mapping[str, str]) -> dt.datetime | None:
    comment = comments.get(_COLUMN, "")
    if not comment.startswith(_COMMENT):
        return None
    try:
        return dt.datetime.strptime(comment.removeprefix(_COMMENT), _FORM).replace(tzinfo=dt.UTC)
    except ValueError:  # somebody has changed it
        return None
