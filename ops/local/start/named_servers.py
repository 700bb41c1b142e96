"""Servers that the environment names, which `axonpush up` then does not start; what it says before it starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops.local.data_dir import CLICKHOUSE_FOLDER, NATS_FOLDER, SERVER_FOLDERS, DataDir
from ops.provisioning.system.refusals import short
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets

if TYPE_CHECKING:
    from rich.console import Console


def named_servers() -> dict[str, str]:
    """The servers that the environment names, which are then not embedded, with the variable of each."""
    variables = {"NATS": "AXONPUSH_NATS_URL", "ClickHouse": "AXONPUSH_CLICKHOUSE_URL"}
    return {server: variable for server, variable in variables.items() if os.environ.get(variable)}


def check_own_servers(folder: DataDir) -> None:
    """A folder with servers of its own beside variables of others would start as another system. Raises Failed."""
    folders = {"NATS": NATS_FOLDER, "ClickHouse": CLICKHOUSE_FOLDER}
    own = folder.own_servers
    crossed = {server: name for server, name in named_servers().items() if folders[server] in own}
    if not crossed:
        return
    known = f"id {short(folder.system_id)}, " if folder.system_id else ""
    own_folders = " and ".join(f"{name}/" for name in (NATS_FOLDER, CLICKHOUSE_FOLDER) if name in own)
    named = " and ".join(f"{name} ({without_secrets(os.environ[name])})" for name in crossed.values())
    verb, them, which = ("names", "it", "variable") if len(crossed) == 1 else ("name", "them", "variables")
    raise Failed(
        f"{folder.root} holds a system of its own ({known}{own_folders}), and {named} {verb} another. Unset the "
        f"{which} to start that one, or name a new --data-dir to start beside {them}. Nothing was started."
    )


def tell_named_servers(console: Console) -> None:
    """First of all: a variable that somebody has forgotten would make this a part of another system."""
    for server, variable in named_servers().items():
        address = without_secrets(os.environ[variable])
        text = f"uses {server} of {variable} ({address}), no embedded one; unset {variable} for an embedded one"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if url := os.environ.get("AXONPUSH_CONSOLE_URL"):
        text = f"tools and tokens are told the console's address of AXONPUSH_CONSOLE_URL ({without_secrets(url)})"
        text += "; unset it if that is another system's"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def tell_new(folder: DataDir, console: Console) -> None:
    """A mistyped folder starts an empty system, which looks as if everything was lost."""
    if len(named_servers()) < len(SERVER_FOLDERS) and not folder.own_servers:
        text = f"a new system: no servers' data was in {folder.root}, so it starts empty there"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def tell_mended(folder: DataDir, console: Console) -> None:
    repair = folder.permission_repair
    if repair.changed and folder.had_content:
        text = f"{repair.changed} files and folders in {folder.root} were accessible to other users: corrected"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if repair.of_other_users or not repair.is_complete:
        what = (
            f"{repair.of_other_users} belong to other users"
            if repair.of_other_users
            else f"more than {repair.seen} entries"
        )
        text = f"not every file mode in {folder.root} was checked ({what}); other users cannot enter the folder"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
