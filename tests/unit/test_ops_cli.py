"""What can be typed: help everywhere, exit 2 for bad usage, and nothing heavy imported for either."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ops.registry_commands import origin, quota
from tests.servers import environment

COMMANDS = [
    [],
    ["up"],
    ["receiver"],
    ["worker"],
    ["migrate"],
    ["sql"],
    ["channels"],
    ["channels", "create"],
    ["channels", "list"],
    ["keys"],
    ["keys", "mint"],
    ["keys", "list"],
    ["keys", "revoke"],
    ["keys", "limit"],
    ["organisations"],
    ["organisations", "limit"],
    ["organisations", "list"],
    ["environments"],
    ["environments", "create"],
    ["environments", "list"],
    ["replay"],
    ["dead"],
    ["dead", "list"],
    ["dead", "show"],
    ["dead", "retry"],
    ["dead", "drop"],
    ["status"],
    ["janitor"],
    ["registry"],
    ["registry", "export"],
    ["registry", "import"],
    ["canary"],
]
BAD_USAGE = [
    ["nonsense"],
    ["up", "--port", "70000"],
    ["worker"],
    ["worker", "nonsense"],
    ["sql"],
    ["sql", "SELECT 1", "--json", "--format", "TSV"],
    ["channels", "create", "--id", "0"],
    ["channels", "list", "--organisation", "NOT A SLUG"],
    ["keys", "mint"],
    ["keys", "mint", "--environment", "Production"],
    ["keys", "mint", "--environment", "production", "--quota", "many"],
    ["keys", "mint", "--environment", "production", "--origin", "https://a.example"],
    ["keys", "mint", "--environment", "production", "--public", "--origin", "https://a.example/path"],
    ["environments", "create", "UPPER"],
    ["replay"],
    ["replay", "--since", "last tuesday"],
    ["replay", "--since", "1h", "--source", "smtp"],
    ["replay", "--since", "1h", "--type", "nonsense"],
    ["replay", "--since", "1h", "--rate", "-1"],
    ["replay", "--since", "1h", "--resume"],
    ["dead", "show"],
    ["dead", "show", "1", "--raw", "--json"],
    ["dead", "retry"],
    ["dead", "drop"],
    ["dead", "drop", "--all", "--reason", "invalid"],
    ["keys", "limit", "0123456789abcdef"],
    ["keys", "limit", "0123456789abcdef", "--quota", "ten"],
    ["organisations", "limit", "default", "--quota", "-1/min"],
    ["registry", "export"],
    ["registry", "export", "-", "--json"],
    ["registry", "import"],
    ["canary", "--every", "0"],
    ["canary", "--json"],
]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(**settings),
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    """Exit 0, and every option and subcommand has a line that says what it is for."""
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


@pytest.mark.parametrize("command", BAD_USAGE, ids=" ".join)
def test_bad_usage_is_exit_2_with_a_message(command: list[str]) -> None:
    """On stderr, without a traceback."""
    done = run(*command)
    assert done.returncode == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_bad_usage_and_named() -> None:
    """The variable is named, its value is not: it may be a secret."""
    done = run("channels", "list", AXONPUSH_NATS_REPLICAS="two-hundred")
    assert done.returncode == 2
    assert "AXONPUSH_NATS_REPLICAS" in done.stderr
    assert "two-hundred" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    """Typing --help must not wait for clients, engines or models."""
    code = "import sys, ops.cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    loaded = set(done.stdout.split())
    assert not loaded & {"nats", "clickhouse_connect", "pydantic", "chdb", "faststream", "granian", "structlog"}


def test_a_receiver_of_the_current_folder_is_not_run(tmp_path: os.PathLike[str]) -> None:
    """`axonpush receiver` runs ours, whatever the folder it is typed in contains."""
    from pathlib import Path

    (Path(tmp_path) / "receiver.py").write_text("raise SystemExit(99)")
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "receiver"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(AXONPUSH_PORT="not a port"),
    )
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://Example.com/", "https://example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://*.example.com", "https://*.example.com"),
        ("example.com", "example.com"),
        ("*", "*"),
        ("https://[::1]:8080", "https://[::1]:8080"),
    ],
)
def test_origins_are_stored_in_one_form(text: str, stored: str) -> None:
    """Browsers send lower case and no trailing slash."""
    assert origin(text) == stored


def test_a_quota_is_a_number_a_minute() -> None:
    """The only form there is."""
    assert quota("1000/min") == 1000
