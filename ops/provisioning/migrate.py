"""Command `axonpush migrate`: changes the broker to match streams.py, and ClickHouse to match schemas/tables."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from ops.cli.servers import open_clickhouse, open_nats
from ops.provisioning import sequences, table_ttl, tables
from ops.provisioning.cluster_tables import Cluster
from ops.provisioning.streams import Budgets, consumers, streams
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings
from schemas.subjects import RAW

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.manager import JetStreamManager

Config = TypeVar("Config", StreamConfig, ConsumerConfig)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a server and our definition. `found` is empty for something missing."""

    kind: str
    name: str
    field: str
    found: str
    wanted: str


async def migrate(settings: Settings, budgets: Budgets, *, dry_run: bool) -> list[Change]:
    """Updates both servers (or only compares, with `dry_run`) and returns the differences. Raises Failed."""
    changes = [
        *await migrate_broker(settings, budgets, dry_run=dry_run),
        *await asyncio.to_thread(migrate_tables, settings, dry_run=dry_run),
    ]
    if any(change.field == "" for change in changes) and dry_run:
        return changes  # a missing stream has no sequence yet
    return changes + await _continue_numbers(settings, dry_run=dry_run)


async def migrate_broker(settings: Settings, budgets: Budgets, *, dry_run: bool) -> list[Change]:
    """Updates streams, buckets and durables; returns the differences. Raises Failed if the broker is away."""
    changes: list[Change] = []
    async with open_nats(settings, "migrate") as client:
        js = client.jetstream()
        try:
            for stream in streams(budgets, settings.nats_replicas):
                changes += await _bring_stream(js, stream, dry_run=dry_run)
            for stream_name, durables in consumers().items():
                for durable in durables:
                    changes += await _bring_consumer(js, stream_name, durable, dry_run=dry_run)
        except NatsError as error:
            raise Failed(
                f"expected JetStream at {settings.nats_addresses()}, found {error!r}: start it with jetstream on"
            ) from error
    return changes


async def _continue_numbers(settings: Settings, *, dry_run: bool) -> list[Change]:
    highest = await asyncio.to_thread(sequences.highest_number, settings)
    try:
        moved = await sequences.continue_numbers(settings, highest, dry_run=dry_run) if highest else None
    except NatsError as error:
        raise Failed(f"the broker did not complete the request: {error!r}. Run the command again.") from error
    return [Change("stream", RAW, "last_seq", str(moved[0]), str(moved[1]))] if moved else []


def migrate_tables(settings: Settings, *, dry_run: bool) -> list[Change]:
    """Updates the database, its tables and their TTL; returns the differences. Raises Failed."""
    database = settings.clickhouse_database
    cluster = Cluster(settings.clickhouse_cluster, database) if settings.clickhouse_cluster else None
    client = open_clickhouse(settings)
    try:
        missing = not tables.database_exists(client, database)
        tables.check_shape(client, database, cluster)
        todo = tables.pending(tables.known(), tables.applied(client, database), database)
        if todo and not dry_run:
            tables.apply(client, database, todo, cluster)
        ttls = table_ttl.differences(client, database, settings.clickhouse_ttl_days, cluster)
        if ttls and not dry_run:
            client.database = database
            for ttl in ttls:
                client.command(table_ttl.statement(ttl, cluster))
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()
    made = [Change("database", database, "", "", "created")] if missing else []
    made += [
        Change("tables", migration.name, "", "", f"{len(migration.statements())} statements") for migration in todo
    ]
    return made + [Change("table", ttl.table, "ttl", ttl.found, ttl.wanted) for ttl in ttls]


async def _bring_stream(js: JetStreamContext, wanted: StreamConfig, *, dry_run: bool) -> list[Change]:
    name = str(wanted.name)
    kind = "bucket" if name.startswith("KV_") else "stream"
    try:
        existing = (await js.stream_info(name)).config
    except NotFoundError:
        if not dry_run:
            await _ask(kind, name, js.add_stream(wanted))
        return [Change(kind, name, "", "", _summary(wanted))]
    changes = differences(kind, name, existing, wanted)
    if changes and not dry_run:
        await _ask(kind, name, js.update_stream(evolved(existing, wanted)), changes)
    return changes


async def _bring_consumer(js: JetStreamManager, stream: str, wanted: ConsumerConfig, *, dry_run: bool) -> list[Change]:
    name = str(wanted.durable_name)
    try:
        existing = (await js.consumer_info(stream, name)).config
    except NotFoundError:
        if not dry_run:
            await _ask("durable", name, js.add_consumer(stream, wanted))
        return [Change("durable", name, "", "", f"{stream}: {wanted.filter_subject}")]
    if existing.deliver_policy == DeliverPolicy.BY_START_SEQUENCE:
        # A recreated durable (ops/provisioning/durables.py) has another start, which the broker never changes
        # afterwards.
        wanted = wanted.evolve(deliver_policy=existing.deliver_policy, opt_start_seq=existing.opt_start_seq)
    changes = differences("durable", name, existing, wanted)
    if changes and not dry_run:
        # Subscribing never changes an existing durable; add_consumer does.
        await _ask("durable", name, js.add_consumer(stream, evolved(existing, wanted)), changes)
    return changes


async def _ask(kind: str, name: str, request: Any, changes: list[Change] | None = None) -> None:
    try:
        await request
    except APIError as error:
        what = (
            "; ".join(f"{change.field} from {change.found} to {change.wanted}" for change in changes or [])
            or "to make it"
        )
        raise Failed(
            f"the broker refused to change {kind} {name} ({what}): {error.description}. "
            "What cannot be changed in place must be moved by hand; migrate never deletes."
        ) from error


def named_fields(config: StreamConfig | ConsumerConfig) -> dict[str, Any]:
    """The fields that our definition sets; others are left to the server."""
    return {field.name: value for field in fields(config) if (value := getattr(config, field.name)) is not None}


def differences(kind: str, name: str, found: Config, wanted: Config) -> list[Change]:
    """One Change per field that differs. Absent, 0 and false are equal on the wire."""
    return [
        Change(kind, name, field, _text(getattr(found, field)), _text(value))
        for field, value in named_fields(wanted).items()
        if (getattr(found, field) or None) != (value or None)
    ]


def evolved(found: Config, wanted: Config) -> Config:
    """The server's configuration with our fields, so that an operator's own settings (pause, placement) stay."""
    result: Config = found.evolve(**named_fields(wanted))
    return result


def as_json(changes: list[Change], *, dry_run: bool) -> dict[str, Any]:
    """The result for scripts."""
    return {"changes": [asdict(change) for change in changes], "applied": not dry_run}


def _summary(config: StreamConfig) -> str:
    return f"{', '.join(config.subjects or [])}: {_text(config.retention)}, {config.max_bytes} bytes"


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
