"""What can be typed: help everywhere, exit 2 for bad usage, and nothing heavy imported for either."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from ops.cli.registry.options import origin
from ops.registry.key_options import KeyOptions
from ops.registry.quotas import NO_QUOTA, quota, quota_text, size_quota
from schemas.registry import DEFAULT_PUBLIC_QUOTA, Quota
from tests.commands import commands
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
    ["channels", "rename"],
    ["channels", "note"],
    ["channels", "archive"],
    ["channels", "unarchive"],
    ["cluster"],
    ["cluster", "show"],
    ["cluster", "set"],
    ["keys"],
    ["keys", "mint"],
    ["keys", "list"],
    ["keys", "revoke"],
    ["keys", "limit"],
    ["keys", "rename"],
    ["keys", "note"],
    ["organisations"],
    ["organisations", "create"],
    ["organisations", "rename"],
    ["organisations", "note"],
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
    ["channels", "create", "--public"],
    ["channels", "create", "--name", "two\nlines"],
    ["channels", "archive", "0"],
    ["cluster", "set"],
    ["cluster", "set", "--replicas", "2"],
    ["cluster", "set", "--raw-max-bytes", "1MB/min"],
    ["cluster", "set", "--raw-max-bytes", "10"],
    ["cluster", "set", "--replay-horizon", "a week"],
    ["cluster", "set", "--public-url", "in.example.com"],
    ["cluster", "set", "--public-url", "https://key@in.example.com"],
    ["migrate", "--replicas", "4"],
    ["janitor", "--replay-horizon", "1h"],
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
    ["keys", "limit", "0123456789abcdef", "--quota", "10MB/min"],
    ["keys", "limit", "0123456789abcdef", "--quota-bytes", "10/s"],
    ["keys", "limit", "0123456789abcdef", "--quota-rows", "0.5/min"],
    ["organisations", "limit", "default"],
    ["organisations", "limit", "default", "--quota", "-1/min"],
    ["registry", "export"],
    ["registry", "export", "-", "--json"],
    ["registry", "import"],
    ["canary", "--every", "0"],
    ["canary", "--json"],
]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return commands.run(arguments, environment(**settings), 60)


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
    code = "import sys, ops.cli.main; print(*sorted(sys.modules))"
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


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1000/min", 1000),
        ("120k/min", 120_000),
        ("1.5M/min", 1_500_000),
        ("2 G/min", 2_000_000_000),
        ("none", NO_QUOTA),
    ],
)
def test_a_quota_is_a_number_a_minute(text: str, amount: int) -> None:
    """With k, M and G as people write them."""
    assert quota(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("100MB/min", 100_000_000),
        ("100 mb / min", 100_000_000),
        ("3GB/min", 3_000_000_000),
        ("1MiB/min", 1_048_576),
        ("2GiB/min", 2_147_483_648),
        ("5kB/min", 5_000),
        ("0.1GB/min", 100_000_000),
        ("77/min", 77),
        ("none", NO_QUOTA),
    ],
)
def test_a_quota_of_bytes_is_written_as_people_write_sizes(text: str, amount: int) -> None:
    """Thousands and 1024s are told apart by the i."""
    assert size_quota(text) == amount


@pytest.mark.parametrize(
    "text", ["", "5", "MB/min", "-5/min", "5MB", "5/h", "1e3/min", "99999999999999999999/min", "9999999999T/min"]
)
def test_what_is_no_quota_is_bad_usage(text: str) -> None:
    """Nothing is guessed."""
    for parse in (quota, size_quota):
        with pytest.raises(typer.BadParameter):
            parse(text)


def test_quotas_are_shown_as_they_are_typed() -> None:
    """All that there are, in one line."""
    assert quota_text(DEFAULT_PUBLIC_QUOTA) == "120,000 requests, 3 GB, 6,000,000 rows a minute"
    assert quota_text(Quota(rows=5)) == "5 rows a minute"
    assert quota_text(Quota()) == "no quota"


def test_a_public_token_has_a_quota_unless_it_is_lifted() -> None:
    """Stored in its entry, so that it is seen. A secret key has none; what is given counts, part by part."""
    default = {
        "quota_per_minute": 120_000,
        "quota_bytes_per_minute": 3_000_000_000,
        "quota_rows_per_minute": 6_000_000,
    }
    assert KeyOptions("production", public=True).quotas() == default
    assert KeyOptions("production", public=True, quota_per_minute=60).quotas() == {**default, "quota_per_minute": 60}
    lifted = KeyOptions("production", public=True, quota_rows_per_minute=NO_QUOTA).quotas()
    assert lifted == {**default, "quota_rows_per_minute": None}
    assert set(KeyOptions("production").quotas().values()) == {None}
