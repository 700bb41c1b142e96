"""Command `axonpush replay`: options and output. ops/replay/run.py does the work."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, counted, fail, print_json, print_table
from ops.cli.times import parse_time

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.replay.control import Choice, ReplayState
    from ops.replay.run import BodiesFound, Tell
    from ops.runtime.settings import Settings

DEFAULT_RATE = 500.0


def moment(text: str) -> dt.datetime:
    """Parses and checks a time of the command line."""
    try:
        return parse_time(text, dt.datetime.now(dt.UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def source(text: str) -> list[str]:
    """The routes of a name, or of the first word of several: `otlp` means otlp.logs and otlp.traces."""
    from schemas.subjects import ROUTES  # noqa: PLC0415

    routes = [route for route in ROUTES if route == text or route.startswith(f"{text}.")]
    if not routes:
        raise typer.BadParameter(f"expected {', '.join(ROUTES)}, sentry or otlp, found {text!r}")
    return routes


def item_type(text: str) -> str:
    """A valid item type whose messages can be replayed."""
    from schemas.subjects import REPLAY_SOURCES  # noqa: PLC0415

    if text not in REPLAY_SOURCES:
        raise typer.BadParameter(f"expected {', '.join(REPLAY_SOURCES)}, found {text!r}")
    return text


TIME_HELP = "2026-11-21T14:00:00Z, 2026-11-21, or how long ago: 90m, 7d"
SinceOption = Annotated[
    dt.datetime | None, typer.Option(metavar="T", parser=moment, help=f"Bodies received since then: {TIME_HELP}.")
]
UntilOption = Annotated[
    dt.datetime | None, typer.Option(metavar="T", parser=moment, help="Bodies received before then; default: now.")
]
SourcesOption = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="S", help="Only this route, e.g. sentry.envelope, otlp; repeatable."),
]
ChannelsOption = Annotated[
    list[int] | None,
    typer.Option("--channel", metavar="N", min=1, max=2**63 - 1, help="Only this channel; repeatable."),
]
TypesOption = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="T", parser=item_type, help="Only items of this type; repeatable."),
]
RateOption = Annotated[
    float, typer.Option(metavar="N", min=0, help="Maximum bodies per second; 0 = as fast as live traffic allows.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count what would be replayed.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the last interrupted replay.")]


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(replay)


def replay(  # noqa: PLR0913, PLR0917 (options)
    since: SinceOption = None,
    until: UntilOption = None,
    sources: SourcesOption = None,
    channels: ChannelsOption = None,
    types: TypesOption = None,
    rate: RateOption = DEFAULT_RATE,
    dry_run: DryRunOption = False,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Process stored bodies again, beside live traffic."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.replay.control import Choice  # noqa: PLC0415

    if resume and (since or until or sources or channels or types or dry_run):
        raise typer.BadParameter(
            "expected --resume alone or with --rate: the interrupted replay keeps its other options"
        )
    if not resume and since is None:
        raise typer.BadParameter("expected --since T, or --resume")
    choice = None
    if since is not None:
        choice = Choice(
            since=since,
            until=until or dt.datetime.now(dt.UTC),
            routes=list(dict.fromkeys(route for name in sources or () for route in source(name))),
            channels=list(dict.fromkeys(channels or ())),
            types=list(dict.fromkeys(types or ())),
        )
    settings = find_settings(data_dir)
    tell_system(settings, data_dir)
    asyncio.run(_run(settings, choice, rate, dry_run=dry_run, as_json=as_json))


async def _run(settings: Settings, choice: Choice | None, rate: float, *, dry_run: bool, as_json: bool) -> None:
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.provisioning.system.same_system import check_same_system  # noqa: PLC0415
    from ops.replay.control import open_control  # noqa: PLC0415
    from ops.replay.run import Replay  # noqa: PLC0415
    from ops.runtime.failures import Failed, broker_failure  # noqa: PLC0415
    from ops.runtime.process.signals import stop_event  # noqa: PLC0415

    stop = stop_event()
    async with open_nats(settings, "replay") as client:
        try:
            with _bar(hidden=as_json) as tell:
                await check_same_system(client, settings, needs_clickhouse=not dry_run)
                work = Replay(client, await open_control(client.jetstream(timeout=10)), tell, stop)
                if dry_run and choice is not None:
                    state = await work.plan(choice, rate)
                    dropped = await asyncio.to_thread(_count_dropped, settings, state)
                    bodies_found = await work.look(state)
                else:
                    state = await _start(work, choice, rate)
                    dropped = await asyncio.to_thread(_count_dropped, settings, state)
                    state = await work.run(state)
                    removed = (0, 0) if stop.is_set() else await _clean(settings, client, state)
        except (NatsError, TimeoutError) as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Nothing is lost: "
                "`axonpush replay --resume` continues."
            ) from error
        if not as_json and (trimmed := missing_bodies_text(work.raw_since, choice)):
            print(trimmed)
        if dry_run:
            _print_found(bodies_found, dropped, as_json=as_json)
        elif stop.is_set():
            _exit_interrupted(state, as_json=as_json)
        else:
            await (await open_control(client.jetstream())).forget(state)
            _print_done(state, removed, dropped, as_json=as_json)


def missing_bodies_text(raw_since: dt.datetime | None, choice: Choice | None) -> str:
    """That RAW holds no bodies of the first part of the time asked for; empty if it may hold all."""
    if choice is None or (raw_since is not None and raw_since <= choice.since):
        return ""
    if raw_since is None:
        return "RAW holds no bodies: none of this time can be replayed"
    return (
        f"RAW holds bodies since {raw_since:%Y-%m-%d %H:%M:%S} UTC only: older ones were never received, or were "
        "deleted from it, and are not replayed"
    )


def _count_dropped(settings: Settings, state: ReplayState) -> int | None:
    """How many dropped dead letters are among the bodies, of any type; None if ClickHouse does not tell."""
    from clickhouse_connect.driver.exceptions import Error as ClickHouseError  # noqa: PLC0415

    from ops.cli.servers import open_clickhouse  # noqa: PLC0415
    from ops.replay.outdated import count_dropped  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    try:
        client = open_clickhouse(settings)
    except Failed:
        return None
    try:
        client.database = settings.clickhouse_database
        return count_dropped(client, range(state.next_seq, state.end_seq), state.choice.channels)
    except ClickHouseError:
        return None
    finally:
        client.close()


async def _start(work: Any, choice: Choice | None, rate: float) -> ReplayState:
    """A new plan, or with --resume the last interrupted one. Raises Failed."""
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if choice is not None:
        planned: ReplayState = await work.plan(choice, rate)
        return planned
    interrupted: ReplayState | None = await work.last()
    if interrupted is None:
        raise Failed("expected a replay that was interrupted, found none: start one with --since")
    return interrupted if rate == DEFAULT_RATE else interrupted.model_copy(update={"rate": rate})


async def _clean(settings: Settings, client: Client, state: ReplayState) -> tuple[int, int]:
    """Removes rows and dead letters that the replay made outdated; returns how many of each. Raises Failed."""
    from clickhouse_connect.driver.exceptions import Error as ClickHouseError  # noqa: PLC0415

    from ops.cli.servers import open_clickhouse  # noqa: PLC0415
    from ops.provisioning.cluster_tables import Cluster  # noqa: PLC0415
    from ops.replay import outdated  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415
    from schemas.rows import ERRORS_TABLE, EVENTS_TABLE  # noqa: PLC0415

    clickhouse = await asyncio.to_thread(open_clickhouse, settings)
    try:
        clickhouse.database = settings.clickhouse_database
        bodies = range(state.first_seq, state.end_seq)
        cluster = Cluster(settings.clickhouse_cluster, settings.clickhouse_database)
        removed = {}
        for table in (EVENTS_TABLE, ERRORS_TABLE):
            stored_in = cluster.local(table) if settings.clickhouse_cluster else table
            removed[table] = await asyncio.to_thread(
                outdated.remove_outdated_rows, clickhouse, state.generation, bodies, table=table, stored_in=stored_in
            )
        return removed[EVENTS_TABLE], await outdated.remove_outdated_dead_letters(client, clickhouse)
    except ClickHouseError as error:
        raise Failed(f"ClickHouse refused: {error}. `axonpush replay --resume` tries again.") from error
    finally:
        clickhouse.close()


@contextlib.contextmanager
def _bar(*, hidden: bool) -> Iterator[Tell]:
    """A progress bar on stderr; None if stderr is no terminal."""
    if hidden or not sys.stderr.isatty():
        yield lambda _done, _total, _what: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None)

        def tell(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, description=what)

        yield tell


def _print_found(bodies_found: BodiesFound, dropped: int | None, *, as_json: bool) -> None:
    rows = [
        (route, channel, bodies, bodies_found.size_bytes[route, channel])
        for (route, channel), bodies in bodies_found.bodies.items()
    ]
    columns = ("source", "channel", "bodies", "bytes")
    total = bodies_found.bodies.total()
    if as_json:
        by_source = [dict(zip(columns, row, strict=True)) for row in sorted(rows)]
        counts = {"bodies": total, "bytes": bodies_found.size_bytes.total(), "dropped_dead_letters": dropped}
        print_json({"dry_run": True, **counts, "by_source": by_source})
    else:
        print_table(f"{counted(total, 'body', 'bodies')} would be replayed", columns, sorted(rows))
        _print_dropped(dropped, "would be")


def _print_dropped(dropped: int | None, were: str) -> None:
    """`up to`, because --source and --type may choose less than the channels and times that were counted."""
    if dropped:
        were = "was" if (were, dropped) == ("were", 1) else were
        letters = counted(dropped, "dropped dead letter")
        print(f"up to {letters} {were} processed again: what fails again is a dead letter again, not dropped")


def _print_done(state: ReplayState, removed: tuple[int, int], dropped: int | None, *, as_json: bool) -> None:
    if as_json:
        document = {
            "finished": True,
            "rows_removed": removed[0],
            "dead_letters_removed": removed[1],
            "dropped_dead_letters": dropped,
        }
        print_json({"generation": state.generation, "bodies": state.published, **document})
        return
    stored = "; every row of them is stored" if state.published else ": RAW holds none of these"
    print(f"{counted(state.published, 'body', 'bodies')} replayed (generation {state.generation}){stored}")
    if removed[0]:
        print(f"{counted(removed[0], 'outdated row')} {'was' if removed[0] == 1 else 'were'} removed")
    _print_dropped(dropped, "were")
    if removed[1]:
        print(
            f"{counted(removed[1], 'dead letter')} {'was' if removed[1] == 1 else 'were'} processed again and "
            "replaced. What failed again is a dead letter with a new number: `axonpush dead list`"
        )


def _exit_interrupted(state: ReplayState, *, as_json: bool) -> None:
    if as_json:
        print_json({"generation": state.generation, "bodies": state.published, "finished": False})
    fail(f"interrupted after {state.published} of {state.total} bodies: `axonpush replay --resume` continues")
