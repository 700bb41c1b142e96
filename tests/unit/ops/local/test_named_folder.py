"""A folder that --data-dir names and addresses in variables: they name one system, or the command refuses."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import servers, terminal
from ops.cli.main import app
from ops.cli.servers import find_settings, program_address, same_servers
from ops.cli.unreachable import unreachable
from ops.runtime.failures import Failed

NATS, CLICKHOUSE = "AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"
READY = {"nats_url": "nats://me:hush@127.0.0.1:4333", "clickhouse_url": "http://127.0.0.1:8333"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of an `up`, in an empty shell; it is the working directory's default folder too."""
    for name in (NATS, CLICKHOUSE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    made = tmp_path / ".axonpush"
    made.mkdir()
    (made / "ready.json").write_text(json.dumps(READY))
    monkeypatch.setattr(terminal, "_named_folder", [])
    return made


@pytest.mark.parametrize(
    ("variable", "address"), [(NATS, "nats://you:secret@10.0.0.1:4222"), (CLICKHOUSE, "http://10.0.0.2:8123")]
)
def test_a_named_folder_beside_other_servers_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    """The command wrote to the servers of the variables."""
    monkeypatch.setenv(variable, address)
    with pytest.raises(Failed, match=f"Unset {variable}, or leave out --data-dir") as raised:
        find_settings(folder)
    text = str(raised.value)
    assert str(folder) in text
    assert address.rpartition("@")[2] in text
    assert "secret" not in text
    assert "hush" not in text


def test_a_command_that_asks_clickhouse_alone_names_its_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sql` said that it works on a broker of another system, and showed rows of this one."""
    monkeypatch.setenv(NATS, "nats://you:secret@10.0.0.1:4222")
    assert (
        find_settings(folder.relative_to(Path.cwd()), asks=("clickhouse_url",)).clickhouse_url
        == READY["clickhouse_url"]
    )
    text = capsys.readouterr().err
    assert f"asks {READY['clickhouse_url']} of the `axonpush up` that runs in .axonpush" in text
    assert f"{NATS} (nats://10.0.0.1:4222)" in text
    assert f"set {CLICKHOUSE}" in text
    assert "works on" not in text
    assert "secret" not in text
    monkeypatch.setenv(CLICKHOUSE, "http://10.0.0.2:8123")
    find_settings(folder.relative_to(Path.cwd()), asks=("clickhouse_url",))
    text = capsys.readouterr().err
    assert text.count("warning") == 1
    assert "works on http://10.0.0.2:8123 of AXONPUSH_CLICKHOUSE_URL" in text


def test_variables_of_the_same_servers_are_fine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of the `up` itself, which had them when it was started."""
    monkeypatch.setenv(NATS, "nats://localhost:4333")
    monkeypatch.setenv(CLICKHOUSE, "http://op:pw@127.0.0.1:8333/")
    assert find_settings(folder).nats_url == "nats://localhost:4333"


def test_without_the_option_variables_win(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folder is no choice; the same folder typed as an option is one."""
    assert folder.is_dir()
    monkeypatch.setenv(NATS, "nats://10.0.0.1:4222")
    assert find_settings(servers.DEFAULT_DATA_DIR).nats_url == "nats://10.0.0.1:4222"
    done = CliRunner().invoke(app, ["organisations", "create", "only", "--data-dir", ".axonpush"])
    assert isinstance(done.exception, Failed)
    assert f"Unset {NATS}, or leave out --data-dir" in str(done.exception)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("nats://a:1,nats://b:2", "tls://u:p@b:2", True),
        ("nats://a", "nats://a:4222", True),
        ("http://a", "http://a:8123", True),
        ("a:1", "nats://a:1", True),
        ("http://[::1]:8123", "http://localhost:8123", True),
        ("nats://a:1", "nats://a:2", False),
        ("nats://a:port", "nats://b:1", False),
    ],
)
def test_addresses_are_compared_by_server(one: str, other: str, same: bool) -> None:
    assert same_servers(one, other) is same


def test_the_parent_of_the_folder_names_it(folder: Path) -> None:
    """A frequent slip."""
    with pytest.raises(Failed, match=f"--data-dir {folder} is one"):
        find_settings(folder.parent)


def told(variable: str = NATS) -> str:
    return unreachable("NATS", "nats://127.0.0.1:4222", variable, ConnectionRefusedError())


def test_advice_is_true_beside_variables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A --data-dir beside them is refused, so they are to be unset first."""
    assert folder.is_dir()
    assert "or name the --data-dir of an `axonpush up`, or set" not in told()
    monkeypatch.setenv(CLICKHOUSE, "http://10.0.0.2:8123")
    assert f"unset {CLICKHOUSE} and name the --data-dir" in told()
    monkeypatch.setenv(NATS, "nats://10.0.0.1:4222")
    assert (
        f"Start it if it does not run; else correct {NATS}, or unset {NATS} and {CLICKHOUSE} and name the --data-dir"
    ) in told()
    refused = unreachable("NATS", "nats://a:1", NATS, PermissionError("Authorization Violation"))
    assert f"or unset {NATS} and {CLICKHOUSE} and name the --data-dir" in refused


def test_a_stopped_up_is_said_to_be_stopped(folder: Path) -> None:
    """Not only that a default address, which it never had, does not answer."""
    assert "stopped" not in told()
    (folder / "ready.json").unlink()
    assert "found the `axonpush up` of .axonpush stopped" in told()
    assert "Start `axonpush up` in this folder" in told()


def test_nobody_is_told_to_start_what_runs(folder: Path) -> None:
    (folder / "lock").write_text("4711")
    with (folder / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        text = told(CLICKHOUSE)
    assert "runs (process 4711)" in text
    assert "Start `axonpush up`" not in text


@pytest.mark.parametrize(
    ("variable", "names"),
    [("AXONPUSH_CANARY_URL", ("url", "public_url")), ("AXONPUSH_CONSOLE_URL", ("console_url",))],
)
def test_a_named_folder_beside_the_address_of_another_program_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, names: tuple[str, ...]
) -> None:
    """The canary sent to one system and looked for its row in another; a token named another console."""
    own = [f"http://127.0.0.1:{8500 + place}" for place in range(len(names))]
    (folder / "ready.json").write_text(json.dumps(READY | dict(zip(names, own, strict=True))))
    monkeypatch.delenv(variable, raising=False)
    assert program_address(folder, variable, names) == own[0]
    for address in own:
        monkeypatch.setenv(variable, address)
        assert program_address(folder, variable, names) == address
    monkeypatch.setenv(variable, "https://in.example.com")
    with pytest.raises(Failed, match=f"Unset {variable}, or leave out --data-dir"):
        program_address(folder, variable, names)
    monkeypatch.setattr(terminal, "_named_folder", [])
    assert program_address(Path(".axonpush"), variable, names) == "https://in.example.com", "the default is no choice"


@pytest.mark.parametrize("has_ready", [True, False])
def test_a_command_beside_a_stopped_up_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, has_ready: bool
) -> None:
    """It went to whatever had the default addresses, such as the servers of docker-compose.dev.yml."""
    if has_ready:
        assert find_settings(servers.DEFAULT_DATA_DIR).nats_url == READY["nats_url"]
        return
    (folder / "ready.json").unlink()
    (folder / "lock").write_text("4711")
    with (folder / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Failed, match=r"that runs here \(process 4711\), found no such file"):
            find_settings(servers.DEFAULT_DATA_DIR)
    (folder / "lock").unlink()
    with pytest.raises(Failed, match="found it stopped: start it with `axonpush up`"):
        find_settings(servers.DEFAULT_DATA_DIR)
    monkeypatch.setenv(NATS, "nats://10.0.0.1:4222")
    assert find_settings(servers.DEFAULT_DATA_DIR).nats_url == "nats://10.0.0.1:4222"
    monkeypatch.delenv(NATS)
    folder.rmdir()
    assert find_settings(servers.DEFAULT_DATA_DIR).nats_url == "nats://127.0.0.1:4222"


@pytest.mark.parametrize(
    ("variable", "address"), [(NATS, "nats://you:secret@10.0.0.1:4222"), (CLICKHOUSE, "http://h:1")]
)
def test_a_variable_that_wins_over_a_running_up_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, address: str
) -> None:
    """`migrate`, `cluster set`, `dead drop` and `artifacts prune` changed another system without a word."""
    assert folder.is_dir()
    find_settings(servers.DEFAULT_DATA_DIR)
    monkeypatch.setenv(variable, READY[variable.removeprefix("AXONPUSH_").lower()])
    find_settings(servers.DEFAULT_DATA_DIR)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(variable, address)
    find_settings(servers.DEFAULT_DATA_DIR)
    told = capsys.readouterr().err
    assert f"works on {address.replace('you:secret@', '')} of {variable}, not on" in told
    find_settings(servers.DEFAULT_DATA_DIR)  # as commands do that look twice
    assert capsys.readouterr().err == ""
    assert told.count("\n") == 1
    assert "secret" not in told
    assert "hush" not in told
