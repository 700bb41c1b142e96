"""Command `axonpush migrate`: changes the broker to match streams.py, and ClickHouse to match schemas/tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ops.cli.servers import open_clickhouse, open_nats
from ops.provisioning import lost_tables, sequences, table_ttl, tables
from ops.provisioning.adoption import found_ttl_days, found_values, stream_configs
from ops.provisioning.cluster_tables import Cluster
from ops.provisioning.desired_state import FIELDS, SIZES, Asked, asked_by, open_state, stored_state
from ops.provisioning.feasibility import obstacles
from ops.provisioning.stream_changes import (
    JETSTREAM_TIMEOUT_S,
    Change,
    Mode,
    update_consumer,
    update_streams,
)
from ops.provisioning.streams import Budgets, consumers
from ops.provisioning.system.refusals import short
from ops.provisioning.system.same_system import Taking, find_system
from ops.provisioning.system.system_id import SystemId, write_system_id
from ops.runtime.failures import Failed, broker_failure, not_completed
from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings
from ops.runtime.stream_state import stream_state
from schemas.subjects import RAW, REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from schemas.registry import DesiredState


async def migrate(settings: Settings, budgets: Budgets, *, dry_run: bool) -> list[Change]:
    """Updates both servers (or only compares, with `dry_run`) and returns the differences. Raises Failed.

    What a new system should be is taken from the settings; later the registry says it.
    """
    return await migrate_as(settings, asked_by(settings, budgets), Mode(dry_run=dry_run))


async def migrate_as(settings: Settings, asked: Asked, mode: Mode) -> list[Change]:
    """Like `migrate`, with explicit values and mode."""
    system = await find_system(settings, Taking(adopts=mode.adopts_tables, takes_back=mode.takes_back))
    if system.is_adopted:  # refused now, before anything is written
        await continue_raw(settings, dry_run=True)
    if mode.dry_run:  # else the broker itself says it
        await _check_feasible(settings, asked, mode)
    changes, state = await update_broker(settings, asked, mode, system)
    changes += await update_tables(settings, state, mode, system)
    changes += id_changes(system)
    if system.took and not mode.dry_run:
        mode.warn(system.took)
    if system.hint:
        mode.warn(system.hint)
    if any(change.field == "" for change in changes) and mode.dry_run:
        return changes  # a missing stream has no sequence yet
    return changes + await continue_raw(settings, dry_run=mode.dry_run)


async def _check_feasible(settings: Settings, asked: Asked, mode: Mode) -> None:
    """Says what the broker would refuse. Raises Failed."""
    async with open_nats(settings, "migrate") as client:
        js = client.jetstream(timeout=JETSTREAM_TIMEOUT_S)
        try:
            state = await stored_state(js) or asked.new_state(found_values(await stream_configs(js)))
        except (NatsError, TimeoutError) as error:
            raise not_completed(error) from error
    if wrong := (await obstacles(settings, state, mode.known_limits)).obstacles:
        raise Failed("this would be refused by the brokers: " + "; ".join(wrong) + ". Nothing was changed.")


async def migrate_broker(settings: Settings, budgets: Budgets, *, dry_run: bool) -> list[Change]:
    """Updates streams, buckets and durables; returns the differences. Raises Failed if the broker is away."""
    return (await update_broker(settings, asked_by(settings, budgets), Mode(dry_run=dry_run)))[0]


async def update_broker(
    settings: Settings, asked: Asked, mode: Mode, system: SystemId | None = None
) -> tuple[list[Change], DesiredState]:
    """Updates streams, buckets and durables; stores the desired state if there is none; returns both.

    With a `system`, its id is stored too. Raises Failed.
    """
    async with open_nats(settings, "migrate") as client:
        js = client.jetstream(timeout=JETSTREAM_TIMEOUT_S)
        try:
            stored = await stored_state(js)
            if stored and stored.sizes_by_disk and asked.sizes_by_disk:
                # The disk has less or more space than at the last start. A limit never goes below what is stored.
                stored = stored.model_copy(update={name: asked.values[name] for name in SIZES})
                mode = replace(mode, allow_lowering=True)
            state = stored or asked.new_state(found_values(await stream_configs(js)))
            for text in asked.disagreements(state):
                mode.warn(text)
            if system:
                taken = {"previous_system_id": system.on_broker} if system.is_adopted else {}
                state = state.model_copy(update={"system_id": system.system_id, **taken})
            changes = await update_streams(js, state, mode)
            for stream_name, durables in consumers(state.system_id).items():
                for durable in durables:
                    changes += await update_consumer(js, stream_name, durable, dry_run=mode.dry_run)
            if not mode.dry_run:
                state = await _store_state(js, state, is_new=stored is None)
        except NatsError as error:
            raise Failed(
                f"expected JetStream at {settings.nats_addresses()}, found {error!r}: start it with jetstream on"
            ) from error
    return changes, state


async def _store_state(js: JetStreamContext, state: DesiredState, *, is_new: bool) -> DesiredState:
    """Stores a new entry, or sizes that were computed again. After the streams: a system whose first migration failed
    has no entry, and takes what is asked for the next time."""
    store = await open_state(js)
    if store is None:
        raise Failed(f"expected bucket {REGISTRY_BUCKET} on the broker, found none: run `axonpush migrate` again")
    if is_new:
        return await store.add(state)
    names = (*(SIZES if state.sizes_by_disk else ()), "system_id", "previous_system_id")
    return await store.change({name: getattr(state, name) for name in names})


async def update_tables(
    settings: Settings, state: DesiredState, mode: Mode, system: SystemId | None = None
) -> list[Change]:
    """Updates the tables; stores the TTL they have if nobody has decided about it. Raises Failed.

    The id of the `system` is written into them if they do not have it.
    """
    days = state.clickhouse_ttl_days
    if days is None:
        ttl_days = await asyncio.to_thread(_found_ttl_days, settings)
        days = settings.clickhouse_ttl_days if ttl_days is None else ttl_days
        if days != settings.clickhouse_ttl_days and "clickhouse_ttl_days" in settings.model_fields_set:
            known = FIELDS["clickhouse_ttl_days"]
            mode.warn(
                f"{known.variable} is {settings.clickhouse_ttl_days}, but the tables have {days}: it was not applied. "
                f"{known.advice(settings.clickhouse_ttl_days, days)}; otherwise remove it"
            )
    wanted = settings.model_copy(update={"clickhouse_ttl_days": days})
    gone = await asyncio.to_thread(_gone, wanted)
    changes = await asyncio.to_thread(partial(migrate_tables, wanted, dry_run=mode.dry_run, mode=mode))
    if gone:
        lines = [lost_tables.relation_text(relation, dry_run=mode.dry_run) for relation in gone]
        mode.warn("; ".join([*lines, lost_tables.lost_rows_text(gone, await _raw_begins(settings))]).rstrip("; "))
    if system and system.in_tables != system.system_id and not mode.dry_run:
        await asyncio.to_thread(_write_system_id, settings, system)
    decided = {
        "clickhouse_ttl_days": days if state.clickhouse_ttl_days is None else state.clickhouse_ttl_days,
        "clickhouse_database": settings.clickhouse_database,
        "clickhouse_cluster": settings.clickhouse_cluster,
    }
    if not mode.dry_run and any(getattr(state, name) != value for name, value in decided.items()):
        await change_state(settings, decided)
    return changes


async def change_state(settings: Settings, fields: Mapping[str, Any]) -> DesiredState:
    """Changes the entry alone, nothing on the servers. Raises Failed."""
    async with open_nats(settings, "desired-state") as client:
        try:
            store = await open_state(client.jetstream(timeout=JETSTREAM_TIMEOUT_S))
            if store is None:
                raise Failed(f"expected bucket {REGISTRY_BUCKET} on the broker, found none: run `axonpush migrate`")
            return await store.change(fields)
        except (NatsError, TimeoutError) as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
            ) from error


def id_changes(system: SystemId) -> list[Change]:
    """What changes of the id; a new system has one from its beginning."""
    if system.is_new:
        return []
    sides = {"broker": system.on_broker, "tables": system.in_tables}
    is_known = system.system_id in sides.values()
    wanted = short(system.system_id) if is_known else "a new id"
    return [
        Change("system id", side, "id", short(id_of_side), wanted)
        for side, id_of_side in sides.items()
        if id_of_side != system.system_id
    ]


def _write_system_id(settings: Settings, system: SystemId) -> None:
    client = open_clickhouse(settings)
    try:
        taken_from = system.in_tables if system.is_adopted else ""
        write_system_id(client, settings.clickhouse_database, cluster_of(settings), system.system_id, taken_from)
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()


async def continue_raw(settings: Settings, *, dry_run: bool) -> list[Change]:
    """Makes an empty RAW continue after the numbers that the tables know. Raises Failed."""
    highest = await asyncio.to_thread(sequences.highest_number, settings)
    try:
        moved = await sequences.continue_numbers(settings, highest, dry_run=dry_run) if highest else None
    except NotFoundError:  # it will be made
        moved = None
    except NatsError as error:
        raise Failed(
            f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
        ) from error
    return [Change("stream", RAW, "last_seq", str(moved[0]), str(moved[1]))] if moved else []


def cluster_of(settings: Settings) -> Cluster | None:
    """The ClickHouse cluster of these settings, None for one server."""
    return Cluster(settings.clickhouse_cluster, settings.clickhouse_database) if settings.clickhouse_cluster else None


def migrate_tables(settings: Settings, *, dry_run: bool, mode: Mode | None = None) -> list[Change]:
    """Updates the database, its tables and their TTL; returns the differences. Raises Failed.

    By default it also shortens TTLs; with a `mode`, only if that allows it.
    """
    mode = mode or Mode(dry_run=dry_run, allow_lowering=True)
    database, cluster = settings.clickhouse_database, cluster_of(settings)
    client = open_clickhouse(settings)
    try:
        missing = not tables.database_exists(client, database)
        tables.check_shape(client, database, cluster)
        present = table_ttl.read_ttls(client, database, cluster)
        todo = tables.pending(tables.known(), lost_tables.applied(client, database, cluster), database)
        gone = lost_tables.missing(client, database, cluster)
        if gone and dry_run:
            lost_tables.check_possible(client, database, gone, cluster)
        elif gone:
            lost_tables.make_again(client, database, gone, cluster)
        if todo and not dry_run:
            tables.apply(client, database, todo, cluster)
        ttls = table_ttl.differences(client, database, settings.clickhouse_ttl_days, cluster)
        ttls = [ttl for ttl in ttls if ttl.table not in present or _may_change(ttl, settings, mode)]
        if ttls and not dry_run:
            client.database = database
            for ttl in ttls:
                client.command(table_ttl.statement(ttl, cluster))
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()
    changes = [Change("database", database, "", "", "created")] if missing else []
    changes += [
        Change("tables", migration.name, "", "", f"{len(migration.statements())} statements") for migration in todo
    ]
    changes += [Change(relation.kind, relation.name, "exists", "no", "made again") for relation in gone]
    return changes + [Change("table", ttl.table, "ttl", ttl.found, ttl.wanted) for ttl in ttls]


def _gone(settings: Settings) -> list[lost_tables.Relation]:
    client = open_clickhouse(settings)
    try:
        return lost_tables.missing(client, settings.clickhouse_database, cluster_of(settings))
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()


async def _raw_begins(settings: Settings) -> str:
    """The minute of the oldest body that RAW holds; empty if there is none."""
    async with open_nats(settings, "migrate") as client:
        try:
            first_at = (await stream_state(client, RAW)).first_at
        except NotFoundError:
            return ""
        except (NatsError, TimeoutError) as error:
            raise not_completed(error) from error
    return f"{first_at:%Y-%m-%d %H:%M}" if first_at else ""


def _may_change(ttl: table_ttl.TtlChange, settings: Settings, mode: Mode) -> bool:
    """Whether a TTL may be changed: a longer one always, a shorter one deletes rows."""
    current, wanted = table_ttl.days_of(ttl.found), settings.clickhouse_ttl_days
    if mode.allow_lowering or not FIELDS["clickhouse_ttl_days"].is_lower(current, wanted):
        return True
    kept = f"{current} days" if current else "for ever"
    mode.warn(
        f"table {ttl.table} keeps its rows {kept}, the system should keep them {wanted} days: not shortened. "
        f"`axonpush migrate --allow-lowering` shortens it; `{FIELDS['clickhouse_ttl_days'].command(current)}` keeps it"
    )
    return False


def _found_ttl_days(settings: Settings) -> int | None:
    client = open_clickhouse(settings)
    try:
        return found_ttl_days(client, settings.clickhouse_database, cluster_of(settings))
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()


def as_json(changes: list[Change], warnings: list[str], *, dry_run: bool) -> dict[str, Any]:
    """The result for scripts."""
    return {"changes": [asdict(change) for change in changes], "warnings": warnings, "applied": not dry_run}
