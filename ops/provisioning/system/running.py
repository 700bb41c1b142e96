"""Does the system of a broker run, and does somebody write into tables? Asked before one is taken from its system."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.js.errors import NotFoundError

from ops.provisioning.system.system_id import STILL_WRITTEN_S
from ops.runtime.failures import Failed
from ops.runtime.stream_state import consumers_of
from schemas.subjects import SOURCES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.js import JetStreamContext
    from nats.js.api import ConsumerInfo

# A busy worker has no open request while it inserts, so it is looked at several times.
LOOKS: Final = 5
PAUSE_S: Final = 0.4
ACCESS_DENIED: Final = 497

# When rows were inserted lately, in seconds since 1970. Merges and mutations make new parts too, but of several blocks,
# of a higher level, or of another data version; an insert into these engines makes level 1. Parts stay visible for some
# minutes after a merge. `received_at` says nothing: a replay inserts old rows.
_INSERTS: Final = f"""
SELECT DISTINCT toUnixTimestamp(modification_time) FROM system.parts
WHERE database = {{database:String}} AND level <= 1 AND min_block_number = max_block_number
      AND data_version = min_block_number AND modification_time >= now() - INTERVAL {STILL_WRITTEN_S} SECOND"""
# A restore makes parts as an insert does; nobody else writes what it makes while it runs.
_RESTORES: Final = f"""
SELECT toUnixTimestamp(start_time), toUnixTimestamp(end_time) FROM system.backups
WHERE status = 'RESTORED' AND end_time >= now() - INTERVAL {STILL_WRITTEN_S} SECOND"""
# Other servers of a cluster have parts that this one does not show: their rows tell, if they are not of a replay.
_ROWS: Final = f"""
SELECT toUnixTimestamp(max(received_at)) FROM {{database:Identifier}}.event_rows
WHERE received_at >= now() - INTERVAL {STILL_WRITTEN_S} SECOND AND received_at <= now()
      AND received_at >= (SELECT max(metadata_modification_time) FROM system.tables
                          WHERE database = {{database:String}} AND name = 'taken_rows')"""


@dataclass(frozen=True, slots=True)
class LastInsert:
    """When rows were inserted last, by the server's clock, and how long ago that is."""

    at: dt.datetime
    s_ago: int


def last_insert(client: ClickHouseClient, database: str) -> LastInsert | None:
    """The newest insert of the last STILL_WRITTEN_S seconds; None without one.

    Raises Failed if this user may not see it, else what the client raises.
    """
    try:
        inserts = [int(row[0]) for row in client.query(_INSERTS, parameters={"database": database}).result_rows]
        restores = [(int(row[0]), int(row[1])) for row in client.query(_RESTORES).result_rows]
        rows = int(client.query(_ROWS, parameters={"database": database}).result_rows[0][0] or 0)
        now = int(client.query("SELECT toUnixTimestamp(now())").result_rows[0][0])
    except ClickHouseError as error:
        if is_denied(error):
            raise Failed(
                "expected a ClickHouse user that may see when rows were inserted, found too few rights: `GRANT SELECT "
                "ON system.parts` and `GRANT SELECT ON system.backups` to it, as ops/deploy/clickhouse/users.d/"
                "axonpush.xml does for axonpush_operator. Nothing was changed."
            ) from error
        raise
    newest = newest_insert([*inserts, rows], restores)
    return LastInsert(dt.datetime.fromtimestamp(newest, dt.UTC), max(0, now - newest)) if newest else None


def newest_insert(inserts: Iterable[int], restores: Iterable[tuple[int, int]]) -> int:
    """The newest of these seconds that is within no restore; 0 without one."""
    spans = list(restores)
    own = [at for at in inserts if not any(start <= at <= end + 1 for start, end in spans)]
    return max(own, default=0)


def is_denied(error: ClickHouseError) -> bool:
    """Whether the user lacks a right."""
    return error.code == ACCESS_DENIED or "ACCESS_DENIED" in str(error)


async def fetching_workers(
    js: JetStreamContext, looks: int = LOOKS, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> tuple[str, ...]:
    """Workers that fetch messages from this broker now: they have tables with its id. Raises NatsError."""
    before = await _durables(js)
    workers = _waiting(before)
    for _ in range(looks - 1):
        if workers or not before:
            break
        await pause(PAUSE_S)
        now = await _durables(js)
        workers = _waiting(now) | {name for name, info in now.items() if _progress(info) != _progress(before.get(name))}
        before = now
    return tuple(sorted(workers))


async def _durables(js: JetStreamContext) -> dict[str, ConsumerInfo]:
    by_durable = {source.durable: name for name, source in SOURCES.items()}
    durables: dict[str, ConsumerInfo] = {}
    for stream in sorted({source.stream for source in SOURCES.values()}):
        try:
            infos = await consumers_of(js, stream)
        except NotFoundError:
            continue
        durables |= {by_durable[info.name]: info for info in infos if info.name in by_durable}
    return durables


def _waiting(durables: dict[str, ConsumerInfo]) -> set[str]:
    return {name for name, info in durables.items() if info.num_waiting}


def _progress(info: ConsumerInfo | None) -> tuple[int, int]:
    if info is None:
        return 0, 0
    delivered, settled = info.delivered, info.ack_floor
    return (delivered.consumer_seq if delivered else 0), (settled.consumer_seq if settled else 0)
