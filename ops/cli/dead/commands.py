"""Commands `axonpush dead …` and their options; output.py has what they print."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ops.cli.dead.output import COLUMNS, dead_letter_json, preview, readable
from ops.cli.replay import ChannelsOption, SinceOption, UntilOption
from ops.cli.terminal import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    JsonOption,
    counted,
    fail,
    print_json,
    print_list,
    print_table,
)

if TYPE_CHECKING:
    from ops.dead_letters.actions import DeadLetter, DeadStream, Filter
    from ops.runtime.settings import Settings

Result = TypeVar("Result")

ONLY_REPLAY = "A replay of their bodies would process them again, while RAW holds them"

SeqsArgument = Annotated[
    list[int] | None, typer.Argument(metavar="[N]...", min=1, help="Numbers as `dead list` shows them.")
]
SeqArgument = Annotated[int, typer.Argument(metavar="N", min=1, help="Number as `dead list` shows it.")]
ReasonsOption = Annotated[list[str] | None, typer.Option("--reason", metavar="R", help="Only this reason; repeatable.")]
StagesOption = Annotated[
    list[str] | None, typer.Option("--stage", metavar="W", help="Only dead letters of this worker; repeatable.")
]
TypesOption = Annotated[list[str] | None, typer.Option("--type", metavar="T", help="Only this item type; repeatable.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
RawOption = Annotated[bool, typer.Option("--raw", help="Write the unchanged bytes to stdout.")]

dead = typer.Typer(help="List, show, retry and drop dead letters.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(dead, name="dead")


@dead.command("list")
def list_dead_letters(  # noqa: PLR0913, PLR0917 (options)
    reasons: ReasonsOption = None,
    stages: StagesOption = None,
    types: TypesOption = None,
    channels: ChannelsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List dead letters, oldest first."""
    chosen = _filter((), reasons, stages, types, channels, since, until)
    dead_letters = _run(_find_settings(data_dir), lambda stream, settings: _find_dead_letters(stream, settings, chosen))
    print_list(
        dead_letters, dead_letter_json, COLUMNS, as_json=as_json, title=counted(len(dead_letters), "dead letter")
    )


@dead.command("show")
def show_dead_letter(
    seq: SeqArgument, raw: RawOption = False, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR
) -> None:
    """Show one dead letter: reason, origin and bytes."""
    if raw and as_json:
        raise typer.BadParameter("expected --raw or --json, found both")
    dead_letter = _run(_find_settings(data_dir), lambda stream, _: stream.whole(seq))
    if raw:
        sys.stdout.buffer.write(dead_letter.body)
        return
    if as_json:
        document = {"number": seq, "subject": dead_letter.subject, "headers": dict(dead_letter.headers)}
        print_json(document | {"body_base64": base64.b64encode(dead_letter.body).decode()})
        return
    shown = [(name, readable(name, value)) for name, value in sorted(dead_letter.headers.items())]
    print_table(dead_letter.subject, ("header", "value"), shown)
    print(preview(dead_letter))


@dead.command("retry")
def retry_dead_letters(  # noqa: PLR0913, PLR0917 (options)
    seqs: SeqsArgument = None,
    every: AllOption = False,
    reasons: ReasonsOption = None,
    stages: StagesOption = None,
    types: TypesOption = None,
    channels: ChannelsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Process dead letters again with their original subject and headers."""
    wanted = _read_filter(seqs, every, reasons, stages, types, channels, since, until)

    async def work(stream: DeadStream, settings: Settings) -> tuple[int, list[DeadLetter], list[DeadLetter]]:
        await stream.check_tables(settings, needs_clickhouse=False)
        chosen = await stream.find(wanted)
        _check_found(wanted, chosen)
        await _check_words(stream, wanted)
        if not chosen:
            return 0, [], []
        generation, not_retried = await stream.retry(chosen)
        return generation, chosen, not_retried

    generation, dead_letters, not_retried = _run(_find_and_name_settings(data_dir), work)
    if as_json:
        counts = {
            "retried": len(dead_letters) - len(not_retried),
            "impossible": [dead_letter.seq for dead_letter in not_retried],
        }
        print_json({"generation": generation, **counts})
    else:
        number = len(dead_letters) - len(not_retried)
        are = "is" if number == 1 else "are"
        print(f"{counted(number, 'dead letter')} {are} processed again; what fails again is listed again")
    if not_retried:
        numbers = ", ".join(str(dead_letter.seq) for dead_letter in not_retried)
        fail(f"dead letters without an origin subject were not retried: {numbers}")


@dead.command("drop")
def drop_dead_letters(  # noqa: PLR0913, PLR0917 (options)
    seqs: SeqsArgument = None,
    every: AllOption = False,
    reasons: ReasonsOption = None,
    stages: StagesOption = None,
    types: TypesOption = None,
    channels: ChannelsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Drop dead letters; outcomes count them as dropped.

    While their bodies are in RAW, a replay of them processes them again, and what fails again is a dead letter again.
    """
    wanted = _read_filter(seqs, every, reasons, stages, types, channels, since, until)
    settings = _find_and_name_settings(data_dir)
    dead_letters = _run(settings, lambda stream, settings: _find_dead_letters(stream, settings, wanted))
    _check_found(wanted, dead_letters)
    if dead_letters and not yes and not _confirm(len(dead_letters)):
        fail("nothing was dropped")
    if dead_letters:
        from ops.dead_letters.dropping import drop  # noqa: PLC0415

        _run(settings, lambda stream, settings: drop(stream, settings, dead_letters))
    if as_json:
        print_json({"dropped": len(dead_letters)})
    else:
        print(f"{counted(len(dead_letters), 'dead letter')} dropped" + (f". {ONLY_REPLAY}" if dead_letters else ""))


def _confirm(number: int) -> bool:
    """Asks the user for confirmation. A script without --yes gets an error, not a question."""
    if not sys.stdin.isatty():
        fail(f"expected --yes to drop {counted(number, 'dead letter')} without a question", code=2)
    return typer.confirm(
        f"Drop {counted(number, 'dead letter')}? Their bytes here will be deleted", default=False, err=True
    )


def _find_settings(data_dir: Path) -> Settings:
    from ops.cli.servers import find_settings  # noqa: PLC0415

    return find_settings(data_dir)


def _find_and_name_settings(data_dir: Path) -> Settings:
    """The same for a command that changes something."""
    from ops.cli.works_on import tell_system  # noqa: PLC0415

    settings = _find_settings(data_dir)
    tell_system(settings, data_dir)
    return settings


def _run(settings: Settings, work: Callable[[DeadStream, Settings], Awaitable[Result]]) -> Result:
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.dead_letters.actions import DeadStream  # noqa: PLC0415
    from ops.replay.control import open_control  # noqa: PLC0415
    from ops.runtime.failures import Failed, broker_failure  # noqa: PLC0415

    async def run() -> Result:
        async with open_nats(settings, "dead-letters") as client:
            try:
                control = await open_control(client.jetstream(timeout=10))
                return await work(DeadStream(client, control), settings)
            except (NatsError, TimeoutError) as error:
                raise Failed(
                    f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
                ) from error

    return asyncio.run(run())


def _filter(seqs: Any, reasons: Any, stages: Any, types: Any, channels: Any, since: Any, until: Any) -> Filter:  # noqa: PLR0913, PLR0917
    from ops.dead_letters.actions import Filter  # noqa: PLC0415

    return Filter(
        seqs=tuple(seqs or ()),
        reasons=tuple(reasons or ()),
        stages=tuple(stages or ()),
        types=tuple(types or ()),
        channels=tuple(channels or ()),
        since=since,
        until=until,
    )


def _read_filter(seqs: Any, every: bool, *rest: Any) -> Filter:
    """The filter of the options. Without numbers, --all or an option it fails: nobody drops everything by accident."""
    if every and (seqs or any(rest)):
        raise typer.BadParameter("expected either --all, or numbers and options that choose dead letters, found both")
    if not every and not seqs and not any(rest):
        raise typer.BadParameter(
            "expected numbers, --all, or an option such as --reason that chooses dead letters, found none"
        )
    return _filter(seqs, *rest)


def _check_found(wanted: Filter, chosen: Sequence[DeadLetter]) -> None:
    """Raises Failed if a number is unknown: before anything is done, because the others may be mistyped too."""
    from ops.runtime.failures import Failed  # noqa: PLC0415

    known = {seq for dead_letter in chosen for seq in dead_letter.seqs}
    if unknown := [seq for seq in wanted.seqs if seq not in known]:
        raise Failed(
            f"expected dead letters, found none with number {', '.join(map(str, unknown))}: `axonpush dead list` shows "
            "all. Nothing was changed."
        )


async def _find_dead_letters(stream: DeadStream, settings: Settings, wanted: Filter) -> list[DeadLetter]:
    await stream.check_tables(settings, needs_clickhouse=False, needs_tables=False)
    chosen = await stream.find(wanted)
    await _check_words(stream, wanted)
    return chosen


async def _check_words(stream: DeadStream, wanted: Filter) -> None:
    """A mistyped reason, worker, type or channel would choose nothing, and look like success. Raises Failed."""
    from ops.dead_letters.actions import Filter, unknown_words  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if not (wanted.reasons or wanted.stages or wanted.types or wanted.channels):
        return
    present = await stream.find(Filter())
    if wrong := unknown_words(wanted, present):
        raise Failed(f"{wrong}. Nothing was changed.")
    await stream.check_channels(wanted, present)
