"""Command `axonpush migrate`: options and output. ops/provisioning/migrate.py does the work."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from ops.cli.cluster import (
    AdoptTablesOption,
    AllowLoweringOption,
    ArtifactsOption,
    DeadOption,
    DryRunOption,
    IdempotencyOption,
    ItemsOption,
    RawOption,
    RefusedOption,
    ReplayOption,
    ReplicasOption,
    TakeBackOption,
    TtlOption,
    check_taking,
)
from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_json, print_table, warn

if TYPE_CHECKING:
    from ops.janitor.broker_limits import BrokerLimits
    from ops.provisioning.stream_changes import Change
    from ops.runtime.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(migrate)


def migrate(  # noqa: PLR0913, PLR0917 (options)
    nats_replicas: ReplicasOption = None,
    raw_max_bytes: RawOption = None,
    items_max_bytes: ItemsOption = None,
    dead_max_bytes: DeadOption = None,
    refused_max_bytes: RefusedOption = None,
    replay_max_bytes: ReplayOption = None,
    idempotency_max_bytes: IdempotencyOption = None,
    artifacts_max_bytes: ArtifactsOption = None,
    clickhouse_ttl_days: TtlOption = None,
    allow_lowering: AllowLoweringOption = False,
    adopt_tables: AdoptTablesOption = False,
    take_back: TakeBackOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create or upgrade tables, streams, consumers and buckets.

    Replicas, sizes and ages are for a new system; later `axonpush cluster set` changes them.
    """
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.janitor.broker_limits import limits_of_folder  # noqa: PLC0415

    given = {
        "nats_replicas": nats_replicas,
        "raw_max_bytes": raw_max_bytes,
        "items_max_bytes": items_max_bytes,
        "dead_max_bytes": dead_max_bytes,
        "refused_max_bytes": refused_max_bytes,
        "replay_max_bytes": replay_max_bytes,
        "idempotency_max_bytes": idempotency_max_bytes,
        "artifacts_max_bytes": artifacts_max_bytes,
        "clickhouse_ttl_days": clickhouse_ttl_days,
    }
    options = {name: value for name, value in given.items() if value is not None}
    check_taking(adopt_tables=adopt_tables, take_back=take_back)
    warnings: list[str] = []
    settings = find_settings(data_dir)
    tell_system(settings, data_dir)
    modes = {"dry_run": dry_run, "allow_lowering": allow_lowering, "adopts_tables": adopt_tables}
    modes["takes_back"] = take_back
    limits = limits_of_folder(data_dir, settings)
    changes = asyncio.run(_run(settings, options, warnings, modes, limits))
    if as_json:
        from ops.provisioning.migrate import as_json as described  # noqa: PLC0415

        print_json(described(changes, warnings, dry_run=dry_run))
    else:
        _show(changes, dry_run=dry_run)


async def _run(
    settings: Settings,
    options: dict[str, Any],
    warnings: list[str],
    modes: dict[str, bool],
    limits: tuple[BrokerLimits, ...],
) -> list[Change]:
    from ops.provisioning import migrate as work  # noqa: PLC0415
    from ops.provisioning.cluster_changes import state_or_found  # noqa: PLC0415
    from ops.provisioning.desired_state import FIELDS, asked_by  # noqa: PLC0415
    from ops.provisioning.stream_changes import Mode  # noqa: PLC0415
    from ops.provisioning.streams import Budgets  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    def warned(text: str) -> None:
        warnings.append(text)
        warn(text)

    asked = asked_by(settings, Budgets())
    typed = replace(asked, values={**asked.values, **options}, said={name: FIELDS[name].option for name in options})
    if options and (wrong := typed.disagreements(await state_or_found(settings, typed))):
        raise Failed("; ".join(wrong) + ". Nothing was changed.")
    asked = replace(typed, said={name: said for name, said in asked.said.items() if name not in options})
    if (days := options.get("clickhouse_ttl_days")) is not None:
        settings = settings.model_copy(update={"clickhouse_ttl_days": days})
    return await work.migrate_as(settings, asked, Mode(**modes, warn=warned, known_limits=limits))


def _show(changes: list[Change], *, dry_run: bool) -> None:
    if not changes:
        print("nothing to change: the servers are up to date")
        return
    title = f"{len(changes)} {'to change' if dry_run else 'changed'}"
    rows = [(change.kind, change.name, change.field or "(missing)", change.found, change.wanted) for change in changes]
    print_table(title, ("what", "name", "field", "found", "wanted"), rows)
