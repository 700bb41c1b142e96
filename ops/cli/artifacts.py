"""Commands `axonpush artifacts list|delete|prune`: options and output. ops/artifacts does the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, counted, print_json, print_table

if TYPE_CHECKING:
    from ops.artifacts.pruning import Pruned
    from ops.runtime.settings import Settings

OrganisationOption = Annotated[str, typer.Option(metavar="O", help="The organisation that owns it.")]
ReleaseOption = Annotated[str, typer.Option(metavar="R", help="Only artifacts of this release.")]
LimitOption = Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="At most this many, the newest first.")]
AgeOption = Annotated[
    int | None,
    typer.Option("--older-than-days", metavar="N", min=1, help="Default: what `axonpush cluster show` says."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count.")]

artifacts = typer.Typer(help="List and delete uploaded source maps and mappings.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(artifacts, name="artifacts")


@artifacts.command("list")
def list_them(
    organisation: OrganisationOption = "",
    release: ReleaseOption = "",
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show what was uploaded."""
    from ops.artifacts.rows import list_artifacts  # noqa: PLC0415
    from ops.cli.servers import find_settings  # noqa: PLC0415

    rows = list_artifacts(find_settings(data_dir), organisation, release, limit)
    if as_json:
        print_json([{**row, "uploaded_at": row["uploaded_at"].isoformat()} for row in rows])
        return
    columns = ("organisation", "artifact", "kind", "release", "files", "MiB", "uploaded")
    print_table(f"{len(rows)} artifacts", columns, [_row(row) for row in rows])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(row["organisation"], row["artifact"], row["kind"], row["release"] or row["label"]),
        *(str(row["files"]), f"{row['size_bytes'] / 2**20:.1f}", f"{row['uploaded_at']:%Y-%m-%d %H:%M}"),
    )


@artifacts.command("delete")
def delete(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="As `artifacts list` shows it.")],
    organisation: OrganisationOption = "default",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete one artifact. Rows that it made readable stay so."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415

    settings = find_settings(data_dir)
    tell_system(settings, data_dir)
    if not asyncio.run(_delete(settings, organisation, artifact)):
        from ops.runtime.failures import Failed  # noqa: PLC0415

        raise Failed(f"expected an artifact of {organisation}, found {artifact!r}: `axonpush artifacts list` has them")
    print(f"deleted {artifact}; its chunks go with the next pruning")


async def _delete(settings: Settings, organisation: str, artifact: str) -> bool:
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.artifacts.rows import delete_rows  # noqa: PLC0415
    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.runtime.artifacts.object_store import ObjectStore  # noqa: PLC0415
    from ops.runtime.failures import Failed, broker_failure  # noqa: PLC0415
    from schemas.artifacts.entry import entry_name  # noqa: PLC0415
    from schemas.subjects import ARTIFACTS_BUCKET  # noqa: PLC0415

    name = entry_name(organisation, artifact)
    async with open_nats(settings, "artifacts") as client:
        try:
            was_stored = await ObjectStore(client, ARTIFACTS_BUCKET).delete(name)
        except (NatsError, TimeoutError) as error:
            raise Failed(f"the broker did not complete the request: {broker_failure(error)}") from error
    return bool(await asyncio.to_thread(delete_rows, settings, [name])) or was_stored


@artifacts.command("prune")
def prune_them(
    older_than_days: AgeOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete artifacts that are too old, and what half uploads left behind. The janitor does it once an hour."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415

    settings = find_settings(data_dir)
    tell_system(settings, data_dir)
    pruned = asyncio.run(_prune(settings, older_than_days, dry_run=dry_run))
    numbers = {"artifacts": pruned.artifacts, "chunks": pruned.chunks, "pieces": pruned.pieces}
    if as_json:
        print_json(numbers)
    else:
        verb = "would delete" if dry_run else "deleted"
        print(
            f"{verb} {counted(pruned.artifacts, 'artifact')} and {counted(pruned.chunks, 'chunk')} without an artifact"
        )


async def _prune(settings: Settings, days: int | None, *, dry_run: bool) -> Pruned:
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.artifacts.pruning import prune  # noqa: PLC0415
    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.provisioning.desired_state import stored_state  # noqa: PLC0415
    from ops.runtime.failures import Failed, broker_failure  # noqa: PLC0415

    async with open_nats(settings, "artifacts") as client:
        try:
            if days is None:
                state = await stored_state(client.jetstream(timeout=10))
                days = state.artifacts_ttl_days if state else 0
            return await prune(client, settings, days, dry_run=dry_run)
        except (NatsError, TimeoutError) as error:
            raise Failed(f"the broker did not complete the request: {broker_failure(error)}") from error
