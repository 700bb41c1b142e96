"""The systemd units of ops/deploy/machines: what they start, what they may do, how long they may take to stop."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from console.settings import ConsoleSettings
from ops.cli.main import app
from ops.runtime.environment.names import SETTINGS
from receiver.settings import ReceiverSettings
from tests.plain_machine import PlainMachine
from tests.systemd_units import Unit, env_file, read_unit
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[5]
UNITS = ROOT / "ops/deploy/machines/systemd"
INSTANCES = {
    "axonpush-nats@": "1",
    "axonpush-receiver@": "8080",
    "axonpush-console@": "8081",
    "axonpush-worker@": "9101",
}
NAMES = sorted(path.stem + INSTANCES.get(path.stem, "") for path in UNITS.glob("*.service"))
each_unit = pytest.mark.parametrize("name", NAMES)


def unit(name: str) -> Unit:
    return read_unit(UNITS, f"{name}.service")


@each_unit
def test_a_unit_starts_a_command_of_ours_with_settings_of_its_process(name: str, site: Path) -> None:
    """The command exists, its variables do, and each file of settings is one that `prepare` writes."""
    found = unit(name)
    program, *arguments = found.command("ExecStart", {"TYPES": "all", "ENGINE_HOST": "127.0.0.1"})
    assert program.startswith("/opt/axonpush/current/bin/")
    if program.endswith("/axonpush"):
        assert arguments[0] in getattr(get_command(app), "commands", {})
    files = [Path(path).name for path in found.settings["EnvironmentFile"] if not path.startswith("-")]
    assert [file for file in files if not (site / file).exists()] == []
    own = {line.partition("=")[0] for line in found.settings["Environment"]}
    assert {one for one in own if one.startswith("AXONPUSH_")} <= set(SETTINGS)
    assert not own & set().union(*(env_file(site / file) for file in files)), "the file would win"


@each_unit
def test_a_unit_may_do_little(name: str) -> None:
    """No rights, no writing but its own folder; the rules of the drop-in reach every unit by its name."""
    found = unit(name)
    expected = {
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
        "PrivateDevices": "yes", "RestrictNamespaces": "yes", "CapabilityBoundingSet": "", "KillMode": "mixed",
        "Restart": "always", "UMask": "0077",
    }  # fmt: skip
    assert {key: found.last(key, "missing") for key in expected} == expected
    assert found.settings["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert bool(found.settings["DynamicUser"]) != bool(found.settings["User"])
    owners = re.findall(r"^u (\S+)", (UNITS / "axonpush.sysusers").read_text(), re.MULTILINE)
    if found.settings["User"]:
        assert found.last("User") == found.last("StateDirectory")
        assert found.last("User") in owners
    assert found.last("MemoryDenyWriteExecute") == ("" if name == "axonpush-engine" else "yes")


def test_processes_may_finish_before_they_are_killed() -> None:
    """TimeoutStopSec is longer than a drain; a broker gives up its leaderships first."""
    drains = {
        "axonpush-receiver@8080": ReceiverSettings().drain_timeout_s,
        "axonpush-worker@9101": WorkerSettings().worker_drain_s,
        "axonpush-console@8081": ConsoleSettings().console_drain_timeout_s,
    }
    for name, drain_s in drains.items():
        assert drain_s + 10 <= float(unit(name).last("TimeoutStopSec"))
    lame_duck = re.search(r"lame_duck_duration: (\d+)s", (ROOT / "ops/deploy/nats/cluster.conf").read_text())
    assert lame_duck is not None
    nats = unit("axonpush-nats@1")
    assert int(lame_duck[1]) + 10 <= float(nats.last("TimeoutStopSec"))
    assert nats.last("KillSignal") == "SIGUSR2"
    assert all(unit(name).last("TimeoutStopSec") for name in NAMES)


def test_the_port_of_a_process_is_in_the_name_of_its_unit() -> None:
    """So that several on one machine need no files of their own."""
    variables = {
        "receiver@8090": "AXONPUSH_PORT",
        "console@8091": "AXONPUSH_CONSOLE_PORT",
        "worker@9200": "AXONPUSH_WORKER_METRICS_PORT",
    }
    for name, variable in variables.items():
        lines = unit(f"axonpush-{name}").settings["Environment"]
        assert f"{variable}={name.partition('@')[2]}" in lines
    assert "-/etc/axonpush/worker-9200.env" in unit("axonpush-worker@9200").settings["EnvironmentFile"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """systemd's own check, without a word; only the programs are elsewhere."""
    machine = PlainMachine(tmp_path)
    folder = tmp_path / "etc/systemd/system"
    shutil.copytree(machine.checkout / "ops/deploy/machines/systemd", folder, dirs_exist_ok=True)
    (tmp_path / "opt/axonpush/current").symlink_to(machine.checkout / "venv")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(f"{name}.service" for name in NAMES)],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "axonpush" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_engine_gets_its_passwords_without_credentials_of_systemd() -> None:
    """In a container systemd 252 cannot mount them, and gives the service a folder that it may not read."""
    engine = unit("axonpush-engine")
    assert not engine.settings["LoadCredential"]
    assert engine.last("ExecStartPre").startswith("+"), "as root: /etc/axonpush is closed for the engine"
    assert engine.command("ExecStartPre", {"USER": "axonpush-engine"})[1:3] == ["--owner=axonpush-engine", "--mode=600"]
