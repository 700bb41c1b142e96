"""docker-compose.yml against the Compose specification, the list of workers, the command line and the settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from ops.janitor import JanitorSettings
from ops.nats_server import binary
from ops.runtime import Settings
from ops.streams import Budgets
from receiver.settings import ReceiverSettings
from schemas.subjects import SOURCES
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"nats", "clickhouse"}
OURS = {name: service for name, service in SERVICES.items() if name not in SERVERS}


def with_defaults(text: str) -> str:
    """The file as Compose reads it in an empty environment: `${NAME:-default}` becomes its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_compose_file_obeys_the_specification() -> None:
    """Every key, value, duration and reference is one the Compose specification knows."""
    plain = with_defaults(TEXT)
    assert "${" not in plain, "every variable needs a default, or a plain `docker compose up` asks for it"
    PyCompose.from_json(json.dumps(yaml.safe_load(plain))).validate()


def test_there_is_one_service_for_each_worker() -> None:
    """The workers of the file are the workers of schemas.subjects.SOURCES, each started under its own name."""
    workers = {name for name in OURS if name not in {"migrate", "receiver", "janitor"}}
    assert workers == set(SOURCES)
    assert {name: SERVICES[name]["command"] for name in workers} == {name: ["worker", name] for name in workers}


def test_the_rest_of_the_services_is_known() -> None:
    """Servers, one migration, one receiver, one janitor."""
    assert set(SERVICES) == SERVERS | {"migrate", "receiver", "janitor"} | set(SOURCES)
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize("word", sorted({service["command"][0] for service in OURS.values()}))
def test_every_command_is_one_of_ours(word: str) -> None:
    """`axonpush <command> --help` knows it."""
    command = [sys.executable, "-c", "from ops.cli import main; main()", word, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(OURS))
def test_settings_of_a_service_are_settings_of_its_process(name: str) -> None:
    """A misspelt AXONPUSH_* variable would be ignored in silence."""
    own = {"migrate": (Settings, Budgets), "receiver": (ReceiverSettings,), "janitor": (JanitorSettings,)}
    kinds = own.get(name, (WorkerSettings,))
    known = {f"AXONPUSH_{field.upper()}" for kind in kinds for field in kind.model_fields}
    assert set(OURS[name]["environment"]) <= known


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_lasting_service_is_checked_and_may_finish(name: str) -> None:
    """Health check, restart, and a minute to drain."""
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "60s"


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_processes_wait_for_the_migration(name: str) -> None:
    """Streams and tables exist before anybody uses them; the migration waits for healthy servers."""
    assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["migrate"]["depends_on"] == {server: {"condition": "service_healthy"} for server in SERVERS}


def test_data_outlives_the_containers() -> None:
    """Both servers keep their data in named volumes."""
    used = {volume.split(":")[0] for name in SERVERS for volume in SERVICES[name]["volumes"]}
    assert used == set(COMPOSE["volumes"])


def test_image_holds_the_copied_rooms() -> None:
    """The Dockerfile copies what .dockerignore lets through, runs as an ordinary user and starts `axonpush`."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert 'ENTRYPOINT ["axonpush"]' in dockerfile


def test_nats_configuration_is_one_the_server_takes() -> None:
    """The real nats-server parses it, and it says what an acknowledgement promises."""
    path = ROOT / COMPOSE["configs"]["nats"]["file"]
    done = subprocess.run([binary(), "-c", path, "-t"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert re.search(r"^\s*sync_interval: always$", text, re.MULTILINE)
    assert re.search(r"^max_payload: 8MB$", text, re.MULTILINE)
    room = re.search(r"^\s*max_file_store: (\d+)GB$", text, re.MULTILINE)
    assert room is not None
    assert int(room[1]) * 1024**3 >= Budgets().total_bytes()
