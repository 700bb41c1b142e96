"""Command `axonpush janitor`: options and output. ops/janitor/trimming.py does the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.cluster import duration
from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, counted, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from ops.janitor.trimming import JanitorSettings

OnceOption = Annotated[bool, typer.Option("--once", help="Trim once, print how many bodies were removed, and exit.")]


HorizonOption = Annotated[
    float | None,
    typer.Option(
        "--replay-horizon", metavar="T", parser=duration, help="With --once: delete processed bodies older than this."
    ),
]


LoweringOption = Annotated[
    bool,
    typer.Option("--allow-lowering", help="Also delete bodies that the system keeps for replays: they are lost."),
]


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(janitor)


def janitor(
    once: OnceOption = False,
    horizon_s: HorizonOption = None,
    allow_lowering: LoweringOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Remove old processed bodies from RAW.

    How old: `axonpush cluster set --replay-horizon`.
    """
    if horizon_s is not None and not once:
        raise typer.BadParameter(
            "expected --replay-horizon together with --once; `axonpush cluster set --replay-horizon` is for always"
        )
    from ops.cli.servers import found_servers  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.janitor import trimming as work  # noqa: PLC0415

    settings = work.JanitorSettings(**found_servers(data_dir))
    if not once:
        asyncio.run(work.run(settings))
        return
    tell_system(settings, data_dir)
    if horizon_s is not None and allow_lowering:
        asyncio.run(check_last_copies(settings, data_dir))
    removed = asyncio.run(_once(settings, horizon_s, allow_lowering=allow_lowering))
    if as_json:
        print_json({"removed": removed})
    else:
        print(f"{counted(removed, 'body', 'bodies')} removed from RAW")


async def _once(settings: JanitorSettings, horizon_s: float | None, *, allow_lowering: bool) -> int:
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.janitor.same_tables import check_horizon, worked_on  # noqa: PLC0415
    from ops.janitor.trimming import Janitor  # noqa: PLC0415
    from ops.runtime.failures import Failed, broker_failure  # noqa: PLC0415

    async with open_nats(settings, "janitor") as client:
        try:
            await worked_on(client, settings)  # raises for two systems
            if horizon_s is not None and not allow_lowering:
                await check_horizon(client, settings, horizon_s, settings.replay_horizon_s)
            return await Janitor(client, settings, horizon_s).tidy()
        except (NatsError, TimeoutError) as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
            ) from error


async def check_last_copies(settings: JanitorSettings, data_dir: Path) -> None:
    """Raises Failed while rows are missing of bodies that RAW still holds: it may have the last copy of them."""
    from ops.runtime.failures import Failed  # noqa: PLC0415
    from ops.status.lost_records import held_records  # noqa: PLC0415
    from ops.status.report import Observer  # noqa: PLC0415

    status = await Observer(settings, data_dir).status()
    if status.reconciliation is None:
        if status.wrong_system:
            raise Failed(f"{status.wrong_system}. Nothing was removed.")
        raise Failed(
            "expected to see whether rows are missing whose bodies only RAW has, found no numbers "
            f"({status.trouble or 'no answer'}): `axonpush status` says more. Nothing was removed."
        )
    if lost := held_records(status.reconciliation):
        raise Failed(f"{lost}. Nothing was removed.")
