"""The Compose files against the Compose specification, the list of workers, the command line and the settings."""

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

from console.alerts.settings import AlertsSettings
from console.settings import ConsoleSettings
from ops.canary.round_trips import CanarySettings
from ops.janitor.trimming import JanitorSettings
from ops.local.nats_server import binary
from ops.provisioning.streams import Budgets
from ops.runtime.settings import Settings
from receiver.http.request import _FORWARDED
from receiver.settings import ReceiverSettings
from schemas.subjects import SOURCES
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[4]
PRODUCTION, SMALL = "docker-compose.yml", "docker-compose.dev.yml"
BROKERS = {"nats-1", "nats-2", "nats-3"}
SERVERS = {
    PRODUCTION: {*BROKERS, "clickhouse", "haproxy", "prometheus", "grafana"},
    SMALL: {"nats", "clickhouse"},
}
NEEDED = {PRODUCTION: {*BROKERS, "clickhouse"}, SMALL: {"nats", "clickhouse"}}
GIB = 1024**3

Service = dict[str, Any]


def with_values(text: str) -> str:
    """The file as Compose reads it: `${NAME:-default}` becomes its default, `${NAME:?…}` and `${NAME}` a word."""
    return re.sub(r"\$\{\w+(?::\?[^}]*)?\}", "word", re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


TEXTS = {name: (ROOT / name).read_text() for name in (PRODUCTION, SMALL)}
FILES: dict[str, dict[str, Any]] = {name: yaml.safe_load(with_values(text)) for name, text in TEXTS.items()}
ALL: list[tuple[str, str, Service]] = [
    (file, name, service) for file, found in FILES.items() for name, service in found["services"].items()
]
OURS = [(file, name, service) for file, name, service in ALL if name not in SERVERS[file]]
each_of_ours = pytest.mark.parametrize(("file", "name", "service"), OURS, ids=[f"{f}:{n}" for f, n, _ in OURS])
each_that_lasts = pytest.mark.parametrize(
    ("file", "name", "service"),
    [one for one in ALL if one[1] != "migrate"],
    ids=[f"{f}:{n}" for f, n, _ in ALL if n != "migrate"],
)


@pytest.mark.parametrize("file", FILES)
def test_compose_file_obeys_the_specification(file: str) -> None:
    """Every key, value, duration and reference is one the Compose specification knows."""
    plain = with_values(TEXTS[file])
    assert "${" not in plain
    PyCompose.from_json(json.dumps(yaml.safe_load(plain))).validate()


def test_the_small_file_asks_for_nothing() -> None:
    """Every variable has a default, and it publishes to this machine alone: it has no passwords worth the name."""
    assert not re.findall(r"\$\{\w+(?!:-)[^\w:]", TEXTS[SMALL])
    assert not re.findall(r"\$\{\w+:\?", TEXTS[SMALL])
    published = [port for _, service in FILES[SMALL]["services"].items() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_there_is_one_service_for_each_worker() -> None:
    """The workers of the file are the workers of schemas.subjects.SOURCES, each started under its own name."""
    services = FILES[PRODUCTION]["services"]
    workers = set(services) - SERVERS[PRODUCTION] - {"migrate", "receiver", "console", "alerts", "janitor", "canary"}
    assert workers == set(SOURCES)
    assert {name: services[name]["command"] for name in workers} == {name: ["worker", name] for name in workers}


def test_workers_can_be_scaled() -> None:
    """No service of a worker or receiver takes a name, an address or a port of this machine that only one can have."""
    for name, service in FILES[PRODUCTION]["services"].items():
        if name in SOURCES or name in ("receiver", "console", "alerts"):
            assert not {"ports", "container_name", "hostname"} & set(service)


def test_the_rest_of_the_services_is_known() -> None:
    """Servers, one migration, receivers, consoles, alerts, one janitor; in the small file one process of workers."""
    rest = {"migrate", "receiver", "console", "alerts", "janitor"}
    assert set(FILES[PRODUCTION]["services"]) == SERVERS[PRODUCTION] | rest | {"canary"} | set(SOURCES)
    assert set(FILES[SMALL]["services"]) == SERVERS[SMALL] | rest | {"worker"}
    assert FILES[SMALL]["services"]["worker"]["command"] == ["worker", "all"]
    assert all(found["services"]["migrate"]["restart"] == "no" for found in FILES.values())


@pytest.mark.parametrize("word", sorted({service["command"][0] for _, _, service in OURS}))
def test_every_command_is_one_of_ours(word: str) -> None:
    """`axonpush <command> --help` knows it."""
    command = [sys.executable, "-c", "from ops.cli.main import main; main()", word, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@each_of_ours
def test_settings_of_a_service_are_settings_of_its_process(file: str, name: str, service: Service) -> None:
    """A misspelt AXONPUSH_* variable would be ignored in silence."""
    own = {
        "migrate": (Settings, Budgets),
        "receiver": (ReceiverSettings,),
        "console": (ConsoleSettings,),
        "alerts": (AlertsSettings,),
        "janitor": (JanitorSettings,),
        "canary": (CanarySettings,),
    }
    kinds = own.get(name, (WorkerSettings,))
    known = {f"AXONPUSH_{field.upper()}" for kind in kinds for field in kind.model_fields}
    assert set(service["environment"]) <= known


@each_that_lasts
def test_every_lasting_service_is_checked_and_may_finish(file: str, name: str, service: Service) -> None:
    """Health check, restart, and a minute to drain."""
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "60s"


@each_of_ours
def test_our_containers_can_change_nothing(file: str, name: str, service: Service) -> None:
    """No rights of root, no way to get them, a root file system to read only, room for temporary files in memory."""
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_servers_in_production_are_confined_too() -> None:
    """What they write lies in volumes and temporary file systems."""
    for name in SERVERS[PRODUCTION]:
        service = FILES[PRODUCTION]["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name


@each_of_ours
def test_processes_wait_for_the_migration(file: str, name: str, service: Service) -> None:
    """Streams and tables exist before anybody uses them; the migration waits for healthy servers."""
    if name == "migrate":
        assert service["depends_on"] == {server: {"condition": "service_healthy"} for server in NEEDED[file]}
    else:
        assert service["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("file", FILES)
def test_data_outlives_the_containers(file: str) -> None:
    """Servers keep their data in named volumes, each in its own."""
    volumes = [volume for _, service in FILES[file]["services"].items() for volume in service.get("volumes", [])]
    named = [volume.split(":")[0] for volume in volumes if not volume.startswith(".")]
    assert sorted(named) == sorted(FILES[file]["volumes"])


@pytest.mark.parametrize("file", FILES)
def test_every_mounted_file_is_there(file: str) -> None:
    """But for the certificates, which ops/deploy/compose/prepare makes."""
    configs = [found["file"] for found in FILES[file]["configs"].values()]
    folders = [volume.split(":")[0] for _, s in FILES[file]["services"].items() for volume in s.get("volumes", [])]
    for path in (*configs, *(folder for folder in folders if folder.startswith("."))):
        assert (ROOT / path).exists() or path.endswith("/haproxy/certs"), path


def test_each_process_has_the_least_of_the_users() -> None:
    """Names as in ops/deploy/nats/accounts.conf and ops/deploy/clickhouse/users.d; a receiver cannot reach ClickHouse
    at all.
    """
    services = FILES[PRODUCTION]["services"]
    ours = [name for file, name, _ in OURS if file == PRODUCTION]
    nats = {name: services[name]["environment"].get("AXONPUSH_NATS_USER") for name in ours}
    operators = {"migrate": "operator", "janitor": "operator"}
    own = {"receiver": "receiver", "console": "console", "alerts": "alerts", "canary": None}
    assert nats == {**dict.fromkeys(SOURCES, "worker"), **operators, **own}
    assert not [key for key in services["receiver"]["environment"] if "CLICKHOUSE" in key]
    assert {services[name]["environment"]["AXONPUSH_CLICKHOUSE_USER"] for name in SOURCES} == {"axonpush_worker"}
    assert services["console"]["environment"]["AXONPUSH_CLICKHOUSE_USER"] == "axonpush_console"
    assert services["alerts"]["environment"]["AXONPUSH_CLICKHOUSE_USER"] == "axonpush_alerts"
    assert services["migrate"]["environment"]["AXONPUSH_CLICKHOUSE_USER"] == "axonpush_operator"
    assert services["canary"]["environment"]["AXONPUSH_CLICKHOUSE_USER"] == "axonpush_reader"


def test_brokers_know_each_other_and_copy_thrice() -> None:
    """One name and one disk for each, the same routes on all, three copies of every stream."""
    services = FILES[PRODUCTION]["services"]
    for name in BROKERS:
        found = services[name]["environment"]
        assert found["AXONPUSH_NATS_SERVER_NAME"] == name
        routes = json.loads(found["AXONPUSH_NATS_ROUTES"])
        assert {re.sub(r".*@|:\d+$", "", route) for route in routes} == BROKERS
        room = re.fullmatch(r"(\d+)GB", found["AXONPUSH_NATS_MAX_FILE_STORE"])
        assert room is not None
        assert int(room[1]) * GIB >= Budgets().total_bytes()
    servers = Settings(nats_url=services["migrate"]["environment"]["AXONPUSH_NATS_URL"]).nats_servers()
    assert servers == [f"nats://{name}:4222" for name in sorted(BROKERS)]
    assert services["migrate"]["environment"]["AXONPUSH_NATS_REPLICAS"] == "3"


def test_every_variable_of_a_broker_is_given() -> None:
    """What cluster.conf and accounts.conf take from the environment is in the service, and nothing else is."""
    text = "".join((ROOT / "ops/deploy/nats" / name).read_text() for name in ("cluster.conf", "accounts.conf"))
    code = "\n".join(line.split("#")[0] for line in text.splitlines())
    assert set(FILES[PRODUCTION]["services"]["nats-1"]["environment"]) == set(re.findall(r"\$(AXONPUSH_\w+)", code))


def test_senders_reach_the_balancer_and_nothing_else() -> None:
    """Only HAProxy is published; it shares a network with receivers and consoles, not with brokers or ClickHouse."""
    services = FILES[PRODUCTION]["services"]
    public = {n for n, s in services.items() if any(not p.startswith("127.0.0.1:") for p in s.get("ports", []))}
    assert public == {"haproxy"}
    assert services["haproxy"]["networks"] == ["edge"]
    assert {name for name, service in services.items() if "edge" in service["networks"]} == {
        "haproxy", "receiver", "console", "prometheus", "grafana",
    }  # fmt: skip


def test_receivers_believe_the_balancer_which_believes_nobody() -> None:
    """Every header that receiver/http/request.py would take an address from is taken away or written by HAProxy."""
    assert FILES[PRODUCTION]["services"]["receiver"]["environment"]["AXONPUSH_TRUST_FORWARDED"] == "true"
    config = (ROOT / "ops/deploy/haproxy/haproxy.cfg").read_text().lower()
    for header in _FORWARDED:
        wanted = "set-header x-forwarded-for %[src]" if header == "x-forwarded-for" else f"del-header {header}\n"
        assert f"http-request {wanted}" in config


def test_the_balancer_waits_longer_than_a_receiver() -> None:
    """A body's deadline, the broker's and the wait for a row fit into its patience; its stop fits a drain."""
    config, settings = (ROOT / "ops/deploy/haproxy/haproxy.cfg").read_text(), ReceiverSettings()
    timeouts = {name: int(value) for name, value in re.findall(r"timeout ([\w-]+) (\d+)s", config)}
    stop = re.search(r"hard-stop-after (\d+)s", config)
    assert stop is not None
    assert timeouts["server"] > settings.body_deadline_s + settings.publish_timeout_s + settings.sync_wait_ms / 1000
    assert timeouts["http-keep-alive"] < settings.header_deadline_s
    assert timeouts["http-keep-alive"] < ConsoleSettings().console_header_deadline_s
    assert timeouts["server"] > ConsoleSettings().console_query_timeout_s
    assert settings.drain_timeout_s < int(stop[1]) < 60


def test_prepare_makes_every_password_once(tmp_path: Path) -> None:
    """Each variable without a default that the file names, long and secret; a second run changes nothing."""
    script = tmp_path / "ops/deploy/compose/prepare"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "ops/deploy/compose/prepare").read_bytes())
    subprocess.run(["sh", script, "in.example"], check=True, capture_output=True, timeout=120)
    env = tmp_path / ".env"
    values = dict(line.split("=", 1) for line in env.read_text().splitlines())
    asked = set(re.findall(r"\$\{(\w+):\?", TEXTS[PRODUCTION]))
    assert set(values) == asked
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for name, value in values.items() if name.endswith("_PASSWORD"))
    assert len(set(values.values())) == len(values)
    pem = tmp_path / "ops/deploy/haproxy/certs/axonpush.pem"
    assert [path.name for path in pem.parent.iterdir()] == ["axonpush.pem"]
    assert {oct(path.stat().st_mode & 0o077) for path in (env, pem)} == {"0o0"}
    before = env.read_bytes(), pem.read_bytes()
    subprocess.run(["sh", script], check=True, capture_output=True, timeout=120)
    assert (env.read_bytes(), pem.read_bytes()) == before


def test_secrets_stay_out_of_git_and_of_the_image() -> None:
    """Passwords and the private key."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "ops/deploy/haproxy/certs/"} <= set(ignored)
    not_copied = (ROOT / ".dockerignore").read_text().splitlines()
    assert not_copied.index("ops/deploy/haproxy/certs") > not_copied.index("!ops")


def test_image_holds_the_copied_rooms() -> None:
    """The Dockerfile copies what .dockerignore lets through, runs as an ordinary user and starts `axonpush`."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    # By number: Kubernetes cannot tell from a name that it is not root.
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert 'ENTRYPOINT ["axonpush"]' in dockerfile


def test_nats_configuration_is_one_the_server_takes() -> None:
    """The real nats-server parses it, and it says what an acknowledgement promises."""
    path = ROOT / FILES[SMALL]["configs"]["nats"]["file"]
    done = subprocess.run([binary(), "-c", path, "-t"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert re.search(r"^\s*sync_interval: always$", text, re.MULTILINE)
    assert re.search(r"^max_payload: 8MB$", text, re.MULTILINE)
    room = re.search(r"^\s*max_file_store: (\d+)GB$", text, re.MULTILINE)
    assert room is not None
    assert int(room[1]) * GIB >= Budgets().total_bytes()


def test_the_brokers_configuration_is_one_the_server_takes() -> None:
    """cluster.conf with the very environment that docker-compose.yml gives, quotes within quotes included."""
    environment = FILES[PRODUCTION]["services"]["nats-1"]["environment"]
    path = ROOT / FILES[PRODUCTION]["configs"]["nats_cluster"]["file"]
    done = subprocess.run(
        [binary(), "-c", path, "-t"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
