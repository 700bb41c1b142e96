"""What surprised an operator: wrong numbers look like success, copied words are not understood, a hint is missing."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ops.cli import dead, main, program_servers, terminal
from ops.cli import status as status_screen
from ops.cli.cluster import check_taking
from ops.cli.program_servers import program_variables
from ops.cli.refusals import as_stored, check_words
from ops.cli.registry import channels as channels_module
from ops.cli.registry import file as registry_file
from ops.cli.registry import keys
from ops.cli.registry.options import check_environment, ensure_environment, tell_servers
from ops.cli.sql import hint
from ops.local.up import _tell_named_servers
from ops.provisioning.amounts import shown_size
from ops.provisioning.cluster_changes import StateReport
from ops.provisioning.desired_state import FIELDS, checked
from ops.provisioning.streams import Budgets
from ops.refusals.senders import Senders
from ops.registry import channel_check
from ops.registry.channel_check import check_channels
from ops.registry.file_copy import ChannelConflict, Imported, encode
from ops.registry.last_use import LastUse, known_since
from ops.registry.names import edits
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from ops.status.local_up import LocalUp, running_up
from ops.status.problems import _command
from ops.status.quotas import QuotaUse
from ops.status.reconciliation import Account, Reconciliation
from ops.status.report import Status
from ops.status.servers import RefusedSender
from ops.status.vanished_rows import VanishedRows
from schemas.registry import Channel, Environment, key_hash
from schemas.usage import Unit

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
SECRET_KEY = "ak_" + "s" * 32


@pytest.mark.parametrize(
    ("made_at", "ttl_days", "since"),
    [
        (dt.datetime(2026, 11, 20, 10, 5), 0, "2026-11-20T10:04Z"),  # the tables are younger than a key
        (dt.datetime(2026, 1, 1), 90, "2026-08-29T12:00Z"),  # older rows have expired
    ],
)
def test_what_clickhouse_cannot_know_is_not_called_never(made_at: dt.datetime, ttl_days: int, since: str) -> None:
    """`keys list` said "never" of a key in use, after ClickHouse was lost."""
    used = LastUse({"used": "2026-11-26T10:00Z"}, known_since(made_at, ttl_days, NOW))
    assert used.text("used", "2025-01-01T00:00:00Z") == "2026-11-26T10:00Z"
    assert used.text("old", "2025-01-01T00:00:00Z") == f"not since {since}"
    assert used.text("of unknown age", "") == f"not since {since}"
    assert used.text("new", "2026-11-27T11:00:00Z") == "never"


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


def test_a_replay_of_what_came_without_a_channel_names_none() -> None:
    """Channel 0 stands for it, which no option chooses: with the others alone, its bodies were left out."""
    assert _command(NOW, [2, 0]) == "axonpush replay --since '2026-11-27 12:00'"
    assert _command(NOW, [2, 7]).endswith(" --channel 2 --channel 7")


class Registry:
    """The registry of one organisation with channels and environments."""

    def __init__(self, *_: object) -> None:
        self.made = [Environment(organisation="default", slug="prod")]

    async def all_channels(self) -> list[Channel]:
        return [Channel(id=1, organisation="default"), Channel(id=999, organisation="default")]

    async def environments(self) -> list[Environment]:
        return self.made

    async def ensure_environment(self, slug: str) -> Environment | None:
        if any(one.slug == slug for one in self.made):
            return None
        self.made = [*self.made, Environment(organisation="default", slug=slug)]
        return self.made[-1]


class Client:
    """A connection to a broker with a registry."""

    def jetstream(self, **_: object) -> Client:
        return self

    async def key_value(self, _name: str) -> None:
        return None


def test_a_channel_that_does_not_exist_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `dead retry` and `replay`; one that was removed is fine as long as something of it is there."""
    monkeypatch.setattr(channel_check, "RegistryWriter", Registry)

    def check(asked: list[int], present: set[int]) -> None:
        asyncio.run(check_channels(Client(), asked, present, "body"))  # type: ignore[arg-type]

    check([1, 999, 5], {5})
    with pytest.raises(Failed, match="found no channel 77, and no body of it; channels: 1, 999"):
        check([1, 77], {5})


def test_a_slip_in_an_environment_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    registry: Any = Registry()
    asyncio.run(ensure_environment(registry, "prdo"))
    asyncio.run(ensure_environment(registry, "prod"))
    told = capsys.readouterr().err
    assert told == "environment prdo is new and was created; before, environments: prod (did you mean prod?)\n"


def test_a_command_on_the_registry_says_which_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AXONPUSH_NATS_URL", raising=False)
    tell_servers("nats://a:1", tmp_path)
    (tmp_path / "ready.json").write_text("{}")
    tell_servers("nats://a:1", tmp_path)
    monkeypatch.setenv("AXONPUSH_NATS_URL", "nats://a:1")
    tell_servers("nats://a:1", tmp_path)
    captured = capsys.readouterr()
    assert captured.out == "", "scripts read it"
    assert captured.err.splitlines() == [
        "registry of nats://a:1 (the default address)",
        f"registry of nats://a:1 (the `up` of {tmp_path})",
        "registry of nats://a:1 (AXONPUSH_NATS_URL)",
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
    sizes = [shown_size(number) for number in (5, 1536, 64 * 1024**2, 900 * 1024**3)]
    assert sizes == ["5 bytes", "1.5 KiB", "64 MiB", "900 GiB"]
    ttl = FIELDS["clickhouse_ttl_days"]
    assert [ttl.shown(days) for days in (0, 90)] == ["0 (for ever)", "90"]
    assert ttl.is_lower(0, 90)
    assert ttl.command(0) == "axonpush cluster set --clickhouse-ttl-days 0"


def test_a_killed_clickhouse_of_up_is_said_to_come_back() -> None:
    """With one full stop after each sentence."""
    unknown = {"ClickHouse": "expected ClickHouse at http://a:1, could not connect (connection refused)."}
    of_up = Status(unknown=unknown, up=LocalUp("7", "/d/logs")).problems[0]
    assert "restarts ClickHouse by itself" in of_up
    assert "/d/logs" in of_up
    alone = Status(unknown=unknown).problems[0]
    assert "read its log" in alone
    assert ".." not in of_up + alone


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
    assert set(program_servers.CLICKHOUSE_USER) == {"worker", "console", "receiver"}


def test_the_help_of_up_says_what_starts_and_what_port_0_means() -> None:
    shown = " ".join(CliRunner().invoke(main.app, ["up", "--help"], env={"COLUMNS": "200"}).output.split())
    for word in ("receiver, workers, console, janitor", "AXONPUSH_NATS_URL", "--take-back"):
        assert word in shown
    assert shown.count("0 = any free port") == 4


def test_an_address_of_the_console_in_the_shell_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It wins over the console of this `up`, in tokens too; it may be that of another system."""
    for name in ("NATS_URL", "CLICKHOUSE_URL", "CONSOLE_URL"):
        monkeypatch.delenv(f"AXONPUSH_{name}", raising=False)
    _tell_named_servers(terminal.console())
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("AXONPUSH_CONSOLE_URL", "https://user:hush@console.example.com")
    _tell_named_servers(terminal.console())
    told = capsys.readouterr().out
    assert "AXONPUSH_CONSOLE_URL" in told
    assert "console.example.com" in told
    assert "hush" not in told


def test_one_way_of_taking_is_chosen() -> None:
    check_taking(adopt_tables=True, take_back=False)
    with pytest.raises(typer.BadParameter, match="found both"):
        check_taking(adopt_tables=True, take_back=True)


def test_more_rows_than_bodies_of_one_system_is_no_loss() -> None:
    """The advice to compare broker and tables led nowhere where both have one id."""
    total = Account(None, received=5, rows=8)
    state = checked({**Budgets().model_dump(), "nats_replicas": 1, "system_id": "a" * 32})
    report = StateReport(state)
    of_one = Status(reconciliation=Reconciliation(total), desired=report).headline
    assert "Broker and tables belong together" in of_one
    assert "migrate" not in of_one
    assert "axonpush migrate --dry-run" in Status(reconciliation=Reconciliation(total)).headline


def test_one_channel_is_one_channel() -> None:
    lost = VanishedRows(missing=3, first_at=NOW, last_at=NOW)
    totals = [Account(None, received=5, rows=2, missing=3), Account(7, received=5, rows=2, missing=3)]
    text = Status(reconciliation=Reconciliation(totals[0], totals[1:], lost)).headline
    assert "(channel 7)" in text


@pytest.mark.parametrize("typed", ["0/min", "0k/min", "0.0 M/min"])
@pytest.mark.parametrize("option", ["--quota", "--quota-bytes", "--quota-rows"])
@pytest.mark.parametrize(
    ("command", "of"),
    [
        (("keys", "limit", "0" * 16), f"key {'0' * 16}"),
        (("keys", "limit", SECRET_KEY), f"key {key_hash(SECRET_KEY)[:16]}"),
        (("keys", "limit", f"https://{SECRET_KEY}@in.example/1"), f"key {key_hash(SECRET_KEY)[:16]}"),
        (("keys", "limit", "no-key"), "this key"),
        (("keys", "mint", "--environment", "e"), "the new key of default"),
        (("keys", "mint", "--environment", "e", "--organisation", "acme"), "the new key of acme"),
        (("organisations", "limit", "acme"), "organisation acme"),
    ],
)
def test_a_quota_of_0_is_refused_before_anything_is_asked(
    command: tuple[str, ...], of: str, option: str, typed: str
) -> None:
    """`organisations limit default --quota 0/min` closed a whole organisation without a question.

    The error names what would be closed, and never shows a key.
    """
    done = CliRunner().invoke(main.app, [*command, option, typed], env={"COLUMNS": "2000"})
    assert done.exit_code == 2
    assert f"{option}: expected more than 0: 0/min refuses everything of {of}. `none` removes" in done.output
    assert SECRET_KEY not in done.output
    for words in ("refuses everything", "`none` removes the quota", "channels archive", "Nothing was changed"):
        assert words in done.output


@pytest.mark.parametrize("typed", ["prdo", "prd", "prood", "pro", "staign", "stagin", "productoin", "prodcution"])
def test_a_slip_in_an_environment_makes_none(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`keys mint --environment productoin` made an environment that nothing removes, and a live key of it."""
    registry: Any = Registry()
    registry.made += [Environment(organisation="default", slug=slug) for slug in ("production", "staging", "eu")]
    before = list(registry.made)
    with pytest.raises(Failed, match=r"did you mean (prod|production|staging)\?.*--new-environment.*Nothing was"):
        asyncio.run(check_environment(registry, typed, is_new=False))
    asyncio.run(check_environment(registry, typed, is_new=True))
    assert registry.made == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("typed", ["prod", "test", "eu", "us", "prod-us", "prod2", "qa", "development"])
def test_other_environments_are_made_as_ever(typed: str) -> None:
    registry: Any = Registry()
    registry.made += [Environment(organisation="default", slug=slug) for slug in ("eu", "prod-eu", "prod1")]
    asyncio.run(check_environment(registry, typed, is_new=False))


def test_edits_are_counted_as_a_person_makes_them() -> None:
    pairs = {("a", "a"): 0, ("ab", "ba"): 1, ("abc", "ac"): 1, ("ac", "abc"): 1, ("abc", "axc"): 1, ("", "ab"): 2}
    assert {pair: edits(*pair) for pair in pairs} == pairs
    assert edits("productoin", "production") == 1


@pytest.mark.parametrize("command", [keys._mint, channels_module.create_channel])
def test_every_command_that_makes_environments_checks_first(command: Any) -> None:
    """Before the channel or the key: what failed after it would leave it behind."""
    source = inspect.getsource(command)
    made = min(source.index(word) for word in ("registry.mint(", "registry.create_channel(") if word in source)
    assert source.index("check_environment(") < made


def test_used_quotas_and_archived_channels_are_noted() -> None:
    """`status` said OK and nothing else while senders got 429 and 403."""
    senders = [
        RefusedSender("quota:key", "acme", "5a8f" + "0" * 12, 0, 3),
        RefusedSender("quota:organisation:rows", "acme", "", 0, 1),
        RefusedSender("403:archived_channel", "acme", "", 1, 2),
    ]
    status = Status(refused_senders=senders)
    key, organisation, channel = status.notes
    assert "key 5a8f000000000000 has used its quota (--quota): 3 requests refused" in key
    assert "(429)" in key
    assert "organisation acme has used its quota (--quota-rows): 1 request refused" in organisation
    assert "`axonpush organisations limit acme --quota-rows N/min`" in organisation
    assert "channel 1 is archived and still used: 2 requests refused" in channel
    assert "(403)" in channel
    assert not set(status.notes) & set(status.problems)
    assert status.as_json()["refused_senders"][2]["channel"] == 1


def test_a_quota_that_is_just_used_up_is_noted_before_a_refusal_is_stored() -> None:
    uses = [
        QuotaUse(of, name, "acme", {Unit.REQUESTS: used}, {Unit.REQUESTS: 5})
        for of, name, used in (("key", "k1", 5), ("key", "k2", 4), ("organisation", "acme", 6), ("key", "k3", 5))
    ]
    notes = Status(quotas=uses, refused_senders=[RefusedSender("quota:key", "acme", "k3", 0, 3)]).notes
    assert [note.split(" has used")[0] for note in notes] == ["key k3", "key k1", "organisation acme"]


def test_a_clickhouse_that_hangs_is_not_said_to_come_back_by_itself() -> None:
    silent = {"ClickHouse": "expected an answer of ClickHouse at http://a:1, found no answer in time: it is stopped"}
    text = Status(unknown=silent, up=LocalUp("7", "/d/logs", "4711")).problems[0]
    assert "its process runs but does not answer (pid 4711)" in text.replace("ClickHouse's process", "its process")
    assert "kill -9 4711" in text
    assert "by itself" not in text
    slow = {"ClickHouse": "no answer within 8 s"}
    assert "kill -9 4711" in Status(unknown=slow, up=LocalUp("7", "/d/logs", "4711")).problems[0]


def test_the_process_of_the_clickhouse_of_up_is_known_while_it_lives(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("7")
    with (tmp_path / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for pids, pid in (([os.getpid()], str(os.getpid())), ([], ""), (["x"], ""), ([2**22 + 1], "")):
            (tmp_path / "ready.json").write_text(json.dumps({"pids": {"clickhouse": pids}}))
            found = running_up(tmp_path)
            assert found
            assert found.clickhouse_pid == pid


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


def test_a_key_of_the_first_start_was_never_used_whatever_the_seconds() -> None:
    """A key that was created at 04:31:58 on a system of 04:32 was called "not since 04:31"."""
    for second in (0, 1, 58, 59):
        since = known_since(dt.datetime(2026, 11, 27, 4, 32, second), 0, NOW)
        assert LastUse({}, since).text("new", f"2026-11-27T04:31:{second:02}Z") == "never"
    assert LastUse({}, known_since(dt.datetime(2026, 11, 27, 4, 32), 0, NOW)).text("old", "2026-11-27T04:29:59Z") != (
        "never"
    )


def test_rows_of_status_are_not_wider_than_a_screen_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """One long error made every row of the table 340 characters wide."""
    status_screen._print_servers(Status(unknown={"reconciliation": "words " * 60, "quotas": "short"}))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) < 160
    assert "…" in shown
    assert "short" in shown


@pytest.mark.parametrize(
    ("dry_run", "rest"), [(True, "would be imported; nothing was changed"), (False, "was imported")]
)
def test_a_dry_run_of_an_import_with_a_conflict_says_that_nothing_was_imported(
    dry_run: bool, rest: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It said that the rest of the file was imported. With `--json` too; both exit with 1."""
    done = Imported(added=["channel.1"], conflicts=[ChannelConflict(7, "rival", "acme", 2)])
    asked: list[bool] = []

    def written(*_: object, overwrite: bool, dry_run: bool) -> Imported:
        assert not overwrite
        asked.append(dry_run)
        return done

    monkeypatch.setattr(registry_file, "_import", written)
    source = tmp_path / "registry.jsonl"
    source.write_bytes(encode([], "2026-11-21T10:00:00Z"))
    for options in ([], ["--json"]):
        run = CliRunner().invoke(
            main.app, ["registry", "import", str(source), *options, *(["--dry-run"] if dry_run else [])]
        )
        assert isinstance(run.exception, Failed)
        assert f"in the file: 2 keys of the file cannot send to it. The rest of the file {rest}. If" in str(
            run.exception
        )
    assert asked == [dry_run, dry_run]
