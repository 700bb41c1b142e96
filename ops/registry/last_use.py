"""When each key was used last, as ClickHouse knows it. Counted to the minute by the receivers, else by stored rows."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse
from ops.provisioning import table_ttl
from ops.provisioning.cluster_tables import Cluster
from ops.provisioning.system.made_again import made_again
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from ops.runtime.settings import Settings

TIMEOUT_S: Final = 5
NEVER: Final = "never"
MINUTE_LENGTH: Final = len("2026-01-01T00:00")
# At a first start, tables and keys are made beside each other.
BESIDE: Final = dt.timedelta(minutes=1)
_BY_RECEIVERS: Final = "SELECT key_id, max(minute) FROM key_use WHERE key_id IN {keys:Array(String)} GROUP BY key_id"
_BY_ROWS: Final = """SELECT key_id, toStartOfMinute(toDateTime(max(received_at), 'UTC')) FROM event_rows
WHERE key_id IN {keys:Array(String)} GROUP BY key_id"""


@dataclass(frozen=True, slots=True)
class LastUse:
    """The minute of the last use by key id, and since when ClickHouse knows: tables may be younger than a key, and old
    rows expire."""

    by_key: Mapping[str, str]
    known_since: str

    def text(self, key_id: str, created_at: str) -> str:
        """A minute, `never`, or `not since …` where an earlier use would not be known."""
        if key_id in self.by_key:
            return self.by_key[key_id]
        # Compared to the minute: `known_since` has no seconds, and both are made at the same first start.
        is_younger = created_at and created_at[:MINUTE_LENGTH] >= self.known_since[:MINUTE_LENGTH]
        return NEVER if is_younger else f"not since {self.known_since}"


async def last_use(settings: Settings, key_ids: Iterable[str]) -> LastUse | None:
    """What is known of these keys; None if ClickHouse does not answer."""
    try:
        async with asyncio.timeout(3 * TIMEOUT_S):
            return await asyncio.to_thread(_read, settings, list(key_ids))
    except (ClickHouseError, Failed, OSError, TimeoutError):
        return None


def _read(settings: Settings, key_ids: list[str]) -> LastUse:
    client = open_clickhouse(settings, TIMEOUT_S)
    try:
        client.database = settings.clickhouse_database
        try:
            by_receivers = _query(client, _BY_RECEIVERS, key_ids)
        except ClickHouseError:  # a database of an older version has no such view
            by_receivers = {}
        missing = [key_id for key_id in key_ids if key_id not in by_receivers]
        by_key = (_query(client, _BY_ROWS, missing) if missing else {}) | by_receivers
        return LastUse(by_key, known_since(_made_at(client), _ttl_days(client, settings), dt.datetime.now(dt.UTC)))
    finally:
        client.close()


def known_since(made_at: dt.datetime, ttl_days: int, now: dt.datetime) -> str:
    """When the tables were made, or when rows that would be expired now were written, whichever is later."""
    made_at = made_at.replace(tzinfo=dt.UTC) - BESIDE
    oldest = max(made_at, now - dt.timedelta(days=ttl_days)) if ttl_days else made_at
    return f"{oldest:%Y-%m-%dT%H:%M}Z"


def _made_at(client: Client) -> dt.datetime:
    """When the tables were made; later if one that knows of use was lost, and made again, empty."""
    made_at: dt.datetime = client.query("SELECT min(applied_at) FROM migrations").result_rows[0][0]
    again = made_again(client, str(client.database), ("event_rows", "outcome_rows"))
    return max([made_at.replace(tzinfo=dt.UTC), *again.values()])


def _ttl_days(client: Client, settings: Settings) -> int:
    name = settings.clickhouse_cluster
    cluster = Cluster(name, settings.clickhouse_database) if name else None
    days = (
        table_ttl.days_of(ttl) for ttl in table_ttl.read_ttls(client, settings.clickhouse_database, cluster).values()
    )
    return min(filter(None, days), default=0)


def _query(client: Client, sql: str, key_ids: list[str]) -> dict[str, str]:
    limits = {"max_execution_time": TIMEOUT_S}
    rows = client.query(sql, parameters={"keys": key_ids}, settings=limits).result_rows
    return {str(key_id): f"{minute:%Y-%m-%dT%H:%M}Z" for key_id, minute in rows}
