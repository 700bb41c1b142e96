"""`up` of a folder with servers of its own, in a shell that names the servers of another system."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ops.cli import terminal
from ops.local import up as local_up
from ops.local.data_dir import DataDir
from ops.local.start.addresses import Options
from ops.local.start.named_servers import check_own_servers, tell_mended
from ops.local.up import LocalSystem, up
from ops.provisioning.lost_tables import lost_rows_text, relations_of
from ops.provisioning.tables import known
from ops.runtime.failures import Failed

NATS, CLICKHOUSE = "AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"
OTHERS = {NATS: "nats://operator:hush@10.0.0.1:4222", CLICKHOUSE: "http://10.0.0.2:8123"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)


def with_data(root: Path, *names: str) -> DataDir:
    for name in names:
        (root / name / "store").mkdir(parents=True)
    return DataDir(root)


@pytest.mark.parametrize("named", [(NATS,), (CLICKHOUSE,), (NATS, CLICKHOUSE)])
def test_a_folder_with_a_system_of_its_own_is_not_started_on_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...]
) -> None:
    with_data(tmp_path, "nats", "clickhouse").keep_known("5ec2bf51" + "0" * 24)
    for name in named:
        monkeypatch.setenv(name, OTHERS[name])
    for process_wide in ("protect_output", "create_files_for_owner_only"):
        monkeypatch.setattr(local_up, process_wide, lambda: None)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Failed, match=r"holds a system of its own \(id 5ec2bf51, nats/ and clickhouse/\)") as raised:
        asyncio.run(up(Options(tmp_path), terminal.console()))
    text = str(raised.value)
    assert all((name in text) == (name in named) for name in OTHERS)
    assert "Nothing was started" in text
    assert "--data-dir" in text
    assert "hush" not in text
    assert set(tmp_path.rglob("*")) - set(before) <= {tmp_path / "lock", tmp_path / ".gitignore"}


def test_a_folder_of_an_older_version_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no note of its id; and the default folder is named by nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(NATS, OTHERS[NATS])
    folder = with_data(Path(".axonpush"), "nats", "clickhouse")
    with pytest.raises(Failed, match=r"of its own \(nats/ and clickhouse/\)"):
        check_own_servers(folder)


def test_a_disk_that_is_not_mounted_is_no_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_data(tmp_path, "nats", "clickhouse").keep_known("a" * 32)
    for name in ("nats", "clickhouse"):
        (tmp_path / name / "store").rmdir()
    monkeypatch.setenv(NATS, OTHERS[NATS])
    with pytest.raises(Failed, match="of its own"):
        check_own_servers(DataDir(tmp_path))


@pytest.mark.parametrize(("own", "named"), [((), (NATS, CLICKHOUSE)), (("nats",), (CLICKHOUSE,))])
def test_a_folder_that_always_used_outside_servers_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: tuple[str, ...], named: tuple[str, ...]
) -> None:
    for name in named:
        monkeypatch.setenv(name, OTHERS[name])
    for _ in range(2):
        folder = with_data(tmp_path / str(_), *own)
        folder.keep_known("a" * 32)
        check_own_servers(DataDir(folder.root))
        assert bool(folder.system_id) == bool(own)


def test_the_id_is_noted_anew_after_an_adoption(tmp_path: Path) -> None:
    folder = with_data(tmp_path, "nats", "clickhouse")
    for system_id in ("a" * 32, "b" * 32):
        folder.keep_known(system_id)
        assert json.loads((tmp_path / "system.json").read_text()) == {"system_id": system_id}
    assert DataDir(tmp_path).is_known


def test_an_empty_folder_of_the_user_had_nothing_to_correct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A first start in a folder that was just made said that a file was accessible to others."""
    empty, full = tmp_path / "empty", tmp_path / "full"
    for root in (empty, full):
        root.mkdir()
        root.chmod(0o755)
    (full / "credentials.json").write_text("{}")
    (full / "credentials.json").chmod(0o644)
    for root in (empty, full):
        folder = DataDir(root)
        with folder.locked():
            tell_mended(folder, terminal.console())
        assert ("accessible to other users" in capsys.readouterr().out) == (root == full)
        assert root.stat().st_mode & 0o777 == 0o700


def test_every_warning_of_up_has_its_folder_in_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line about repaired tables advised a replay of another system: that of the default folder."""
    text = lost_rows_text([relations_of(known())["event_rows"]], "2026-11-27 04:00")
    for command in (text, "try `axonpush up --adopt-tables`, `axonpush replay --data-dir x`, `kill -9 7`"):
        warned(tmp_path / "a folder", command)
    shown = capsys.readouterr().out
    option = f"--data-dir '{tmp_path.resolve()}/a folder'"
    assert f"`axonpush replay --since '2026-11-27 04:00' {option}`" in shown
    assert f"`axonpush up --adopt-tables {option}`, `axonpush replay --data-dir x`, `kill -9 7`" in shown
    monkeypatch.chdir(tmp_path)
    warned(Path(".axonpush"), text)
    assert text in capsys.readouterr().out, "the default folder needs no option"


def warned(root: Path, text: str) -> None:
    """Prints a warning as a running `up` of this folder does."""
    system = object.__new__(LocalSystem)
    system._folder, system._console = DataDir(root), terminal.console()
    system._warn(text)


@pytest.mark.asyncio
async def test_what_ends_up_names_its_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its warnings did: `axonpush up --adopt-tables` of an error began another system in the default folder."""

    async def refused(_options: Options, _console: object) -> None:
        raise Failed("Only if it is lost for good: `axonpush up --adopt-tables`")

    monkeypatch.setattr(local_up, "_up", refused)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failed) as raised:
        await up(Options(tmp_path / "d"), terminal.console())
    assert str(raised.value).endswith(f"`axonpush up --adopt-tables --data-dir {tmp_path.resolve() / 'd'}`")
    with pytest.raises(Failed, match=r"`axonpush up --adopt-tables`$"):
        await up(Options(Path(".axonpush")), terminal.console())
