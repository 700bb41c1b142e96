"""Commands `axonpush cluster show|set`: options and output. ops/provisioning/cluster_changes.py does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_json, print_table, warn
from ops.provisioning.amounts import for_people, parse_duration_s
from ops.runtime.environment.sizes import parse_size

if TYPE_CHECKING:
    from ops.provisioning.cluster_changes import StateChange, StateReport
    from schemas.registry import DesiredState


def size(text: str) -> int:
    """A size of at least 1 MiB."""
    size_bytes: int = _parse(parse_size, text)
    if size_bytes < 1024**2:
        raise typer.BadParameter(f"expected at least 1MiB, found {text!r}")
    return size_bytes


def duration(text: str) -> float:
    """A duration in seconds."""
    seconds: float = _parse(parse_duration_s, text)
    return seconds


def public_url(text: str) -> str:
    """The address of the receivers for senders, without a slash at the end; empty removes it."""
    parts = urlsplit(text.strip())
    is_valid = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if text.strip() and (not is_valid or parts.query or parts.fragment):
        raise typer.BadParameter("expected an address like https://in.example.com, without a key, found another form")
    return text.strip().rstrip("/")


def replicas(text: str) -> int:
    """1, 3 or 5."""
    if text not in ("1", "3", "5"):
        raise typer.BadParameter(f"expected 1, 3 or 5, found {text!r}")
    return int(text)


def _parse(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _size_option(option: str, what: str) -> Any:
    return typer.Option(option, metavar="SIZE", parser=size, help=f"{what}, e.g. 10GiB.")


ReplicasOption = Annotated[
    int | None,
    typer.Option("--replicas", metavar="1|3|5", parser=replicas, help="Replicas of every stream and bucket."),
]
RawOption = Annotated[int | None, _size_option("--raw-max-bytes", "Disk for bodies as received")]
ItemsOption = Annotated[int | None, _size_option("--items-max-bytes", "Disk for items that wait for a worker")]
DeadOption = Annotated[int | None, _size_option("--dead-max-bytes", "Disk for dead letters")]
RefusedOption = Annotated[int | None, _size_option("--refused-max-bytes", "Disk for invalid bodies")]
ReplayOption = Annotated[int | None, _size_option("--replay-max-bytes", "Disk for messages processed again")]
IdempotencyOption = Annotated[int | None, _size_option("--idempotency-max-bytes", "Disk for idempotency keys")]
ArtifactsOption = Annotated[int | None, _size_option("--artifacts-max-bytes", "Disk for source maps and mappings")]
ArtifactsTtlOption = Annotated[
    int | None,
    typer.Option("--artifacts-ttl-days", metavar="N", min=0, help="Delete source maps at this age; 0 = never."),
]
TtlOption = Annotated[
    int | None, typer.Option("--clickhouse-ttl-days", metavar="N", min=0, help="Delete rows at this age; 0 = never.")
]
HorizonOption = Annotated[
    float | None,
    typer.Option("--replay-horizon", metavar="T", parser=duration, help="Keep bodies this long for replays, e.g. 7d."),
]
PressureOption = Annotated[
    float | None,
    typer.Option(
        "--janitor-pressure", metavar="F", min=0.01, max=1, help="Above this fill of RAW, delete early; 1 = never."
    ),
]
PublicUrlOption = Annotated[
    str | None,
    typer.Option("--public-url", metavar="URL", parser=public_url, help="Address that senders use, for DSNs."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]
AllowLoweringOption = Annotated[
    bool, typer.Option("--allow-lowering", help="Also lower replicas, sizes and ages: this takes something away.")
]
AdoptTablesOption = Annotated[
    bool,
    typer.Option(
        "--adopt-tables",
        help="After a restore or a loss: the tables are this broker's from now on, or are made again if they are lost. "
        "Refused while another system inserts into them, or while workers of the broker's system run.",
    ),
]
TakeBackOption = Annotated[
    bool,
    typer.Option(
        "--take-back",
        help="After another system took this broker or these tables by mistake: both are one system again, at once. "
        "Refused unless they were one before.",
    ),
]


def check_taking(*, adopt_tables: bool, take_back: bool) -> None:
    """One of both. Raises BadParameter."""
    if adopt_tables and take_back:
        raise typer.BadParameter(
            "expected --adopt-tables, for tables after a restore or a loss, or --take-back, for what another system "
            "took; found both"
        )


FIXED_SIZES: Final = (
    "`axonpush up` computes sizes from the free disk space only as long as nobody has set one. "
    "`axonpush cluster show` lists them"
)

cluster = typer.Typer(help="Show and change what the system should be: replicas, sizes, ages.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(cluster, name="cluster")


@cluster.command("show")
def show_cluster(as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Show what the system should be, beside what it is.

    Exits with 1 if they differ.
    """
    report, state = _run_report(data_dir)
    if as_json:
        print_json(
            {
                "version": state.version,
                "changed_at": state.changed_at,
                "desired": state.model_dump(mode="json", exclude={"version", "changed_at"}),
                "actual": {row.name: row.actual for row in report.rows if row.actual},
                "problems": report.problems,
            }
        )
    else:
        for problem in report.problems:
            print(f"PROBLEM: {problem}")
        rows = [(name, desired or "not decided", actual) for name, desired, actual in _cells(report)]
        print_table(
            f"Desired state, version {state.version} of {state.changed_at}", ("value", "desired", "actual"), rows
        )
        if state.sizes_by_disk:
            print("`axonpush up` computes the sizes from the free disk space at each start")
    if report.problems:
        raise typer.Exit(1)


@cluster.command("set")
def set_cluster(  # noqa: PLR0913, PLR0917 (options)
    nats_replicas: ReplicasOption = None,
    raw_max_bytes: RawOption = None,
    items_max_bytes: ItemsOption = None,
    dead_max_bytes: DeadOption = None,
    refused_max_bytes: RefusedOption = None,
    replay_max_bytes: ReplayOption = None,
    idempotency_max_bytes: IdempotencyOption = None,
    artifacts_max_bytes: ArtifactsOption = None,
    clickhouse_ttl_days: TtlOption = None,
    artifacts_ttl_days: ArtifactsTtlOption = None,
    replay_horizon: HorizonOption = None,
    janitor_pressure: PressureOption = None,
    public_url: PublicUrlOption = None,
    allow_lowering: AllowLoweringOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change what the system should be, and bring the servers to it.

    Values that are not named stay unchanged. Lowering needs --allow-lowering, and says what it costs.
    """
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.janitor.broker_limits import limits_of_folder  # noqa: PLC0415
    from ops.provisioning.cluster_changes import set_state  # noqa: PLC0415
    from ops.provisioning.stream_changes import Mode  # noqa: PLC0415

    fields = {
        "nats_replicas": nats_replicas,
        "raw_max_bytes": raw_max_bytes,
        "items_max_bytes": items_max_bytes,
        "dead_max_bytes": dead_max_bytes,
        "refused_max_bytes": refused_max_bytes,
        "replay_max_bytes": replay_max_bytes,
        "idempotency_max_bytes": idempotency_max_bytes,
        "artifacts_max_bytes": artifacts_max_bytes,
        "clickhouse_ttl_days": clickhouse_ttl_days,
        "artifacts_ttl_days": artifacts_ttl_days,
        "replay_horizon_s": replay_horizon,
        "janitor_pressure": janitor_pressure,
        "public_url": public_url,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        raise typer.BadParameter("expected a value to change, such as --replicas 3, found none")
    settings = find_settings(data_dir)
    tell_system(settings, data_dir)
    limits = limits_of_folder(data_dir, settings)
    mode = Mode(dry_run=dry_run, allow_lowering=allow_lowering, warn=warn, known_limits=limits)
    _show_change(asyncio.run(set_state(settings, given, mode)), dry_run=dry_run, as_json=as_json)


def _run_report(data_dir: Path) -> tuple[StateReport, DesiredState]:
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.cli.servers import find_settings, open_nats  # noqa: PLC0415
    from ops.provisioning.cluster_changes import report  # noqa: PLC0415
    from ops.runtime.failures import Failed, broker_failure  # noqa: PLC0415

    async def run() -> StateReport:
        settings = find_settings(data_dir)
        async with open_nats(settings, "cluster-show") as client:
            try:
                return await report(client, settings)
            except (NatsError, TimeoutError) as error:
                raise Failed(
                    f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
                ) from error

    state_report = asyncio.run(run())
    if state_report.state is None:
        raise Failed("; ".join(state_report.problems))
    return state_report, state_report.state


def _cells(report: StateReport) -> list[tuple[str, str, str]]:
    """Rows to show: of values without an actual one on a server, the decided ones too."""
    return [row.cells for row in report.rows if row.desired or row.actual]


def _show_change(change: StateChange, *, dry_run: bool, as_json: bool) -> None:
    before, after = change.before.model_dump(mode="json"), change.after.model_dump(mode="json")
    fields = [name for name in after if after[name] != before[name] and name not in ("version", "changed_at")]
    if as_json:
        print_json(
            {
                "version": change.after.version,
                "changed": {name: {"before": before[name], "after": after[name]} for name in fields},
                "costs": change.costs,
                "changes": [asdict(state_change) for state_change in change.changes],
                "notes": change.notes,
                "applied": not dry_run,
            }
        )
        return
    for cost in change.costs:
        print(f"{'COSTS' if dry_run else 'done'}: {cost}")
    from ops.provisioning.desired_state import FIELDS  # noqa: PLC0415

    rows = [
        (name, *for_people(_text(FIELDS, name, before[name]), _text(FIELDS, name, after[name])))
        for name in fields
        if name in FIELDS
    ]
    if not rows:
        print("nothing to change: the system is as it should be")
        return
    title = f"{len(rows)} {'to change' if dry_run else f'changed, version {change.after.version}'}"
    print_table(title, ("value", "before", "after"), rows)
    for note in change.notes:
        print(note)
    if change.before.sizes_by_disk and not change.after.sizes_by_disk:
        print(f"the other sizes {'would stay' if dry_run else 'stay'} as they are now: {FIXED_SIZES}")


def _text(fields: Any, name: str, value: Any) -> str:
    return "not decided" if value is None else str(fields[name].shown(value))
