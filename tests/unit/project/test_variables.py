"""Every program refuses unknown AXONPUSH_* variables and names the nearest right one; each name we use is known."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.runtime.environment.names import SETTINGS
from ops.runtime.environment.variables import KNOWN, explanation, unknown_variables
from tests.servers import environment

ROOT = Path(__file__).resolve().parents[3]
# Texts that begin like a variable: a prefix in prose, and names that tests make up.
READERS = ("ops/deploy", "docs", ".ci", "README.md", "Makefile", "docker-compose.yml", "docker-compose.dev.yml")
PROGRAMS = [
    ["-m", "receiver"],
    ["-m", "workers", "all"],
    *(
        ["-m", "ops.cli", *command.split()]
        for command in (
            "receiver",
            "worker all",
            "migrate",
            "cluster show",
            "janitor",
            "canary",
            "status",
            "keys list",
            "dead list",
            "replay --since 1h",
            "registry export -",
            "up",
        )
    ),
    ["-m", "ops.cli", "sql", "SELECT 1"],
]


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_every_program_refuses_unknown_variables(program: list[str], tmp_path: Path) -> None:
    """All of them at once, before anything is done; values are not shown."""
    wrong = {"AXONPUSH_NATS_REPLICA": "3", "AXONPUSH_RAW_MAX_BITES": "77777", "axonpush_frobnicate": "77777"}
    done = subprocess.run(
        [sys.executable, *program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=environment(**wrong),
    )
    assert done.returncode == 2
    assert "AXONPUSH_NATS_REPLICA (did you mean AXONPUSH_NATS_REPLICAS?)" in done.stderr
    assert "AXONPUSH_RAW_MAX_BITES (did you mean AXONPUSH_RAW_MAX_BYTES?)" in done.stderr
    assert "axonpush_frobnicate (no setting has a similar name)" in done.stderr
    assert "77777" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_is_shown_all_the_same() -> None:
    """Who looks for the right name needs it."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "migrate", "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(AXONPUSH_NATS_REPLICA="3"),
    )
    assert (done.returncode, "Usage:" in done.stdout) == (0, True)


def test_a_shared_env_file_may_hold_what_our_other_programs_read() -> None:
    """Compose's passwords, the variables of nats-server, of the event SDK, and of our tests."""
    shared = {
        "AXONPUSH_NATS_RECEIVER_PASSWORD": "x",
        "AXONPUSH_HTTPS_PORT": "443",
        "AXONPUSH_API_KEY": "ak_x",
        "AXONPUSH_REQUIRE_CLIENTS": "1",
        "axonpush_log_level": "info",
        "OTHER_VARIABLE": "x",
    }
    assert unknown_variables(shared) == []


def test_kubernetes_names_of_services_are_no_settings() -> None:
    """It sets them for every service of the namespace; elsewhere they are unknown."""
    links = {
        "AXONPUSH_WEB_SERVICE_HOST": "10.0.0.1",
        "AXONPUSH_WEB_SERVICE_PORT": "80",
        "AXONPUSH_WEB_SERVICE_PORT_HTTP": "80",
        "AXONPUSH_WEB_PORT": "tcp://10.0.0.1:80",
        "AXONPUSH_WEB_PORT_80_TCP": "tcp://10.0.0.1:80",
        "AXONPUSH_WEB_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert unknown_variables(links | {"KUBERNETES_SERVICE_HOST": "10.0.0.2"}) == []
    assert unknown_variables(links) == sorted(links)
    assert unknown_variables({"AXONPUSH_WEB_PORT": "80", "KUBERNETES_SERVICE_HOST": "10.0.0.2"}) == [
        "AXONPUSH_WEB_PORT"
    ]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_nearest_name_is_the_one_that_was_meant(setting: str) -> None:
    """One letter too few or too many."""
    for wrong in (setting[:-1] + "_" + setting[-1], setting[:12] + setting[13:]):
        if wrong not in KNOWN:
            assert f"did you mean {setting}?" in explanation([wrong])


@pytest.mark.parametrize("path", READERS)
def test_every_variable_in_files_of_ours_is_known(path: str) -> None:
    """A file that sets an unknown one would stop every program that reads it."""
    target = ROOT / path
    files = [one for one in target.rglob("*") if one.is_file()] if target.is_dir() else [target]
    texts = [one.read_text(errors="ignore") for one in files if one.suffix not in (".pyc", ".png")]
    names = {name for text in texts for name in re.findall(r"\bAXONPUSH_[A-Z0-9_]*[A-Z0-9]\b", text)}
    prefixes = {name for name in names if any(known.startswith(f"{name}_") for known in KNOWN)}
    assert names - KNOWN - prefixes == set()


def test_a_setting_that_was_removed_is_refused_with_the_reason() -> None:
    """Left over in a shell, AXONPUSH_WORKER_DRY_RUN consumed live messages, and senders were told `stored`."""
    names = unknown_variables({"AXONPUSH_WORKER_DRY_RUN": "true"})
    assert "AXONPUSH_WORKER_DRY_RUN (removed: such a worker consumed live messages" in explanation(names)
