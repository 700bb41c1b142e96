"""Says which system a command works on, before it changes something: a forgotten variable makes it another one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ops.cli.servers import READY_FILE, SERVERS, read_json
from ops.cli.terminal import named_folder
from ops.runtime.secret_masking import without_secrets

if TYPE_CHECKING:
    from ops.runtime.settings import Settings


def tell_system(settings: Settings, data_dir: Path) -> None:
    """One line on stderr, dim on a terminal: broker and tables without passwords, and where each address came from.

    Every command that changes something calls it once, before it asks a server.
    """
    broker, tables = (_origin(name, data_dir) for name in SERVERS)
    addresses = ", ".join(part.strip() for part in without_secrets(settings.nats_url).split(","))
    text = (
        f"works on the broker at {addresses} ({broker}) and database {settings.clickhouse_database} at "
        f"{without_secrets(settings.clickhouse_url)} ({tables})"
    )
    print(f"\x1b[2m{text}\x1b[0m" if sys.stderr.isatty() else text, file=sys.stderr)


def _origin(setting: str, data_dir: Path) -> str:
    """Where `found_servers` has an address from."""
    variable = f"AXONPUSH_{setting.upper()}"
    if os.environ.get(variable):
        return variable
    if not isinstance(read_json(data_dir / READY_FILE).get(setting), str):
        return "the default address"
    return f"--data-dir {data_dir}" if named_folder() is not None else f"the `up` of {data_dir}"
