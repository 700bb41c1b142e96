"""The parts of `axonpush up` that need no running system."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli.main import app
from ops.cli.servers import find_settings, stored_budgets
from ops.local import logfile, nats_server, ports
from ops.local.data_dir import DataDir
from ops.local.logfile import LogFile
from ops.local.start.addresses import Options
from ops.local.start.start_message import command_line
from ops.local.supervisor import Program, StartFailed, Supervisor
from ops.runtime.failures import Failed
from tests.polling import DEADLINE_S, eventually


def test_budgets_stay_as_they_were_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that somebody wrote into the file stay while they fit; the environment still wins."""
    folder = DataDir(tmp_path)
    folder.write_json(tmp_path / "budgets.json", {"raw_max_bytes": 123 * 1024**2})
    assert folder.budgets().raw_max_bytes == 123 * 1024**2
    monkeypatch.setenv("AXONPUSH_RAW_MAX_BYTES", str(10**9))
    assert folder.budgets().raw_max_bytes == 10**9
    assert stored_budgets(tmp_path) == {}


def test_files_with_keys_are_written_whole_and_private(tmp_path: Path) -> None:
    """Replaced by a rename, readable by the owner only, nothing left beside."""
    folder = DataDir(tmp_path)
    folder.write_json(folder.credentials, {"api_key": "ak_1"})
    folder.write_json(folder.credentials, {"api_key": "ak_2"})
    assert folder.read_credentials() == {"api_key": "ak_2"}
    assert stat.S_IMODE(folder.credentials.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["credentials.json"]


def test_a_failed_first_start_leaves_no_folder(tmp_path: Path) -> None:
    """A taken port, a wrong setting of a child's: the folder and its parents are gone again."""
    root = tmp_path / "new" / "deeper"
    folder = DataDir(root)
    with folder.locked():
        folder.broker_passwords()
        folder.nats.mkdir()
        (folder.nats / "store").write_bytes(b"x")
        folder.remove_new()
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_a_failed_start_stays(tmp_path: Path) -> None:
    """Files of others, data of an earlier run, and links are not touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    root = tmp_path / "data"
    (root / "nats").mkdir(parents=True)
    root.chmod(0o700)
    (root / "nats" / "old").write_text("old")
    (root / "notes.txt").write_text("mine")
    folder = DataDir(root)
    with folder.locked():
        folder.broker_passwords()
        (root / "logs").symlink_to(outside)
        folder.remove_new()
    assert sorted(one.name for one in root.iterdir()) == ["nats", "notes.txt"]
    assert (root / "nats" / "old").read_text() == "old"
    assert (outside / "kept").read_text() == "kept"


@pytest.mark.parametrize("lost", ["clickhouse", "nats"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_refused_start_leaves_nothing_in_a_lost_half(tmp_path: Path, lost: str, is_there: bool) -> None:
    """One server's folder is gone, or empty because its disk is not mounted: nothing is made in it for good, and both
    are compared before anything starts."""
    kept = {"nats": "clickhouse", "clickhouse": "nats"}[lost]
    (tmp_path / kept / "store").mkdir(parents=True)
    if is_there:
        (tmp_path / lost).mkdir()
    before = sorted(tmp_path.rglob("*"))
    folder = DataDir(tmp_path)
    assert not folder.is_known
    with folder.locked():
        (tmp_path / lost / "store").mkdir(parents=True)
        (tmp_path / lost / "passwords.json").write_text("{}")
        (tmp_path / "ready.json").write_text("{}")
        folder.remove_new()
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_are_known_after_a_good_start(tmp_path: Path) -> None:
    """New ones, and those of the last good start; not what was put in the place of one."""
    assert DataDir(tmp_path).is_known, "a first start"
    for name in ("nats", "clickhouse"):
        (tmp_path / name / "store").mkdir(parents=True)
    folder = DataDir(tmp_path)
    assert not folder.is_known, "of an older version, or copied here"
    folder.keep_known()
    assert DataDir(tmp_path).is_known
    (tmp_path / "clickhouse").rename(tmp_path / "old")
    (tmp_path / "clickhouse/store").mkdir(parents=True)
    assert not DataDir(tmp_path).is_known


def test_new_passwords_of_a_lost_clickhouse_are_known(tmp_path: Path) -> None:
    assert not DataDir(tmp_path).lost_clickhouse, "a first start"
    (tmp_path / "nats/jetstream").mkdir(parents=True)
    assert DataDir(tmp_path).lost_clickhouse
    (tmp_path / "clickhouse").mkdir()
    (tmp_path / "clickhouse/passwords.json").write_text("{}")
    assert not DataDir(tmp_path).lost_clickhouse


def test_a_file_of_the_user_is_not_overwritten(tmp_path: Path) -> None:
    """`--data-dir .` in a repository."""
    (tmp_path / ".gitignore").write_text("*.log\n")
    with DataDir(tmp_path).locked():
        assert (tmp_path / ".gitignore").read_text() == "*.log\n"


def test_a_named_folder_must_be_that_of_a_running_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the command would work on another system, also with both addresses in the environment."""
    for name in ("AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Failed, match="no folder"):
        find_settings(tmp_path / "none")
    with pytest.raises(Failed, match=r"found no ready.json"):
        find_settings(tmp_path)
    monkeypatch.setenv("AXONPUSH_NATS_URL", "nats://10.0.0.1:4222")
    with pytest.raises(Failed, match=r"found no ready.json"):
        find_settings(tmp_path)
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_URL", "http://10.0.0.2:8123")
    with pytest.raises(Failed, match=r"found no ready.json"):
        find_settings(tmp_path)
    with pytest.raises(Failed, match="no folder"):
        find_settings(tmp_path / "none")


@pytest.mark.parametrize("place", ["on the path", "in this folder", "elsewhere", "nowhere"])
def test_the_printed_command_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Its name only where the shell finds this very program by it."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    for path in (program, program.with_name("axonpush")):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    if place == "nowhere":
        program.with_name("axonpush").unlink()
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("PATH", str(program.parent) if place == "on the path" else str(tmp_path / "other"))
    (tmp_path / "beside").mkdir()
    monkeypatch.chdir(tmp_path if place == "in this folder" else tmp_path / "beside")
    expected = {
        "on the path": ["axonpush"],
        "in this folder": ["./bin/axonpush"],
        "elsewhere": [str(program.with_name("axonpush"))],
        "nowhere": [str(program), "-m", "ops.cli"],
    }
    assert command_line() == expected[place]


def test_a_locked_folder_names_its_owner(tmp_path: Path) -> None:
    """The second one is told which process to stop."""
    with DataDir(tmp_path).locked(), pytest.raises(Failed, match=f"process {os.getpid()}"), DataDir(tmp_path).locked():
        pass
    with DataDir(tmp_path).locked():  # free again
        assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_addresses_come_from_ready_json_unless_the_environment_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that commands typed beside a running `up` just work."""
    monkeypatch.delenv("AXONPUSH_NATS_URL", raising=False)
    monkeypatch.setattr("ops.cli.servers.DEFAULT_DATA_DIR", tmp_path)
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_URL", "http://elsewhere:1")
    (tmp_path / "ready.json").write_text(json.dumps({"nats_url": "nats://here:2", "clickhouse_url": "http://here:3"}))
    found = find_settings(tmp_path)
    assert (found.nats_url, found.clickhouse_url) == ("nats://here:2", "http://elsewhere:1")


def test_chosen_ports_differ_and_are_free() -> None:
    """0 is any free port, and two options never get the same one."""
    chosen = ports.choose(dict.fromkeys(("--a", "--b", "--c"), ("127.0.0.1", 0)))
    assert len(set(chosen.values())) == 3
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", chosen["--a"]))


def test_a_taken_port_is_an_error_with_its_option() -> None:
    """Which port, and what to type instead."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(Failed, match=rf"port {port} .*Give --port another"):
            ports.choose({"--port": ("127.0.0.1", port)})


def test_the_broker_syncs_every_message_and_takes_the_largest_body() -> None:
    """An acknowledged event is on disk; 6 MB and headers fit."""
    text = nats_server.config(host="127.0.0.1", port=4222, store_dir=Path("/a b/c"), max_file_bytes=1)
    assert "sync_interval: always" in text
    assert nats_server.MAX_PAYLOAD_BYTES > 6_000_000
    assert '"/a b/c"' in text
    assert nats_server.binary().is_file()


def test_a_log_is_cut_and_keeps_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's descriptor goes on at the new end; control characters never reach a terminal."""
    monkeypatch.setattr(logfile, "MAX_BYTES", 10)
    log = LogFile(tmp_path / "x.log")
    with log.open() as output:
        output.write(b"0123456789ab\n")
        output.flush()
        log.cut()
        output.write(b"\x1b[31mred\n")
    assert log.tail(5) == ["[31mred"]
    assert (tmp_path / "x.log.1").read_bytes() == b"0123456789ab\n"


def program(tmp_path: Path, code: str, **options: float) -> Program:
    """A child that runs some Python."""
    return Program("child", "worker", [sys.executable, "-c", code], LogFile(tmp_path / "child.log"), **options)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_dead_child_is_restarted(tmp_path: Path) -> None:
    """And the process ids that are reported change with it."""
    warnings: list[str] = []
    supervisor = Supervisor(dict(os.environ), lambda: None, warnings.append)
    await supervisor.start(program(tmp_path, "import time; time.sleep(600)"), DEADLINE_S)
    (first,) = supervisor.pids("worker")
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        while supervisor.pids("worker") in ([], [first]):
            await asyncio.sleep(0.02)
    await supervisor.stop("worker")
    await supervisor.close()
    assert supervisor.pids("worker") == []
    assert "SIGKILL" in warnings[0]


@pytest.mark.asyncio
async def test_a_child_that_never_serves_is_explained(tmp_path: Path) -> None:
    """With what it said last, and without trying for ever."""
    supervisor = Supervisor(dict(os.environ), lambda: None, lambda _text: None)

    async def no() -> bool:
        return False

    broken = Program(
        "child", "worker", [sys.executable, "-c", "raise SystemExit('no luck')"], LogFile(tmp_path / "l.log"), no
    )
    with pytest.raises(StartFailed, match="no luck"):
        await supervisor.start(broken, 30)
    await supervisor.stop("worker")
    await supervisor.close()


@pytest.mark.asyncio
async def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    """The stop is bounded, and it says so."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )

    warnings: list[str] = []
    supervisor = Supervisor(dict(os.environ), lambda: None, warnings.append)
    child = program(tmp_path, code, stop_timeout_s=0.2)
    await supervisor.start(child, DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        while child.log.tail(1) != ["deaf"]:
            await asyncio.sleep(0.02)
    (pid,) = supervisor.pids("worker")
    await supervisor.stop("worker")
    await supervisor.close()
    assert "killed" in warnings[-1]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_dead_child_left_behind_is_ended_before_anything_is_waited_for(tmp_path: Path) -> None:
    """Also when the probe does not end: a grandchild with the data open would meet the next process."""
    grandchild = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"

    async def run() -> None:
        supervisor = Supervisor(dict(os.environ), lambda: None, lambda _text: None)
        hung = asyncio.Event()

        async def probe() -> bool:
            while not hung.is_set():
                with suppress(asyncio.CancelledError):
                    await hung.wait()
            return False

        base = program(tmp_path, grandchild)
        starting = asyncio.create_task(supervisor.start(replace(base, probe=probe), 60))
        async with asyncio.timeout(DEADLINE_S):
            while not base.log.tail(1):
                await asyncio.sleep(0.02)
            pid = int(base.log.tail(1)[0])
            while (Path("/proc") / str(pid)).exists() and not _zombie(pid):
                await asyncio.sleep(0.02)
        hung.set()
        supervisor.kill()
        await supervisor.close()
        with pytest.raises(StartFailed):
            await starting

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_child_stops_with_its_parent(tmp_path: Path) -> None:
    """Even when the parent is killed and cannot tell anybody."""
    from ops.local import stop_with_parent

    sleeper = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(600)"
    parent = (
        "import os, subprocess, sys, time;"
        "child = [sys.executable, '-I', '-S', sys.argv[1], str(os.getpid())];"
        "subprocess.Popen([*child, sys.executable, '-c', sys.argv[2]]);"
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", parent, str(stop_with_parent.__file__), sleeper]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.wait()
        eventually(lambda: not (Path("/proc") / str(pid)).exists() or _zombie(pid), "the child to end")


def _zombie(pid: int) -> bool:
    return "State:\tZ" in (Path("/proc") / str(pid) / "status").read_text()


@pytest.mark.parametrize(
    ("variable", "option"),
    [("AXONPUSH_NATS_URL", "--nats-port"), ("AXONPUSH_CLICKHOUSE_URL", "--clickhouse-port")],
)
def test_the_port_of_a_server_that_the_environment_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, option: str
) -> None:
    """Who gives a port means an embedded server; `up` would join another system instead. 0 asks for no port."""
    monkeypatch.delenv("AXONPUSH_NATS_URL", raising=False)
    monkeypatch.delenv("AXONPUSH_CLICKHOUSE_URL", raising=False)
    started = []

    async def up(options: Options, _console: object) -> None:
        started.append(options)

    monkeypatch.setattr("ops.local.up.up", up)
    arguments = ["up", "--data-dir", str(tmp_path / "data"), option, "4333"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    monkeypatch.setenv(variable, "tls://user:hush@elsewhere:1")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert f"{option} 4333" in " ".join(done.output.split())
    assert f"unset {variable}" in " ".join(done.output.split())
    assert "hush" not in done.output
    assert CliRunner().invoke(app, [*arguments[:-1], "0"]).exit_code == 0
    assert CliRunner().invoke(app, arguments[:-2]).exit_code == 0
    assert len(started) == 3
