"""Every command that changes something says first, in one line on stderr, which system it works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
import typer
from typer.testing import CliRunner, Result

from ops.cli import terminal
from ops.cli.main import app
from ops.cli.works_on import tell_system
from ops.registry.file_copy import encode_file
from ops.runtime.settings import Settings

# Nothing listens there, so a command that gets so far ends without having changed anything.
NATS, CLICKHOUSE = "nats://127.0.0.1:1", "http://127.0.0.1:1"
VARIABLES: Final = {
    "AXONPUSH_NATS_URL": "nats://operator:hush@127.0.0.1:1",
    "AXONPUSH_CLICKHOUSE_URL": "http://reader:hush@127.0.0.1:1",
}
TOLD: Final = (
    f"works on the broker at {NATS} (AXONPUSH_NATS_URL) and database axonpush at {CLICKHOUSE} (AXONPUSH_CLICKHOUSE_URL)"
)
# These only read. A new command that is not here must say what it works on.
READS: Final = frozenset(
    {
        *("status", "refusals", "cluster show", "dead list", "dead show", "artifacts list", "alerts list"),
        *("alerts show", "alerts deliveries", "alerts preview"),
        *("keys list", "channels list", "organisations list", "environments list", "tokens list", "registry export"),
    }
)
# These ask the console, and say which one.
OF_CONSOLE: Final = frozenset({"alerts create", "alerts delete", "alerts test"})
# These are programs, or send like any sender: their first lines and logs name their servers.
PROGRAMS: Final = frozenset({"up", "receiver", "worker", "console", "canary"})
# What a command needs beside its arguments, to get as far as its servers.
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "sql": ("--operator",),
    "cluster set": ("--replicas", "3"),
    "replay": ("--since", "1h"),
    "janitor": ("--once",),
    "dead retry": ("--all",),
    "dead drop": ("--all", "--yes"),
    "tokens mint": ("--url", "https://console.example.com"),
    "keys limit": ("--quota", "5/min"),
    "organisations limit": ("--quota", "5/min"),
}
# By the name of a required argument or option.
VALUES: Final = {
    "query": "SELECT 1", "artifact": "a", "environment": "prod", "key": "0" * 16, "name": "n", "note": "n",
    "kind": "issue", "project": "web", "file": "rule.json", "rule": "7",
    "number": "1", "organisation": "default", "source": "-", "token": "0" * 16, "channel": "1",
}  # fmt: skip
EXPORT: Final = encode_file([], "2026-11-27T00:00:00Z")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of the command line by its words."""

    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words), command
        for name, one in (inner or {}).items():
            yield from walk(one, (*words, name))

    yield from walk(typer.main.get_command(app), ())


COMMANDS: Final = dict(commands())
CHANGING: Final = sorted(set(COMMANDS) - READS - PROGRAMS - OF_CONSOLE)


@pytest.fixture(autouse=True)
def _shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AXONPUSH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(terminal, "_named_folder", [])
    monkeypatch.chdir(tmp_path)


def invoked(name: str) -> Result:
    words = name.split()
    for parameter in COMMANDS[name].params:
        if parameter.required:
            value = VALUES[str(parameter.name)]
            words += [parameter.opts[0], value] if parameter.param_type_name == "option" else [value]
    words += OPTIONS.get(name, ())
    return CliRunner().invoke(app, words, input=EXPORT)


def test_the_lists_name_commands_that_exist() -> None:
    assert READS | PROGRAMS | set(OPTIONS) <= set(COMMANDS)
    assert len(CHANGING) > 20


@pytest.mark.parametrize("name", CHANGING)
def test_a_command_that_changes_something_says_on_which_system(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell with the variables of another system, `dead drop --yes` deleted there without a word."""
    for variable, address in VARIABLES.items():
        monkeypatch.setenv(variable, address)
    done = invoked(name)
    assert done.exit_code, "nothing listens there"
    assert done.stderr.splitlines().count(TOLD) == 1, (name, done.output, done.exception)
    assert done.stdout == "", "scripts read it"
    assert "hush" not in done.output


@pytest.mark.parametrize("dry_run", ["migrate", "cluster set", "replay", "registry import", "artifacts prune"])
def test_a_dry_run_says_it_too(dry_run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, dry_run, (*OPTIONS.get(dry_run, ()), "--dry-run"))
    told = "works on the broker at nats://127.0.0.1:1 (AXONPUSH_NATS_URL) and database axonpush at "
    for variable, address in VARIABLES.items():
        monkeypatch.setenv(variable, address)
    assert told in invoked(dry_run).stderr


@pytest.mark.parametrize(
    ("ready", "variables", "named", "broker", "tables"),
    [
        (False, (), False, "the default address", "the default address"),
        (True, (), False, "the `up` of .axonpush", "the `up` of .axonpush"),
        (True, (), True, "--data-dir {folder}", "--data-dir {folder}"),
        (True, ("CLICKHOUSE",), False, "the `up` of .axonpush", "AXONPUSH_CLICKHOUSE_URL"),
        (True, ("NATS", "CLICKHOUSE"), False, "AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"),
    ],
)
def test_it_says_where_each_address_came_from(  # noqa: PLR0917 (a case)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ready: bool,
    variables: tuple[str, ...],
    named: bool,
    broker: str,
    tables: str,
) -> None:
    folder = Path(".axonpush")
    if ready:
        folder.mkdir()
        (folder / "ready.json").write_text('{"nats_url": "nats://o:hush@b:1", "clickhouse_url": "http://r:hush@c:1"}')
    if named:
        folder = tmp_path / ".axonpush"
        monkeypatch.setattr(terminal, "_named_folder", [folder])
    for name in variables:
        monkeypatch.setenv(f"AXONPUSH_{name}_URL", VARIABLES[f"AXONPUSH_{name}_URL"])
    urls: Any = {"nats_url": "nats://o:hush@b:1,nats://b:2", "clickhouse_url": "http://r:hush@c:1"}
    tell_system(Settings(**urls, clickhouse_database="rows"), folder)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"works on the broker at nats://b:1, nats://b:2 ({broker.format(folder=folder)}) and database rows at "
        f"http://c:1 ({tables.format(folder=folder)})\n"
    )


@pytest.mark.parametrize("name", sorted(OF_CONSOLE))
def test_a_command_that_asks_the_console_says_which(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it changes something; the token is not shown."""
    monkeypatch.setenv("AXONPUSH_AUTH_TOKEN", "sntrys_hush")
    monkeypatch.setenv("AXONPUSH_CONSOLE_URL", "http://127.0.0.1:1")
    Path("rule.json").write_text("{}")
    done = invoked(name)
    assert "works on organisation default of the console at http://127.0.0.1:1" in done.stderr
    assert "hush" not in done.output
    assert done.exit_code == 1
