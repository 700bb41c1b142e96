"""What surprised an operator: copied words are not understood, a hint is missing, servers are not found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ops.cli import main, terminal
from ops.cli.cluster import check_taking
from ops.cli.dead import commands as dead
from ops.cli.processes import program_servers
from ops.cli.processes.program_servers import program_variables
from ops.cli.refusals import as_stored, check_words
from ops.cli.sql import hint
from ops.local.start.named_servers import tell_named_servers
from ops.provisioning.amounts import size_text
from ops.provisioning.desired_state import FIELDS
from ops.refusals.senders import Senders
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings


@pytest.mark.parametrize(
    "typed", ["401:revoked_key", " 401:revoked_key ", "401 revoked_key", "'401:revoked_key'", "401: revoked_key"]
)
def test_a_reason_is_understood_as_any_screen_prints_it(typed: str) -> None:
    assert as_stored(typed) == "401:revoked_key"


def test_parts_of_a_reason_stay() -> None:
    assert [as_stored(text) for text in ("revoked", "429 quota:key:bytes", "")] == [
        "revoked",
        "429:quota:key:bytes",
        "",
    ]


@pytest.mark.parametrize(
    ("user", "word"), [("axonpush_reader", "`axonpush sql --operator`"), ("axonpush_worker", "axonpush.xml")]
)
def test_a_missing_right_comes_with_what_to_do(user: str, word: str) -> None:
    settings = Settings(clickhouse_user=user)
    assert word in hint("Code: 497. DB::Exception: Not enough privileges. (ACCESS_DENIED)", settings)
    assert hint("Code: 62. DB::Exception: Syntax error", settings) == ""


def test_sizes_and_days_are_shown_for_people() -> None:
    """Bytes in one place and MiB in the next; 0 days is the longest time, so 90 after it is less."""
    sizes = [size_text(number) for number in (5, 1536, 64 * 1024**2, 900 * 1024**3)]
    assert sizes == ["5 bytes", "1.5 KiB", "64 MiB", "900 GiB"]
    ttl = FIELDS["clickhouse_ttl_days"]
    assert [ttl.shown(days) for days in (0, 90)] == ["0 (for ever)", "90"]
    assert ttl.is_lower(0, 90)
    assert ttl.command(0) == "axonpush cluster set --clickhouse-ttl-days 0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of an `up` with servers of its own."""
    for name in ("NATS_URL", "NATS_USER", "CLICKHOUSE_URL", "CLICKHOUSE_USER"):
        monkeypatch.delenv(f"AXONPUSH_{name}", raising=False)
    monkeypatch.setattr(terminal, "_named_folder", [])
    users = {"axonpush_worker": "w", "axonpush_console": "c", "axonpush_operator": "o"}
    ready = {"nats_url": "nats://operator:x@127.0.0.1:1", "clickhouse_url": "http://reader:r@127.0.0.1:2"}
    (tmp_path / "ready.json").write_text(json.dumps(ready | {"clickhouse_users": users}))
    (tmp_path / "broker_passwords.json").write_text(json.dumps({"worker": "pw", "console": "pc", "receiver": "pr"}))
    return tmp_path


def test_a_worker_finds_the_servers_of_the_up_beside_it(folder: Path) -> None:
    """With the rights of a worker, and not of the operator."""
    assert program_variables(folder, "worker") == {
        "AXONPUSH_NATS_URL": "nats://127.0.0.1:1",
        "AXONPUSH_NATS_USER": "worker",
        "AXONPUSH_NATS_PASSWORD": "pw",
        "AXONPUSH_CLICKHOUSE_URL": "http://127.0.0.1:2",
        "AXONPUSH_CLICKHOUSE_USER": "axonpush_worker",
        "AXONPUSH_CLICKHOUSE_PASSWORD": "w",
    }
    assert program_variables(folder, "console")["AXONPUSH_CLICKHOUSE_USER"] == "axonpush_console"
    assert set(program_variables(folder, "receiver")) == {
        "AXONPUSH_NATS_URL", "AXONPUSH_NATS_USER", "AXONPUSH_NATS_PASSWORD",
    }  # fmt: skip


def test_a_worker_of_a_shell_with_addresses_uses_those(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder.is_dir()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("AXONPUSH_NATS_URL", "nats://10.0.0.1:4222")
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_URL", "http://10.0.0.2:8123")
    assert program_variables(Path(".axonpush"), "worker") == {}
    with pytest.raises(Failed, match="leave out --data-dir"):
        program_variables(folder, "worker")
    assert main.worker.__doc__
    assert "--workers N" in main.worker.__doc__
    assert set(program_servers.CLICKHOUSE_USER) == {"worker", "console", "alerts", "receiver"}


def test_the_help_of_up_says_what_starts_and_what_port_0_means() -> None:
    shown = " ".join(CliRunner().invoke(main.app, ["up", "--help"], env={"COLUMNS": "200"}).output.split())
    for word in ("receiver, workers, console, alerts, janitor", "AXONPUSH_NATS_URL", "--take-back"):
        assert word in shown
    assert shown.count("0 = any free port") == 4


def test_an_address_of_the_console_in_the_shell_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It wins over the console of this `up`, in tokens too; it may be that of another system."""
    for name in ("NATS_URL", "CLICKHOUSE_URL", "CONSOLE_URL"):
        monkeypatch.delenv(f"AXONPUSH_{name}", raising=False)
    tell_named_servers(terminal.console())
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("AXONPUSH_CONSOLE_URL", "https://user:hush@console.example.com")
    tell_named_servers(terminal.console())
    told = capsys.readouterr().out
    assert "AXONPUSH_CONSOLE_URL" in told
    assert "console.example.com" in told
    assert "hush" not in told


def test_one_way_of_taking_is_chosen() -> None:
    check_taking(adopt_tables=True, take_back=False)
    with pytest.raises(typer.BadParameter, match="found both"):
        check_taking(adopt_tables=True, take_back=True)


def test_a_retry_compares_the_systems_even_if_it_would_choose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one's broker and another's tables, `dead retry` said 0 and exited with 0."""

    class OfTwoSystems:
        async def check_tables(self, *_: object, **__: object) -> None:
            raise Failed("two systems")

        async def find(self, *_: object) -> list[Any]:
            return []

    monkeypatch.setattr(dead, "_run", lambda _folder, work: asyncio.run(work(OfTwoSystems(), None)))
    done = CliRunner().invoke(main.app, ["dead", "retry", "--reason", "invalid"])
    assert "two systems" in str(done.exception)


@pytest.mark.parametrize(
    ("note", "reason", "is_known", "word"),
    [
        ("there is no channel 99: channels: 1. Senders", "", False, "--channel: there is no channel 99"),
        ("there is no channel 99: channels: 1. Senders", "", True, ""),  # a sender named that number
        ("", "401:nokey", False, "--reason: no request was ever refused"),
        ("", "401:revoked_key", True, ""),
        ("", "429", False, ""),
        ("", "", False, ""),
    ],
)
def test_refusals_of_what_does_not_exist_are_no_success(note: str, reason: str, is_known: bool, word: str) -> None:
    senders = Senders(note=note)
    if not word:
        check_words(senders, reason, is_known=is_known)
        return
    with pytest.raises(Failed, match=word):
        check_words(senders, reason, is_known=is_known)
