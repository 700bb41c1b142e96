"""Slips in commands on the registry: wrong numbers look like success, a mistyped name makes something."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.cli import main
from ops.cli.registry import channels as channels_module
from ops.cli.registry import file as registry_file
from ops.cli.registry import keys
from ops.cli.registry.options import check_environment, ensure_environment
from ops.registry import channel_check
from ops.registry.channel_check import check_channels
from ops.registry.file_copy import ChannelConflict, Imported, encode_file
from ops.registry.last_use import LastUse, known_since
from ops.registry.names import edits
from ops.runtime.failures import Failed
from schemas.registry import Channel, Environment, key_hash

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


def test_a_key_of_the_first_start_was_never_used_whatever_the_seconds() -> None:
    """A key that was created at 04:31:58 on a system of 04:32 was called "not since 04:31"."""
    for second in (0, 1, 58, 59):
        since = known_since(dt.datetime(2026, 11, 27, 4, 32, second), 0, NOW)
        assert LastUse({}, since).text("new", f"2026-11-27T04:31:{second:02}Z") == "never"
    assert LastUse({}, known_since(dt.datetime(2026, 11, 27, 4, 32), 0, NOW)).text("old", "2026-11-27T04:29:59Z") != (
        "never"
    )


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
    source.write_bytes(encode_file([], "2026-11-21T10:00:00Z"))
    for options in ([], ["--json"]):
        run = CliRunner().invoke(
            main.app, ["registry", "import", str(source), *options, *(["--dry-run"] if dry_run else [])]
        )
        assert isinstance(run.exception, Failed)
        assert f"in the file: 2 keys of the file cannot send to it. The rest of the file {rest}. If" in str(
            run.exception
        )
    assert asked == [dry_run, dry_run]
