"""When each key was used last, as ClickHouse knows it. Counted to the minute by the receivers, else by stored rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from ops.runtime.settings import Settings

TIMEOUT_S: Final = 5
_BY_RECEIVERS: Final = "SELECT key_id, max(minute) FROM key_use WHERE key_id IN {keys:Array(String)} GROUP BY key_id"
_BY_ROWS: Final = """SELECT key_id, toStartOfMinute(toDateTime(max(received_at), 'UTC')) FROM event_rows
WHERE key_id IN {keys:Array(String)} GROUP BY key_id"""


async def last_use(settings: Settings, key_ids: Iterable[str]) -> dict[str, str] | None:
    """The minute of the last use by key id, without keys that were never used; None if ClickHouse does not answer."""
    try:
        async with asyncio.timeout(3 * TIMEOUT_S):
            return await asyncio.to_thread(_read, settings, list(key_ids))
    except (ClickHouseError, Failed, OSError, TimeoutError):
        return None


def _read(settings: Settings, key_ids: list[str]) -> dict[str, str]:
    client = open_clickhouse(settings, TIMEOUT_S)
    try:
        client.database = settings.clickhouse_database
        try:
            found = _query(client, _BY_RECEIVERS, key_ids)
        except ClickHouseError:  # a database of an older version has no such view
            found = {}
        missing = [key_id for key_id in key_ids if key_id not in found]
        return (_query(client, _BY_ROWS, missing) if missing else {}) | found
    finally:
        client.close()


def _query(client: Client, sql: str, key_ids: list[str]) -> dict[str, str]:
    limits = {"max_execution_time": TIMEOUT_S}
    rows = client.query(sql, parameters={"keys": key_ids}, settings=limits).result_rows
    return {str(key_id): f"{minute:%Y-%m-%dT%H:%M}Z" for key_id, minute in rows}
