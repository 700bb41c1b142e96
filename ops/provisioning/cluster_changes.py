"""Command `axonpush cluster`: compares the desired state with the servers, and changes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError

from ops.cli.servers import open_clickhouse, open_nats
from ops.provisioning import table_ttl
from ops.provisioning.adoption import ALL_STREAMS, found_values, stream_configs
from ops.provisioning.amounts import for_people, size_text
from ops.provisioning.desired_state import FIELDS, SIZES, Asked, checked, stored_state
from ops.provisioning.feasibility import obstacles
from ops.provisioning.lowering_cost import costs
from ops.provisioning.migrate import change_state, cluster_of, migrate_tables
from ops.provisioning.stream_changes import JETSTREAM_TIMEOUT_S, Change, Mode, update_streams
from ops.provisioning.streams import streams
from ops.provisioning.system.refusals import short
from ops.provisioning.system.same_system import check_same_system
from ops.provisioning.system.system_id import mismatch, tables_ids
from ops.runtime.failures import Failed, broker_failure

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.api import StreamConfig

    from ops.runtime.settings import Settings
    from schemas.registry import DesiredState

CLICKHOUSE_TIMEOUT_S: Final = 8.0
DISK_UNKNOWN: Final = (
    "not known: whether the brokers may store so much (max_file_store), because none answers on monitoring port 8222. "
    "Without --dry-run, a size that they refuse is undone"
)
NO_STATE: Final = "this system has no desired state yet: run `axonpush migrate`"


@dataclass(frozen=True, slots=True)
class StateRow:
    """One value: what the system should have, and what its servers have now; empty for what only programs read."""

    name: str
    desired: str
    actual: str

    @property
    def cells(self) -> tuple[str, str, str]:
        """The row of a screen; scripts get the exact values."""
        return (self.name, *for_people(self.desired, self.actual))


@dataclass(frozen=True, slots=True)
class StateReport:
    """The desired state beside the servers. `problems` are what `axonpush migrate` repairs; empty if all is well."""

    state: DesiredState | None
    rows: list[StateRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # Streams and buckets with fewer replicas than wanted, and how many they have.
    fewer_replicas: dict[str, int] = field(default_factory=dict)


async def report(client: Client, settings: Settings, *, with_tables: bool = True) -> StateReport:
    """Compares broker and tables with the desired state. Raises Failed, NatsError. ClickHouse gets a bounded time."""
    js = client.jetstream(timeout=JETSTREAM_TIMEOUT_S)
    state = await stored_state(js)
    if state is None:
        return StateReport(None, problems=[NO_STATE])
    configs = await stream_configs(js)
    ttl, other = await _of_tables(settings, state) if with_tables else (None, "")
    fewer = fewer_replicas(state, configs)
    problems = [
        f"{name} has {number} of {state.nats_replicas} wanted replicas: `axonpush migrate` repairs it"
        for name, number in fewer.items()
    ]
    problems += [*([other] if other else []), *_size_problems(state, configs)]
    if ttl is not None and state.clickhouse_ttl_days is not None and ttl != state.clickhouse_ttl_days:
        problems.append(
            f"tables keep rows {_ttl_text(ttl)}, wanted is {_ttl_text(state.clickhouse_ttl_days)}: "
            "`axonpush migrate` says what to do"
        )
    rows = _rows(state, configs, ttl, "unknown" if with_tables else "")
    rows += [
        StateRow("clickhouse_database", state.clickhouse_database, settings.clickhouse_database),
        StateRow("clickhouse_cluster", state.clickhouse_cluster, settings.clickhouse_cluster),
        StateRow("system_id", short(state.system_id), ""),
    ]
    return StateReport(state, rows, problems, fewer)


def fewer_replicas(state: DesiredState, configs: Mapping[str, StreamConfig]) -> dict[str, int]:
    """Streams and buckets with fewer replicas than wanted, and how many they have; 0 for a missing one."""
    present = {name: (configs[name].num_replicas or 1) if name in configs else 0 for name in ALL_STREAMS}
    return {name: number for name, number in present.items() if number < state.nats_replicas}


def _size_problems(state: DesiredState, configs: Mapping[str, StreamConfig]) -> list[str]:
    return [
        f"{wanted.name} has a limit of {size_text(existing.max_bytes or 0)}, wanted is "
        f"{size_text(wanted.max_bytes or 0)}: `axonpush migrate` says what to do"
        for wanted in streams(state, state.nats_replicas)
        if (existing := configs.get(str(wanted.name))) and existing.max_bytes != wanted.max_bytes
    ]


def _rows(
    state: DesiredState, configs: Mapping[str, StreamConfig], ttl: int | None, without_ttl: str
) -> list[StateRow]:
    numbers = sorted({config.num_replicas or 1 for config in configs.values()})
    actual: dict[str, str] = {"nats_replicas": ", ".join(map(str, numbers))}
    with contextlib.suppress(Failed):  # a stream without a limit
        current = found_values(configs)
        actual |= {name: FIELDS[name].text(current[name]) for name in SIZES if name in current}
    actual["clickhouse_ttl_days"] = without_ttl if ttl is None else FIELDS["clickhouse_ttl_days"].shown(ttl)
    return [StateRow(name, _shown(name, getattr(state, name)), actual.get(name, "")) for name in FIELDS]


def _shown(name: str, value: Any) -> str:
    return "" if value is None else FIELDS[name].shown(value)


def _ttl_text(days: int) -> str:
    return f"{days} days" if days else "for ever"


async def _of_tables(settings: Settings, state: DesiredState) -> tuple[int | None, str]:
    """(the TTL of the tables, why they are another system's); the TTL is None if it is, or ClickHouse is silent."""
    try:
        async with asyncio.timeout(CLICKHOUSE_TIMEOUT_S):
            return await asyncio.to_thread(_found_of_tables, settings, state)
    except (TimeoutError, Failed, ClickHouseError, OSError):
        return None, ""


def _found_of_tables(settings: Settings, state: DesiredState) -> tuple[int | None, str]:
    database = settings.clickhouse_database
    client = open_clickhouse(settings, CLICKHOUSE_TIMEOUT_S / 2)
    try:
        ids = tables_ids(client, database)
        if ids and (other := mismatch(state, ids.current, settings, ids)):
            return None, other
        ttls = [table_ttl.days_of(ttl) for ttl in table_ttl.read_ttls(client, database, cluster_of(settings)).values()]
        return _unwanted(ttls, state.clickhouse_ttl_days), ""
    finally:
        client.close()


def _unwanted(ttls: list[int], wanted: int | None) -> int | None:
    """The TTL to show: of tables that differ, that of the one which loses its rows first; None without tables."""
    limits = [days for days in ttls if days not in {0, wanted}] if wanted is not None else []
    return min(limits) if limits else (0 if 0 in ttls else max(ttls, default=None))


@dataclass(frozen=True, slots=True)
class StateChange:
    """What `axonpush cluster set` did, or would do. `costs` says what lowering takes away."""

    before: DesiredState
    after: DesiredState
    costs: list[str]
    changes: list[Change]
    # What a dry run cannot know.
    notes: list[str] = field(default_factory=list)


async def set_state(settings: Settings, fields: Mapping[str, Any], mode: Mode) -> StateChange:
    """Changes the desired state and brings the servers to it; a change that the broker refuses is undone.

    Raises Failed, also when something would be lowered without `mode.allow_lowering`; then nothing was changed.
    """
    fields = _with_sizes(fields)
    async with open_nats(settings, "cluster-set") as client:
        try:
            js = client.jetstream(timeout=JETSTREAM_TIMEOUT_S)
            before = await stored_state(js)
            if before is None:
                raise Failed(f"{NO_STATE} first")
            planned = await _check_change(client, settings, before, fields, mode)
            preview = replace(mode, dry_run=True, warn=lambda _text: None)
            planned = replace(planned, changes=await update_streams(js, planned.after, preview))
        except NatsError as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
            ) from error
    if mode.dry_run:
        return planned
    return replace(planned, after=await _apply(settings, before, fields, mode), notes=[])


async def _check_change(
    client: Client, settings: Settings, before: DesiredState, fields: Mapping[str, Any], mode: Mode
) -> StateChange:
    """What the change would be, without `changes`. Raises Failed if it is not possible or not allowed."""
    after = checked(before.model_dump() | dict(fields))
    if "clickhouse_ttl_days" in fields:
        await check_same_system(client, settings)
    feasible = await obstacles(settings, after, mode.known_limits)
    if wrong := feasible.obstacles:
        raise Failed("this would be refused by the brokers: " + "; ".join(wrong) + ". Nothing was changed.")
    lowering = await costs(client, settings, before, after)
    if lowering and not (mode.allow_lowering or mode.dry_run):
        raise Failed(
            "this takes something away:\n  " + "\n  ".join(lowering) + "\nNothing was changed. "
            "Add --allow-lowering if that is meant."
        )
    notes = [] if feasible.knows_disk or not _raises_sizes(before, after) else [DISK_UNKNOWN]
    return StateChange(before, after, lowering, [], notes)


def _raises_sizes(before: DesiredState, after: DesiredState) -> bool:
    return any(getattr(after, name) > getattr(before, name) for name in SIZES)


def _with_sizes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A size that somebody chose is not computed from the disk any more."""
    return {**fields, "sizes_by_disk": False} if any(name in fields for name in SIZES) else dict(fields)


async def _apply(settings: Settings, before: DesiredState, fields: Mapping[str, Any], mode: Mode) -> DesiredState:
    after = await change_state(settings, fields)
    try:
        await _update_servers(settings, after, mode, tables="clickhouse_ttl_days" in fields)
    except Failed as error:
        undone = {name: getattr(before, name) for name in fields}
        restored = await change_state(settings, undone)
        with contextlib.suppress(Failed):
            await _update_servers(
                settings, before, replace(mode, allow_lowering=True, warn=lambda _text: None), tables=False
            )
        raise Failed(
            f"{error} The values of the desired state are as before; with both writes its version is now "
            f"{restored.version} (before: {before.version})."
        ) from error
    return after


async def _update_servers(settings: Settings, state: DesiredState, mode: Mode, *, tables: bool) -> None:
    async with open_nats(settings, "cluster-set") as client:
        try:
            await update_streams(client.jetstream(timeout=JETSTREAM_TIMEOUT_S), state, mode)
        except (NatsError, TimeoutError) as error:
            raise Failed(f"the broker did not complete the request: {broker_failure(error)}.") from error
    if tables and state.clickhouse_ttl_days is not None:
        wanted = settings.model_copy(update={"clickhouse_ttl_days": state.clickhouse_ttl_days})
        await asyncio.to_thread(partial(migrate_tables, wanted, dry_run=False, mode=mode))


async def state_or_found(settings: Settings, asked: Asked) -> DesiredState:
    """The desired state, or the one that a migration would begin with. Raises Failed."""
    async with open_nats(settings, "desired-state") as client:
        js = client.jetstream(timeout=JETSTREAM_TIMEOUT_S)
        try:
            return await stored_state(js) or asked.new_state(found_values(await stream_configs(js)))
        except (NatsError, TimeoutError) as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
            ) from error
