"""What all commands share with the person at the terminal: common options, tables, JSON, the last word on a failure."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

# As ops.servers has it; importing that would cost every --help 0.3 s.
DEFAULT_DATA_DIR: Final = Path(".axonpush")

DataDirOption = Annotated[Path, typer.Option("--data-dir", metavar="D", help="Folder of the `axonpush up` to talk to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """One message on stderr, then the end."""
    print(f"axonpush: {message}", file=sys.stderr)
    sys.exit(code)


def print_json(value: Any) -> None:
    """A document on stdout."""
    print(json.dumps(value, indent=2))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for a person, on stdout."""
    from rich.console import Console  # noqa: PLC0415 (only when a table is wanted)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    Console().print(table)
