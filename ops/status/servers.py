"""State of the servers for `axonpush status`: brokers, JetStream's use of memory and disk, ClickHouse, receivers."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.cli.servers import open_clickhouse
from ops.janitor.storage import greeting_or_error
from ops.local.disk_watch import MIN_FREE_BYTES, free_bytes
from ops.provisioning.cluster_tables import Cluster
from ops.provisioning.lost_tables import FROM_BODIES, emptied, missing_as_seen
from ops.provisioning.system.made_again import made_again
from ops.provisioning.system.system_id import IdsOfTables, tables_ids
from ops.refusals.read import EMPTY_YEAR
from ops.runtime.secret_masking import without_secrets
from schemas.registry import Key, Organisation
from schemas.subjects import RAW
from schemas.usage import Unit, key_name, organisation_name

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

API_TIMEOUT_S: Final = 3.0
NEARLY_FULL: Final = 0.95
# How a broker is known that no address names.
REPLICA: Final = "replica of RAW"
# What writes to a disk.
BROKER: Final = "broker"
# Replicas hear of each other every second.
UNHEARD_S: Final = 3.0
_DISKS: Final = "SELECT name, free_space, total_space, is_read_only FROM system.disks WHERE type != 'Backup'"
_READ_ONLY_TABLES: Final = "SELECT table FROM system.replicas WHERE database = {database:String} AND is_readonly"
_TTL: Final = """
SELECT engine_full FROM system.tables
WHERE database = {database:String} AND name IN ('event_rows', 'event_rows_local') AND engine_full LIKE '%MergeTree%'"""
_NEWEST: Final = """
SELECT max(minute) FROM {database:Identifier}.taken_rows WHERE minute > now('UTC') - INTERVAL 1 HOUR"""
# A record of migrations may be newer than the tables (it was lost), a table newer than the record (it was changed).
_MADE_AT: Final = """
SELECT least(toUnixTimestamp(min(applied_at)),
             (SELECT toUnixTimestamp(min(metadata_modification_time)) FROM system.tables
              WHERE database = {database:String}))
FROM {database:Identifier}.migrations"""
_TTL_DAYS: Final = re.compile(r"toIntervalDay\((\d+)\)")
_REFUSED: Final = """
SELECT if(outcome = 'rate_limited', '429', '') AS limited, reason, sum(quantity) AS requests,
       uniqExactIf(key_id, key_id != '') AS keys
FROM outcome_rows FINAL
WHERE outcome IN ('refused', 'rate_limited', 'unconfirmed') AND minute >= now('UTC') - INTERVAL {minutes:UInt32} MINUTE
GROUP BY limited, reason ORDER BY requests DESC LIMIT 50"""
REFUSED_MINUTES: Final = 10
# Whose fault is the sender's or its limit's, by who it is: a quota that is used up, a channel that was closed.
_REFUSED_SENDERS: Final = """
SELECT reason, organisation, if(startsWith(reason, 'quota:organisation'), '', key_id) AS key,
       if(reason = {archived:String}, channel_id, 0) AS channel, sum(quantity) AS requests
FROM outcome_rows FINAL
WHERE (outcome = 'rate_limited' AND startsWith(reason, 'quota:') OR outcome = 'refused' AND reason = {archived:String})
      AND minute >= now('UTC') - INTERVAL {minutes:UInt32} MINUTE
GROUP BY reason, organisation, key, channel ORDER BY requests DESC LIMIT 20"""
ARCHIVED: Final = "403:archived_channel"


@dataclass(frozen=True, slots=True)
class BrokerServer:
    """One nats-server. `source` is how it is known: an address of the settings, or a replica of RAW."""

    name: str
    answers: bool
    source: str = "address"
    jetstream: bool = True
    error: str = ""


@dataclass(frozen=True, slots=True)
class JetStreamUse:
    """What our account uses of the broker's memory and disk; a limit of None means the broker names none."""

    storage_bytes: int
    storage_limit_bytes: int | None
    reserved_bytes: int
    memory_bytes: int
    memory_limit_bytes: int | None
    streams: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk with its free bytes. `of` names the server that writes to it."""

    of: str
    name: str
    free_bytes: int
    total_bytes: int = 0
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class ClickHouseState:
    """ClickHouse as it answered. `read_only` names replicated tables that accept no inserts.

    `knows_system`: this user could read which system the tables belong to.
    """

    version: str
    disks: list[Disk] = field(default_factory=list)
    read_only: list[str] = field(default_factory=list)
    ttl_days: int = 0
    # The minute of the newest body that is stored: workers reached both servers then.
    newest_at: dt.datetime | None = None
    newest_age_s: float = 0.0
    # When the tables were made; None if that is not known.
    made_at: dt.datetime | None = None
    # Tables that were lost and made again, empty, and when.
    made_again: Mapping[str, dt.datetime] = field(default_factory=dict)
    # The id in the tables: None without tables, empty if they have none.
    system_id: str | None = None
    knows_system: bool = False
    # Dropped tables (and views that fill tables), and dropped views that only show.
    missing_tables: list[str] = field(default_factory=list)
    missing_views: list[str] = field(default_factory=list)
    # Both ids of the tables, and when another system took them.
    ids: IdsOfTables | None = None

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        times = {"newest_at": self.newest_at, "made_at": self.made_at}
        again = {table: time.isoformat() for table, time in self.made_again.items()}
        return (
            asdict(self)
            | {"made_again": again}
            | {name: time.isoformat() if time else None for name, time in times.items()}
        )


@dataclass(frozen=True, slots=True)
class ReceiverHealth:
    """One receiver that answered. `parts` are those of its /ready."""

    name: str
    address: str
    parts: Mapping[str, bool]

    @property
    def is_ready(self) -> bool:
        """Whether it accepts requests."""
        return all(self.parts.values())


@dataclass(frozen=True, slots=True)
class RefusedWorker:
    """A worker process that ClickHouse refuses or that still waits for it: `tables`, or `start`."""

    process: str
    workers: tuple[str, ...]
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefusalRate:
    """Refused requests of one reason, a minute, over the last REFUSED_MINUTES."""

    reason: str
    per_minute: float
    # Of so many known keys.
    keys: int = 0


@dataclass(frozen=True, slots=True)
class RefusedSender:
    """Who was refused over the last REFUSED_MINUTES: a key or an organisation by its quota, or a closed channel."""

    reason: str
    organisation: str
    key_id: str
    channel: int
    requests: int
    # As the registry has it now: what a person has changed since is no advice any more. None if it is not known.
    owner: Key | Organisation | None = None

    @property
    def owner_name(self) -> str:
        """The key or organisation whose quota it is, as reports name it; empty for a channel."""
        if not self.reason.startswith("quota:"):
            return ""
        is_of_key = self.reason.startswith("quota:key") and self.key_id
        return key_name(self.key_id) if is_of_key else organisation_name(self.organisation)

    @property
    def unit(self) -> Unit:
        """What the quota limits."""
        last = self.reason.rpartition(":")[2]
        return Unit(last) if last in set(Unit) else Unit.REQUESTS

    def as_json(self) -> dict[str, Any]:
        """For scripts: without what the registry says of it."""
        return {name: value for name, value in asdict(self).items() if name != "owner"}


async def brokers(settings: Settings) -> list[BrokerServer]:
    """Every server that the settings name, asked for its greeting."""
    addresses = settings.nats_servers()
    greetings = await asyncio.gather(*map(greeting_or_error, addresses))
    return [
        BrokerServer(
            str(greeting.get("server_name") or without_secrets(address)),
            bool(greeting),
            without_secrets(address),
            bool(greeting.get("jetstream")) if greeting else True,
            error,
        )
        for address, (greeting, error) in zip(addresses, greetings, strict=True)
    ]


async def replicas(client: Client) -> list[BrokerServer]:
    """The servers that have a replica of RAW, as its leader sees them; none while it has no leader."""
    reply = await client.request(f"$JS.API.STREAM.INFO.{RAW}", b"", timeout=API_TIMEOUT_S)
    cluster = json.loads(reply.data).get("cluster") or {}
    if not cluster.get("leader"):
        return []  # whoever answers has heard of nobody, itself included
    servers = [BrokerServer(str(cluster["leader"]), True, REPLICA)]
    for peer in cluster.get("replicas") or ():
        unheard_s = int(peer.get("active") or 0) / 1e9
        is_away = bool(peer.get("offline")) or unheard_s > UNHEARD_S
        error = "" if peer.get("current") else "behind"
        if is_away:
            error = f"is offline: the others have not heard of it for {unheard_s:.0f} s"
        servers.append(BrokerServer(str(peer.get("name")), not is_away, REPLICA, error=error))
    return servers


async def jetstream_use(client: Client) -> JetStreamUse:
    """What the account uses, and its limits."""
    reply = await client.request("$JS.API.INFO", b"", timeout=API_TIMEOUT_S)
    account: dict[str, Any] = json.loads(reply.data)
    limits = account.get("limits") or {}
    return JetStreamUse(
        storage_bytes=int(account.get("storage", 0)),
        storage_limit_bytes=_limit(limits.get("max_storage")),
        reserved_bytes=int(account.get("reserved_storage", 0)),
        memory_bytes=int(account.get("memory", 0)),
        memory_limit_bytes=_limit(limits.get("max_memory")),
        streams=int(account.get("streams", 0)),
        consumers=int(account.get("consumers", 0)),
    )


def _limit(number: object) -> int | None:
    return number if isinstance(number, int) and number > 0 else None


def local_disks(data_dir: Path) -> list[Disk]:
    """The disk of `up`'s broker, where this folder has one."""
    folder = data_dir / "nats"
    try:
        return [Disk(BROKER, str(folder), free_bytes(folder))] if folder.is_dir() else []
    except OSError:
        return []


def clickhouse_state(settings: Settings, timeout_s: float) -> ClickHouseState:
    """What ClickHouse says of itself. Raises Failed, ClickHouseError."""
    client = open_clickhouse(settings, timeout_s)
    try:
        named = {"database": settings.clickhouse_database}
        disks = [
            Disk("ClickHouse", str(name), int(free), int(total), bool(read_only))
            for name, free, total, read_only in _allowed(client, _DISKS, {})
        ]
        read_only = [str(row[0]) for row in _allowed(client, _READ_ONLY_TABLES, named)]
        newest_at = next((row[0] for row in _allowed(client, _NEWEST, named) if row[0].year > EMPTY_YEAR), None)
        newest_at = newest_at and newest_at.replace(tzinfo=dt.UTC)
        age_s = (dt.datetime.now(dt.UTC) - newest_at).total_seconds() if newest_at else 0.0
        version = str(client.server_version)
        state = ClickHouseState(version, disks, read_only, _ttl_days(client, named), newest_at, age_s)
        again = made_again(client, settings.clickhouse_database, sorted(emptied(FROM_BODIES)))
        state = replace(state, made_at=_made_at(client, named), made_again=again)
        return _with_system(client, settings.clickhouse_database, _with_missing(client, settings, state))
    finally:
        client.close()


def _with_system(client: ClickHouseClient, database: str, state: ClickHouseState) -> ClickHouseState:
    try:
        ids = tables_ids(client, database)
        return replace(state, system_id=ids.current if ids else None, knows_system=True, ids=ids)
    except ClickHouseError as error:
        if "ACCESS_DENIED" in str(error):
            return state
        raise


def _with_missing(client: ClickHouseClient, settings: Settings, state: ClickHouseState) -> ClickHouseState:
    database, name = settings.clickhouse_database, settings.clickhouse_cluster
    gone = missing_as_seen(client, database, Cluster(name, database) if name else None)
    return replace(
        state,
        missing_tables=[table.name for table in gone if table.is_needed],
        missing_views=[table.name for table in gone if not table.is_needed],
    )


def _made_at(client: ClickHouseClient, named: dict[str, str]) -> dt.datetime | None:
    seconds = next((int(row[0]) for row in _allowed(client, _MADE_AT, named)), 0)
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None


def _ttl_days(client: ClickHouseClient, named: dict[str, str]) -> int:
    engines = [str(row[0]) for row in _allowed(client, _TTL, named)]
    days = [int(match[1]) for engine in engines if (match := _TTL_DAYS.search(engine))]
    return days[0] if days else 0


def _allowed(client: ClickHouseClient, sql: str, parameters: dict[str, str]) -> list[Any]:
    """Rows of a system table; none where this user may not read it."""
    try:
        return list(client.query(sql, parameters=parameters).result_rows)
    except ClickHouseError as error:
        if "ACCESS_DENIED" in str(error) or "UNKNOWN_" in str(error):
            return []
        raise


def refusals(settings: Settings, timeout_s: float) -> tuple[list[RefusalRate], list[RefusedSender]]:
    """Refused requests by reason, and those of quotas and closed channels by who it was, most first.

    Raises Failed, ClickHouseError.
    """
    client = open_clickhouse(settings, timeout_s)
    try:
        client.database = settings.clickhouse_database
        rows = client.query(_REFUSED, parameters={"minutes": REFUSED_MINUTES}).result_rows
        named = {"minutes": REFUSED_MINUTES, "archived": ARCHIVED}
        senders = client.query(_REFUSED_SENDERS, parameters=named).result_rows
    finally:
        client.close()
    rates = [
        RefusalRate(":".join(filter(None, (limited, reason))), round(requests / REFUSED_MINUTES, 1), int(keys))
        for limited, reason, requests, keys in rows
    ]
    return rates, [
        RefusedSender(reason, organisation, key_id, int(channel), int(requests))
        for reason, organisation, key_id, channel, requests in senders
    ]


def receiver_health(health: Mapping[str, Any], name: str) -> ReceiverHealth | None:
    """The health in a receiver's report; None for a report without one."""
    parts = health.get("parts")
    if not isinstance(parts, dict):
        return None
    return ReceiverHealth(
        name, str(health.get("address", ""))[:100], {str(part): bool(up) for part, up in parts.items()}
    )


def refused_worker(health: Mapping[str, Any]) -> RefusedWorker | None:
    """The worker process of a report, if ClickHouse refuses it."""
    workers, tables = health.get("workers"), health.get("refused")
    if not isinstance(workers, list) or not isinstance(tables, list) or not tables:
        return None
    return RefusedWorker(str(health.get("process", ""))[:100], tuple(map(str, workers)), tuple(map(str, tables)))


def short_disks(disks: list[Disk]) -> list[Disk]:
    """Disks with less free space than a few messages need."""
    return [disk for disk in disks if disk.free_bytes < MIN_FREE_BYTES]
