"""Shared by all commands: common options, tables, JSON output, error messages."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")

# Same value as in ops.cli.servers, whose import would add 0.3 s to every --help.
DEFAULT_DATA_DIR: Final = Path(".axonpush")
PIPE_WIDTH: Final = 100_000

# A command in a text of ours. These take no --data-dir, or another one.
_COMMAND: Final = re.compile(r"`axonpush ([^`]+)`")
_WITHOUT_FOLDER: Final = ("up", "--", "-h")
_named_folder: list[Path] = []


def remember_folder(context: typer.Context, data_dir: Path) -> Path:
    """Notes a folder that the user has named: the commands that we advise need it too."""
    source = context.get_parameter_source("data_dir")
    _named_folder[:] = [data_dir] if source and source.name == "COMMANDLINE" else []
    return data_dir


def named_folder() -> Path | None:
    """The folder of --data-dir; None if the user has named none."""
    return _named_folder[0] if _named_folder else None


def with_folder(text: str) -> str:
    """The text with `--data-dir D` in the commands that it advises, if the user has named a folder."""
    return in_folder(text, _named_folder[0]) if _named_folder else text


def in_folder(text: str, folder: Path, *, of_up: bool = False) -> str:
    """The text with `--data-dir folder` in the commands that it advises. `of_up`: also in `axonpush up`."""
    option = f" --data-dir {shlex.quote(str(folder))}"
    skipped = _WITHOUT_FOLDER[1:] if of_up else _WITHOUT_FOLDER

    def filled(match: re.Match[str]) -> str:
        command = match[1]
        if command.startswith(skipped) or "--data-dir" in command:
            return match[0]
        return f"`axonpush {command}{option}`"

    return _COMMAND.sub(filled, text)


DataDirOption = Annotated[
    Path,
    typer.Option("--data-dir", metavar="D", help="Folder of the `axonpush up` to talk to.", callback=remember_folder),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """Prints one message on stderr and exits with 1."""
    print(f"axonpush: {with_folder(message)}", file=sys.stderr)
    sys.exit(code)


def warn(text: str) -> None:
    """Prints one warning on stderr."""
    print(f"axonpush: warning: {with_folder(text)}", file=sys.stderr)


def counted(number: int, word: str, plural: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {word if number == 1 else plural or f'{word}s'}"


def print_json(value: Any) -> None:
    """Prints a JSON document on stdout."""
    print(json.dumps(value, indent=2))


def print_made(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Prints what a command made or changed: as JSON, or as one sentence."""
    if as_json:
        print_json(document)
    else:
        print(text)


def print_list(
    items: Sequence[Item],
    described: Callable[[Item], dict[str, Any]],
    columns: Mapping[str, Callable[[Item], object]],
    *,
    as_json: bool,
    title: str = "",
) -> None:
    """Prints a list: as JSON, or as a table with these columns."""
    if as_json:
        print_json([described(item) for item in items])
        return
    print_table(title, list(columns), [[cell(item) for cell in columns.values()] for item in items])


def console() -> Console:
    """A console for stdout. In a pipe, lines are not cut or wrapped."""
    from rich.console import Console  # noqa: PLC0415 (only when it is wanted)

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table on stdout. The first column, which users copy from, is never wrapped."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console().print(table)


def printable(text: str) -> str:
    """Escapes control characters: text from senders must not control the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
