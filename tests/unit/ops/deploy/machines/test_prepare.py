"""The settings that `ops/deploy/machines/prepare` writes, against those of the programs, the broker and ClickHouse."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.alerts.settings import AlertsSettings
from console.settings import ConsoleSettings
from ops.canary.round_trips import CanarySettings
from ops.local.clickhouse_http.access.users import passwords
from ops.local.nats_server import binary
from ops.provisioning.streams import Budgets
from ops.runtime.environment.names import SETTINGS
from ops.runtime.settings import Settings
from receiver.settings import ReceiverSettings
from tests.systemd_units import env_file
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[5]
GIB = 1024**3
KINDS: dict[str, Any] = {
    "receiver": ReceiverSettings,
    "worker": WorkerSettings,
    "console": ConsoleSettings,
    "alerts": AlertsSettings,
    "canary": CanarySettings,
}
Prepare = Callable[..., subprocess.CompletedProcess[str]]


def known(kind: Any) -> set[str]:
    return {f"AXONPUSH_{field.upper()}" for field in kind.model_fields}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_a_file_are_settings_of_its_process(kind: str, site: Path) -> None:
    """Those that are commented out too: somebody will remove the sign."""
    file = site / f"{kind}.env"
    names = set(env_file(file)) | set(re.findall(r"^#(AXONPUSH_\w+)=", file.read_text(), re.MULTILINE))
    assert names <= known(KINDS[kind]), names - known(KINDS[kind])
    kind_of = KINDS[kind]
    kind_of(**{name.removeprefix("AXONPUSH_").lower(): value for name, value in env_file(file).items()})


def test_the_operators_file_is_for_every_command(site: Path) -> None:
    """Programs refuse a variable that none of them knows."""
    given = env_file(site / "operator.env")
    assert set(given) <= set(SETTINGS)
    assert given["AXONPUSH_NATS_REPLICAS"] == "3"
    assert given["AXONPUSH_CLICKHOUSE_URL"] == "http://10.0.0.4:8123"


def test_each_process_has_the_least_of_the_users(site: Path) -> None:
    """As under Compose: a receiver cannot reach ClickHouse at all, a canary not the broker."""
    found = {path.stem: env_file(path) for path in site.glob("*.env")}
    nats = {name: given.get("AXONPUSH_NATS_USER") for name, given in found.items() if name in (*KINDS, "operator")}
    assert nats == {**{role: role for role in (*KINDS, "operator")}, "canary": None}
    assert not [name for name in found["receiver"] if "CLICKHOUSE" in name]
    users = {
        name: found[name]["AXONPUSH_CLICKHOUSE_USER"] for name in ("worker", "console", "alerts", "canary", "operator")
    }
    assert users == {
        "worker": "axonpush_worker",
        "console": "axonpush_console",
        "alerts": "axonpush_alerts",
        "canary": "axonpush_reader",
        "operator": "axonpush_operator",
    }


def test_every_password_is_where_its_server_expects_it(site: Path, tmp_path: Path) -> None:
    """One password for each user, the same on both sides; none twice."""
    broker, clickhouse = env_file(site / "nats-1.env"), env_file(site / "clickhouse.env")
    for kind in ("receiver", "worker", "console", "alerts", "operator"):
        given = env_file(site / f"{kind}.env")
        assert broker[f"AXONPUSH_NATS_{kind.upper()}_PASSWORD"] == json.dumps(given["AXONPUSH_NATS_PASSWORD"])
    roles = {name: name.upper() for name in ("worker", "console", "alerts", "operator")} | {"canary": "READER"}
    for file, role in roles.items():
        password = env_file(site / f"{file}.env")["AXONPUSH_CLICKHOUSE_PASSWORD"]
        assert clickhouse[f"AXONPUSH_CLICKHOUSE_{role}_PASSWORD"] == password
    asked = set(re.findall(r'from_env="(\w+)"', (ROOT / "ops/deploy/clickhouse/users.d/axonpush.xml").read_text()))
    assert set(clickhouse) == asked
    shutil.copy(site / "clickhouse/passwords.json", tmp_path)
    engine = {user.removeprefix("axonpush_").upper(): password for user, password in passwords(tmp_path).items()}
    assert {f"AXONPUSH_CLICKHOUSE_{role}_PASSWORD": password for role, password in engine.items()} == clickhouse
    words = list(env_file(site / "passwords.env").values())
    assert all(re.fullmatch(r"[0-9a-f]{48}", word) for word in words)
    assert len(set(words)) == len(words) == 12


def test_files_are_for_their_owner_and_a_second_run_changes_nothing(prepare: Prepare, site: Path) -> None:
    """Also with other options: what exists stays, and is named."""
    files = [path for path in site.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (*files, site)} == {0}
    assert not [path for path in files if re.search(r"@[A-Z_]+@", path.read_text())]
    before = {path: path.read_bytes() for path in files}
    done = prepare(str(site), "--public", "https://other.example.com")
    assert done.returncode == 0
    assert f"{site}/console.env stays as it is" in done.stdout
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a folder"),
        (("site", "--brokers", "10.0.0.1 10.0.0.2"), "three addresses"),
        (("site", "--brokers", "a b c;d"), "found 'c;d'"),
        (("site", "--public", "https://x|y"), "found 'https://x|y'"),
        (("site", "--clickhouse"), "a value after --clickhouse"),
        (("site", "--replicas", "3"), "found --replicas"),
        (("site", "other"), "one folder"),
        (("a&b",), "found"),
    ],
)
def test_a_wrong_call_writes_nothing(
    prepare: Prepare, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, with what was expected and found."""
    monkeypatch.chdir(tmp_path)
    done = prepare(*arguments)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert message in done.stderr
    assert "Nothing was written" in done.stderr


@pytest.mark.parametrize("folder", ["site", "alone"])
def test_brokers_know_each_other_and_programs_know_them(folder: str, request: pytest.FixtureRequest) -> None:
    """Names, ports and routes of the three agree, on three machines and on one; the server takes file and variables."""
    site: Path = request.getfixturevalue(folder)
    code = "".join((ROOT / "ops/deploy/nats" / name).read_text() for name in ("cluster.conf", "accounts.conf"))
    asked = set(re.findall(r"\$(AXONPUSH_\w+)", "\n".join(line.split("#")[0] for line in code.splitlines())))
    members = [env_file(site / f"nats-{number}.env") for number in (1, 2, 3)]
    assert [one["AXONPUSH_NATS_SERVER_NAME"] for one in members] == ["nats-1", "nats-2", "nats-3"]
    routes = {tuple(json.loads(one["AXONPUSH_NATS_ROUTES"])) for one in members}
    (listed,) = routes
    password = json.loads(members[0]["AXONPUSH_NATS_ROUTES_PASSWORD"])
    servers = Settings(nats_url=env_file(site / "operator.env")["AXONPUSH_NATS_URL"]).nats_servers()
    hosts = [f"10.0.0.{number}" for number in (1, 2, 3)] if folder == "site" else ["127.0.0.1"] * 3
    for index, one in enumerate(members):
        assert set(one) == asked
        port, cluster = (
            json.loads(one[f"AXONPUSH_NATS_{name}"]).split(":")[1] for name in ("LISTEN", "CLUSTER_LISTEN")
        )
        assert servers[index] == f"nats://{hosts[index]}:{port}"
        assert listed[index] == f"nats://routes:{password}@{hosts[index]}:{cluster}"
        room = re.fullmatch(r"(\d+)GB", one["AXONPUSH_NATS_MAX_FILE_STORE"])
        assert room is not None
        assert int(room[1]) * GIB >= Budgets().total_bytes()
        done = subprocess.run(
            [binary(), "-c", site / "cluster.conf", "-t"],
            env=one,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    for name in ("LISTEN", "CLUSTER_LISTEN", "MONITOR", "STORE_DIR"):
        assert len({one[f"AXONPUSH_NATS_{name}"] for one in members}) == (
            3 if name == "STORE_DIR" or folder == "alone" else 1
        )


def test_rights_on_the_broker_are_those_of_the_other_installations(site: Path) -> None:
    """The very files, copied."""
    for name in ("cluster.conf", "accounts.conf"):
        assert (site / name).read_bytes() == (ROOT / "ops/deploy/nats" / name).read_bytes()


def test_nothing_but_the_balancer_listens_beyond_one_machine(alone: Path, site: Path) -> None:
    """Alone, everything is on the loopback address; a broker's health, which has no password, always."""
    for name, variable in (
        ("receiver", "AXONPUSH_HOST"),
        ("console", "AXONPUSH_CONSOLE_HOST"),
        ("alerts", "AXONPUSH_ALERTS_HOST"),
    ):
        assert env_file(alone / f"{name}.env")[variable] == "127.0.0.1"
        assert env_file(site / f"{name}.env")[variable] == "0.0.0.0"
    text = "".join(path.read_text() for path in alone.glob("*.env"))
    assert "0.0.0.0" not in "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert all('"127.0.0.1:' in env_file(site / f"nats-{n}.env")["AXONPUSH_NATS_MONITOR"] for n in (1, 2, 3))
