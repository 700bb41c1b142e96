"""What all commands share with the person at the terminal: common options, tables, JSON, the last word on a failure."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

# As ops.cli.servers has it; importing that would cost every --help 0.3 s.
DEFAULT_DATA_DIR: Final = Path(".axonpush")
PIPE_WIDTH: Final = 100_000

DataDirOption = Annotated[Path, typer.Option("--data-dir", metavar="D", help="Folder of the `axonpush up` to talk to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """One message on stderr, then the end."""
    print(f"axonpush: {message}", file=sys.stderr)
    sys.exit(code)


def print_json(value: Any) -> None:
    """A document on stdout."""
    print(json.dumps(value, indent=2))


def console() -> Console:
    """Stdout for tables and coloured text. In a pipe nothing is cut or folded to a width that nobody looks at."""
    from rich.console import Console  # noqa: PLC0415 (only when it is wanted)

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for a person, on stdout. Its first column, the one to copy from, is never folded."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console().print(table)
