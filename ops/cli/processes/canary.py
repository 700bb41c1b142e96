"""Command `axonpush canary`: options and output. ops/canary/round_trips.py does the work."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, fail, print_json

if TYPE_CHECKING:
    from ops.canary.round_trips import CanaryResult, CanarySettings

EveryOption = Annotated[float, typer.Option(metavar="S", min=1, help="Seconds between two events.")]
DeadlineOption = Annotated[float, typer.Option(metavar="S", min=0.1, help="Seconds until its row must be visible.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Send one event and exit with 1 if it is late.")]
DsnOption = Annotated[
    str,
    typer.Option(
        metavar="DSN", help="Send to this DSN; other users of this machine can see it. Default: AXONPUSH_CANARY_*."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(canary)


def canary(  # noqa: PLR0913, PLR0917 (options)
    every: EveryOption = 60.0,
    deadline: DeadlineOption = 5.0,
    once: OnceOption = False,
    dsn: DsnOption = "",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Send test events and report late rows."""
    from ops.canary import round_trips as work  # noqa: PLC0415

    if as_json and not once:
        raise typer.BadParameter(
            "expected --json only together with --once: without --once the canary logs JSON anyway"
        )
    settings = _settings(data_dir, has_dsn=bool(dsn))
    target = work.target_of_dsn(dsn) if dsn else work.target_of_settings(settings)
    if not once:
        asyncio.run(work.run(settings, target, every, deadline))
        return
    _show(asyncio.run(work.once(settings, target, deadline)), as_json=as_json)


def _settings(data_dir: Path, *, has_dsn: bool) -> CanarySettings:
    """Settings from the environment; missing addresses come from the `up` of this folder."""
    from ops.canary.round_trips import CanarySettings  # noqa: PLC0415
    from ops.cli.servers import found_servers, program_address  # noqa: PLC0415
    from ops.local.clickhouse_http.access.users import READER  # noqa: PLC0415

    addresses: dict[str, Any] = {
        name: value
        for name, value in found_servers(data_dir, READER, asks=("clickhouse_url",)).items()
        if name.startswith("clickhouse_")
    }
    if not has_dsn and (url := program_address(data_dir, "AXONPUSH_CANARY_URL", ("url", "public_url"))):
        addresses["canary_url"] = url
    return CanarySettings(**addresses)


def _show(result: CanaryResult, *, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(result) | {"in_time": result.in_time})
        if not result.in_time:
            raise typer.Exit(1)
        return
    if result.is_refused:
        fail(f"event {result.event_id} was refused: {result.error}")
    if not result.in_time:
        fail(f"event {result.event_id} is late: {_where(result)} ({result.error or 'its row came after the deadline'})")
    print(f"event {result.event_id} was in SQL after {result.seconds:.2f} s")


def _where(result: CanaryResult) -> str:
    texts = {
        "receiver": "the receiver did not accept it",
        "workers": "it was accepted, but its row is not visible",
        "query": "ClickHouse did not answer",
    }
    return f"{texts.get(result.stage or 'workers')} after {result.deadline_s:g} s"
