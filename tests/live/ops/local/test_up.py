"""`axonpush up`: the real command, its children, its folder and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ops.local.data_dir import MARKER
from ops.provisioning.amounts import exact_size, for_people
from ops.provisioning.streams import MIB
from tests.conftest import MakeSystem
from tests.polling import ANSWER_TIMEOUT_S, DEADLINE_S, eventually
from tests.servers import Server, free_port
from tests.system import System

pytestmark = pytest.mark.live

SMALL_STREAMS = {f"AXONPUSH_{stream}_MAX_BYTES": "500000000" for stream in ("RAW", "ITEMS", "DEAD")}
READY_FIELDS = {
    "url", "dsn", "api_key", "public_token", "channel", "environment", "clickhouse_url",
    "clickhouse_users", "nats_url", "console_url", "console_login_url",
    "auth_token", "organisation", "project", "pids", "runs", "public_url"
}  # fmt: skip
KINDS = ("receiver", "worker", "console", "alerts", "nats", "clickhouse")


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and was not yet waited for does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def serves(system: System) -> bool:
    """Whether the receiver answers."""
    with urllib.request.urlopen(f"{system.ready['url']}/ready", timeout=60) as answer:
        return bool(answer.status == 200)


def test_ready_json_says_all_that_is_promised(system: System) -> None:
    """Every field, process ids of living processes, and keys readable by the owner only."""
    ready = system.ready
    assert set(ready) == READY_FIELDS
    assert all(alive(pid) for kind in KINDS for pid in ready["pids"][kind])
    assert all(ready["pids"][kind] for kind in KINDS)
    assert ready["dsn"] == ready["url"].replace("://", f"://{ready['public_token']}@") + "/1"
    for name in ("ready.json", "credentials.json"):
        assert stat.S_IMODE((system.data_dir / name).stat().st_mode) == 0o600
    assert (ready["organisation"], ready["project"]) == ("default", "first")
    with urllib.request.urlopen(f"{ready['console_url']}/ready", timeout=60) as answer:
        assert answer.status == 200
    assert serves(system)


def test_the_output_is_there_to_be_copied(system: System) -> None:
    """DSN, OTLP settings and a first query, each on one unbroken line."""
    # It is printed when ready.json is written, not before.
    eventually(lambda: "\nLogs\n" in system.output.read_text(), "the whole output")
    lines = [line.strip() for line in system.output.read_text().splitlines()]
    ready = system.ready
    assert f"export SENTRY_DSN={ready['dsn']}" in lines
    assert f"export OTEL_EXPORTER_OTLP_ENDPOINT={ready['url']}" in lines
    assert f"export OTEL_EXPORTER_OTLP_HEADERS=x-api-key={ready['api_key']},x-axonpush-channel=1" in lines
    assert f"export SENTRY_URL={ready['console_url']}" in lines
    assert f"export SENTRY_AUTH_TOKEN={ready['auth_token']}" in lines
    assert "export SENTRY_ORG=default SENTRY_PROJECT=first" in lines
    assert any("axonpush sql 'SELECT" in line for line in lines)


def open_to_others(folder: Path) -> list[str]:
    """Everything in a folder, itself included, that group or others have any right to."""
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if not path.is_symlink() and path.lstat().st_mode & 0o077]


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose children may be killed, in surroundings that have a secret, on a folder of an earlier version.

    That folder stood open to all, and so would whatever is made under umask 022.
    """
    running = System(tmp_path_factory.mktemp("own"), SOMEBODYS_TOKEN="hunter2")
    old = os.umask(0o022)
    try:
        (running.data_dir / "logs").mkdir(parents=True, mode=0o755)
        (running.data_dir / "logs/worker-1.log").write_text("what an earlier run logged")
        assert len(open_to_others(running.data_dir)) == 3
        running.start()
    finally:
        os.umask(old)
    try:
        yield running
        assert running.stop() == 0
        assert open_to_others(running.data_dir) == []
    finally:
        running.end()


def test_a_folder_that_stood_open_is_closed_with_all_that_is_made_in_it(own_system: System) -> None:
    """Parts, streams, logs, configurations: real modes; and so it is when everything has stopped."""
    own_system.cli("channels", "create", "--id", "78", "--name", "some-more")
    own_system.query_only("INSERT INTO outcome_rows (minute, channel_id, quantity) VALUES (now(), 78, 5)")
    assert open_to_others(own_system.data_dir) == []
    names = {path.suffix for path in own_system.data_dir.rglob("*")}
    assert {".blk", ".bin", ".log", ".conf", ".json"} <= names
    assert "3 files and folders" in own_system.output.read_text()


def test_children_get_no_secrets_of_the_surroundings(own_system: System) -> None:
    """Of the environment they see our settings and what a program needs to run."""
    assert own_system.process is not None
    assert b"hunter2" in Path(f"/proc/{own_system.process.pid}/environ").read_bytes()
    children = own_system.processes()
    assert len(children) >= len(KINDS)
    assert not [pid for pid in children if b"hunter2" in Path(f"/proc/{pid}/environ").read_bytes()]


def test_a_second_up_on_the_same_folder_says_so_and_stops(system: System) -> None:
    """It names the process that has the folder, exits 1, and disturbs nothing."""
    before = system.ready
    second = subprocess.run(
        system.up_command(), capture_output=True, text=True, check=False, timeout=120, env=system.environment
    )
    assert second.returncode == 1
    assert system.process is not None
    assert f"process {system.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert system.ready == before


def test_a_taken_port_is_named_with_its_option(system: System, make_system: MakeSystem) -> None:
    """The message says which port, and which option moves it."""
    port = system.ready["url"].rpartition(":")[2]
    other = make_system("--port", port)
    done = subprocess.run(
        other.up_command(), capture_output=True, text=True, check=False, timeout=120, env=other.environment
    )
    assert done.returncode == 1
    assert re.search(rf"port {port} .*another program.*--port", done.stderr)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_child_is_restarted_and_ready_json_stays_true(own_system: System, kind: str) -> None:
    """kill -9, any of them: soon another process serves at the same address, and ready.json names it."""
    system = own_system
    before = system.ready
    told = len(system.output.read_text())
    (victim,) = before["pids"][kind]
    os.kill(victim, signal.SIGKILL)

    def replaced() -> dict[str, Any]:
        now = system.ready
        return now if now["pids"][kind] and victim not in now["pids"][kind] else {}

    after = eventually(replaced, f"another {kind} in ready.json")
    assert all(alive(pid) for pid in after["pids"][kind])
    assert {**after, "pids": None} == {**before, "pids": None}
    eventually(lambda: serves(system), "the receiver to serve")
    assert eventually(lambda: system.query("SELECT 1 AS one"), "ClickHouse") == [{"one": 1}]
    assert f"{kind}" in system.output.read_text()[told:]


def test_a_folder_that_others_could_change_is_refused(make_system: MakeSystem) -> None:
    """Exit code 1, one message that says what to do, nothing started and nothing changed."""
    system = make_system()
    system.data_dir.mkdir(parents=True)
    (system.data_dir / "ready.json").write_text("{}")
    system.data_dir.chmod(0o777)
    done = subprocess.run(
        system.up_command(), capture_output=True, text=True, check=False, timeout=120, env=system.environment
    )
    assert done.returncode == 1
    assert "chmod -R go-rwx" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert [path.name for path in system.data_dir.iterdir()] == ["ready.json"]
    assert stat.S_IMODE(system.data_dir.stat().st_mode) == 0o777


def test_a_signal_while_starting_stops_cleanly(make_system: MakeSystem) -> None:
    """No waiting for the start to finish, and nothing is left of it."""
    system = make_system()
    with system.output.open("ab") as output:
        system.process = subprocess.Popen(system.up_command(), stdout=output, stderr=output, env=system.environment)
    eventually(system.processes, "a first child")
    assert system.stop(signal.SIGINT) == 0
    assert system.processes() == []
    assert "Traceback" not in system.output.read_text()


def test_children_do_not_outlive_a_killed_up(own_system: System) -> None:
    """kill -9 of `up` itself: its children end by themselves, and the next start works on the same data.

    What carries this folder's mark and still runs when `up` has the lock is an earlier run's, and is ended.
    """
    before = own_system.ready
    assert own_system.process is not None
    own_system.process.kill()
    own_system.process.wait()
    eventually(lambda: not own_system.processes(), "the children to end")
    mark = {MARKER: str(own_system.data_dir.resolve())}
    with subprocess.Popen(["sleep", "600"], env=os.environ | mark) as leftover:
        own_system.start()
        assert leftover.wait(DEADLINE_S) == -signal.SIGTERM
    assert "left behind" in own_system.output.read_text()
    assert own_system.ready["api_key"] == before["api_key"]


def assert_stops_cleanly(system: System, number: signal.Signals, processes: int) -> None:
    """Exit code 0, no process left, no ready.json that would lie."""
    pids = [pid for kind in KINDS for pid in system.ready["pids"][kind]]
    assert len(pids) == processes
    assert system.stop(number) == 0
    assert not any(alive(pid) for pid in pids)
    assert system.processes() == []
    assert system.ready == {}


def listed_channels(system: System) -> list[int]:
    return [channel["id"] for channel in json.loads(system.cli("channels", "list", "--json").stdout)]


def test_a_signal_stops_everything_cleanly_and_a_restart_keeps_keys_data_and_sizes(own_system: System) -> None:
    """The same DSN, the minted key and the channel are there after a stop and a start on other ports, with two workers.

    Until somebody chooses a size, `up` computes it from the disk; a variable that disagrees later is said, not applied.
    """
    system = own_system
    said = len(system.output.read_text())
    before, channels = system.ready, listed_channels(system)
    shown = json.loads(system.cli("cluster", "show", "--json").stdout)
    assert shown["desired"]["sizes_by_disk"]
    size = shown["desired"]["dead_max_bytes"] + MIB
    done = system.cli("cluster", "set", "--dead-max-bytes", str(size))
    assert "the other sizes stay as they are now" in done.stdout
    system.cli("channels", "create", "--id", "77", "--name", "kept")
    minted = system.mint("--channel", "77", environment="production")
    system.query_only("INSERT INTO outcome_rows (minute, channel_id, quantity) VALUES (now(), 77, 5)")
    assert_stops_cleanly(system, signal.SIGINT, len(KINDS))
    system.environment["AXONPUSH_DEAD_MAX_BYTES"] = str(64 * MIB)
    system.arguments = ("--workers", "2")
    system.start()
    asked, keeps = for_people("64 MiB", exact_size(size))
    assert f"AXONPUSH_DEAD_MAX_BYTES is {asked}, but this system keeps {keeps}" in system.output.read_text()
    kept = json.loads(system.cli("cluster", "show", "--json").stdout)
    assert (kept["desired"]["dead_max_bytes"], kept["desired"]["sizes_by_disk"]) == (size, False)
    assert (kept["actual"]["dead_max_bytes"], kept["problems"]) == (exact_size(size), [])
    after = system.ready
    assert (after["api_key"], after["public_token"]) == (before["api_key"], before["public_token"])
    assert listed_channels(system) == sorted([*channels, 77])
    assert not json.loads(system.cli("keys", "revoke", minted, "--json").stdout)["id"].startswith("ak_")
    assert system.query("SELECT quantity FROM outcomes WHERE channel_id = 77") == [{"quantity": 5}]
    assert_stops_cleanly(system, signal.SIGTERM, len(KINDS) + 1)
    assert "Traceback" not in system.output.read_text()[said:]


def test_a_child_that_cannot_start_is_explained(make_system: MakeSystem) -> None:
    """The last lines of its log are in the message; the others are stopped again."""
    system = make_system(AXONPUSH_COUNTS_WAIT_OTLP_MS="minus one")
    done = subprocess.run(
        system.up_command(), capture_output=True, text=True, check=False, timeout=120, env=system.environment
    )
    assert done.returncode == 1
    assert "receiver ended repeatedly" in done.stderr
    assert "counts_wait_otlp_ms" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert system.processes() == []
    assert not system.data_dir.exists(), "nothing was stored, so nothing is left"


def test_a_taken_port_leaves_no_folder(system: System, make_system: MakeSystem) -> None:
    """It is said before anything is written."""
    port = system.ready["url"].rpartition(":")[2]
    other = make_system("--port", port)
    done = subprocess.run(
        other.up_command(), capture_output=True, text=True, check=False, timeout=120, env=other.environment
    )
    assert (done.returncode, port in done.stderr) == (1, True)
    assert not other.data_dir.exists()


def test_the_first_query_runs_as_it_is_printed(system: System) -> None:
    """From a shell that has no `axonpush` on its PATH."""
    lines = system.output.read_text().splitlines()
    query = lines[lines.index("A first query") + 1].strip()
    environment = system.environment | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", query], capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert "timestamp" in done.stdout


def test_a_named_server_is_used_instead_of_the_embedded_one(system: System, make_system: MakeSystem) -> None:
    """AXONPUSH_NATS_URL and AXONPUSH_CLICKHOUSE_URL: no such child, and the given addresses in ready.json.

    The first lines say so, and the other system's registry gets no keys that nobody has asked for.
    """
    urls = {"nats_url": system.ready["nats_url"], "clickhouse_url": system.operator_url()}
    before = system.cli("keys", "list", "--json").stdout
    other = make_system(AXONPUSH_NATS_URL=urls["nats_url"], AXONPUSH_CLICKHOUSE_URL=urls["clickhouse_url"]).start()
    assert other.ready["pids"]["nats"] == other.ready["pids"]["clickhouse"] == []
    assert {name: other.ready[name] for name in urls} == urls
    assert other.ready["api_key"] == other.ready["public_token"] == other.ready["dsn"] == ""
    assert other.stop() == 0
    assert system.cli("keys", "list", "--json").stdout == before
    said = other.output.read_text()
    assert "uses NATS of AXONPUSH_NATS_URL" in said.splitlines()[0]
    assert "uses ClickHouse of AXONPUSH_CLICKHOUSE_URL" in said.splitlines()[1]
    assert "axonpush keys mint" in said
    assert "this machine only" not in said
    assert "ak_" not in said
    assert urlsplit(urls["nats_url"]).password not in said


@pytest.mark.long
def test_an_empty_registry_of_a_named_server_gets_first_keys(own_nats_server: Server, make_system: MakeSystem) -> None:
    """They are the folder's own, so the next start there uses the same ones; another folder gets none."""
    system = make_system(AXONPUSH_NATS_URL=own_nats_server.url, **SMALL_STREAMS).start()
    keys = system.ready["api_key"], system.ready["public_token"]
    assert all(keys)
    assert system.stop() == 0
    system.start()
    assert (system.ready["api_key"], system.ready["public_token"]) == keys
    assert len(json.loads(system.cli("keys", "list", "--json").stdout)) == len(keys)
    assert system.stop() == 0


def test_sql_prints_a_table_json_or_any_format(system: System) -> None:
    """For eyes, for scripts, and whatever ClickHouse can write; the query's own FORMAT wins over the table."""
    assert "│" in system.cli("sql", "SELECT 1 AS one").stdout
    assert json.loads(system.cli("sql", "SELECT number FROM numbers(2)", "--json").stdout) == [
        {"number": 0},
        {"number": 1},
    ]
    assert system.cli("sql", "SELECT 1, 'a'", "--format", "CSV").stdout == '1,"a"\n'
    assert system.cli("sql", "SELECT 1 AS a FORMAT TSV").stdout == "1\n"


def test_sql_repeats_the_servers_error(system: System) -> None:
    """With its code, on stderr, exit 1."""
    done = system.cli("sql", "SELECT nonsense FROM events", check=False)
    assert done.returncode == 1
    assert "UNKNOWN_IDENTIFIER" in done.stderr
    assert done.stdout == ""


def test_commands_explain_a_server_that_is_away(make_system: MakeSystem) -> None:
    """Without a running `up` every command says where it looked and what to do."""
    system = make_system()
    system.data_dir.mkdir()
    port = free_port()
    settings = {
        "AXONPUSH_NATS_URL": f"nats://127.0.0.1:{port}",
        "AXONPUSH_CLICKHOUSE_URL": f"http://127.0.0.1:{port}",
    }
    for command in (["channels", "list"], ["migrate"], ["sql", "SELECT 1"]):
        done = system.cli(*command, check=False, **settings)
        assert done.returncode == 1
        assert str(port) in done.stderr
        assert "axonpush up" in done.stderr
        assert "Traceback" not in done.stderr


def test_mint_makes_a_missing_environment_and_says_so(system: System) -> None:
    """Stdout carries the key alone, so that a script can take it."""
    done = system.cli("keys", "mint", "--environment", "brand-new", "--quota", "60/min")
    assert re.fullmatch(r"ak_[A-Za-z0-9]{32}\n", done.stdout)
    assert "environment brand-new is new and was created" in done.stderr
    assert "brand-new" in system.cli("environments", "list").stdout
    assert done.stdout.strip() not in system.cli("keys", "list").stdout


def broker_answer(port: int, **user: str) -> bytes:
    """The broker's answer to a client that connects and sends a PING."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection,
        connection.makefile("rb") as answers,
    ):
        answers.readline()  # INFO
        connection.sendall(b"CONNECT %b\r\nPING\r\n" % json.dumps({"verbose": False, **user}).encode())
        return answers.readline().strip()


def test_the_broker_needs_a_password(system: System) -> None:
    """Other users of this machine can read and write nothing; no command line shows a password."""
    address = urlsplit(str(system.ready["nats_url"]))
    assert address.port
    operator = {"user": str(address.username), "pass": str(address.password)}
    assert broker_answer(address.port, **operator) == b"PONG"
    for user in ({}, operator | {"pass": "guess"}, {"user": "operator"}):
        assert broker_answer(address.port, **user) == b"-ERR 'Authorization Violation'"
    secrets = json.loads((system.data_dir / "broker_passwords.json").read_bytes())
    for name in ("broker_passwords.json", "nats.conf"):
        assert stat.S_IMODE((system.data_dir / name).stat().st_mode) == 0o600
    for kind, pids in system.ready["pids"].items():
        for pid in pids:
            told = {name: Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")}
            for role, password in secrets.items():
                assert password.encode() not in told["cmdline"]
                # The janitor changes streams, so it has the operator's password.
                own = "operator" if kind == "janitor" else kind
                assert (password.encode() in told["environ"]) == (role == own), (kind, role)


def programs_environment(system: System, **settings: str) -> dict[str, str]:
    """For a program of its own beside the system, with these settings."""
    servers = {"AXONPUSH_CLICKHOUSE_URL": system.operator_url(), "AXONPUSH_PORT": "0"}
    return system.environment | servers | settings


def test_a_worker_with_a_wrong_password_of_nats_says_so(system: System) -> None:
    """One sentence and the exit code of a wrong setting, wherever the password is."""
    address = urlsplit(str(system.ready["nats_url"]))
    plain = f"nats://127.0.0.1:{address.port}"
    for told in (
        {"AXONPUSH_NATS_URL": plain, "AXONPUSH_NATS_USER": "worker", "AXONPUSH_NATS_PASSWORD": "hush"},
        {"AXONPUSH_NATS_URL": plain.replace("//", "//worker:hush@")},
        {"AXONPUSH_NATS_URL": plain},
    ):
        done = subprocess.run(
            [sys.executable, "-m", "workers", "event"],
            env=programs_environment(system, **told),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 2, done.stderr
        assert "AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "password_is_right", "line"),
    [
        (["receiver"], False, b"AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD"),
        (["ops.cli", "janitor"], False, b"AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD"),
        (["workers", "event"], True, b"worker_started"),
        (["receiver"], True, b"receiver_ready"),
        (["ops.cli", "janitor"], True, b"janitor_started"),
    ],
)
def test_a_program_says_that_nats_refuses_it_and_its_own_setting_wins_over_the_address(
    system: System, tmp_path: Path, module: list[str], password_is_right: bool, line: bytes
) -> None:
    """They may go on trying, but not without a word; a user given twice is no traceback."""
    address = urlsplit(str(system.ready["nats_url"]))
    told = {
        "AXONPUSH_NATS_URL": f"nats://other:guess@127.0.0.1:{address.port}",
        "AXONPUSH_NATS_USER": str(address.username),
        "AXONPUSH_NATS_PASSWORD": str(address.password) if password_is_right else "hush",
    }
    output = tmp_path / "output"
    with (
        output.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", *module], env=programs_environment(system, **told), stdout=out, stderr=out
        ) as program,
    ):
        try:
            eventually(lambda: line in output.read_bytes(), f"{line!r} in the output")
            assert b"Traceback" not in output.read_bytes()
        finally:
            program.terminate()
