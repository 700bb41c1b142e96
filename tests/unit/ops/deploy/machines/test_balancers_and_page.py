"""HAProxy, nginx, Prometheus and the page of ops/deploy/machines, against each other and the files of Compose."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from typer.main import get_command

from console.settings import ConsoleSettings
from ops.cli.main import app
from ops.runtime.environment.names import SETTINGS
from receiver.http.request import _FORWARDED
from receiver.settings import ReceiverSettings
from schemas.subjects import SOURCES
from tests.live.ops.operations_page import steps
from tests.plain_machine import IN_ROWS, SINGLE
from tests.systemd_units import env_file, read_unit

ROOT = Path(__file__).parents[5]
FOLDER = ROOT / "ops/deploy/machines"
UNITS = FOLDER / "systemd"
PAGE = (ROOT / "docs/plain-machines.md").read_text()


def without(text: str, *patterns: str) -> list[str]:
    """Lines of a configuration that none of the patterns takes, comments and empty ones left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [line for line in lines if not any(re.search(pattern, line) for pattern in patterns)]


def test_haproxy_is_that_of_compose_but_for_its_servers() -> None:
    """What real tests of the one file show holds for the other."""
    compose = (ROOT / "ops/deploy/haproxy/haproxy.cfg").read_text()
    compose = re.sub(r"^resolvers docker\n(?:    .*\n)+", "", compose, flags=re.MULTILINE)
    for theirs, ours in ((" resolvers docker init-addr none", ""), (":8443 ssl", ":443 ssl"), (":8080\n", ":80\n")):
        compose = compose.replace(theirs, ours)
    other = r"^    (log (stdout|/dev/log)|user haproxy|group haproxy|server-template |server \S+-\d )"
    machines = (FOLDER / "haproxy.cfg").read_text()
    assert without(machines, other, r"replace-path \^/ingest\(/") == without(compose, other)
    assert machines.index("replace-path") < machines.index("metrics|ready"), "a prefix hides nothing"


def test_nginx_keeps_the_same_rules() -> None:
    """Addresses, sizes and times as with HAProxy."""
    text = (FOLDER / "nginx.conf").read_text()
    lower = text.lower()
    for header in (*_FORWARDED, "forwarded"):
        value = "$remote_addr" if header == "x-forwarded-for" else '""'
        assert f"proxy_set_header {header} {value};" in lower
    assert re.search(r"client_max_body_size 50m;", text)
    times = {name: int(value) for name, value in re.findall(r"^\s*(\w+) (\d+)s;", text, re.MULTILINE)}
    settings = ReceiverSettings()
    needed_s = settings.body_deadline_s + settings.publish_timeout_s + settings.sync_wait_ms / 1000
    assert times["proxy_read_timeout"] > needed_s
    assert times["keepalive_timeout"] < min(settings.header_deadline_s, ConsoleSettings().console_header_deadline_s)
    assert "proxy_request_buffering off;" in text
    assert not re.search(r"log_format[^;]*\$(request|request_uri|uri|args|query_string)\b", text)
    assert set(re.findall(r"error_log \S+ (\w+);", text)) == {"crit"}


def test_prometheus_asks_every_process_by_the_same_names() -> None:
    """Alerts select by job; ports are those of the units and of the page."""
    machines = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    compose = yaml.safe_load((ROOT / "ops/deploy/prometheus/prometheus.yml").read_text())
    assert [one["job_name"] for one in machines["scrape_configs"]] == [
        one["job_name"] for one in compose["scrape_configs"]
    ]
    ports = {
        job["job_name"]: {target.rpartition(":")[2] for one in job["static_configs"] for target in one["targets"]}
        for job in machines["scrape_configs"]
    }
    canary = env_file(FOLDER / "env/canary.env")["AXONPUSH_CANARY_METRICS_PORT"]
    assert ports == {
        "receiver": {"8080"}, "worker": {"9101"}, "console": {"8081"}, "alerts": {"9103"}, "janitor": {"9100"},
        "canary": {canary}, "haproxy": {"8405"},
    }  # fmt: skip
    assert "AXONPUSH_ALERTS_PORT=9103" in (FOLDER / "env/alerts.env").read_text()
    assert "AXONPUSH_JANITOR_METRICS_PORT=9100" in read_unit(UNITS, "axonpush-janitor.service").settings["Environment"]
    assert machines["global"]["external_labels"]["docs"].endswith("/")


def test_servers_stand_where_the_page_puts_them() -> None:
    """The same machines and ports in both balancers, in Prometheus and on the page."""
    haproxy, nginx = (FOLDER / "haproxy.cfg").read_text(), (FOLDER / "nginx.conf").read_text()
    for port in ("8080", "8081"):
        servers = re.findall(rf"^    server \S+ (10\.0\.0\.\d:{port})$", haproxy, re.MULTILINE)
        assert servers
        assert servers == re.findall(rf"^    server (10\.0\.0\.\d:{port}) ", nginx, re.MULTILINE)
        assert set(servers) == set(re.findall(rf"10\.0\.0\.\d:{port}", (FOLDER / "prometheus.yml").read_text()))
    table = dict(
        re.findall(r"^\| ([\d, ]+) \| (.+?) \|", PAGE.partition("| port |")[2].partition("\n\n")[0], re.MULTILINE)
    )
    named = {int(port) for cell in table for port in cell.split(", ")}
    assert named == {*SINGLE, *IN_ROWS} - {9102}


def test_every_file_and_unit_is_on_the_page() -> None:
    """And nothing that is not there."""
    named = set(re.findall(r"\b(ops/deploy/[\w./-]*\w)", PAGE))
    assert [path for path in named if not list(ROOT.glob(f"{path}*"))] == []
    for path in UNITS.glob("*.service"):
        assert f"`{path.stem}" in PAGE, path.stem
    for path in (FOLDER / "env").glob("*.env"):
        assert re.search(rf"`{path.stem}(-1)?\.env`", PAGE), path.name


def test_what_no_test_runs_says_why() -> None:
    """Plain blocks have a reason behind each command; everything else runs."""
    for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        assert all(re.search(r" # no ", line) for line in block.splitlines()), block
    assert set(re.findall(r"^ *```(\w*)$", PAGE, re.MULTILINE)) - {""} == {"console", "text"}
    sections = {step.section for step in steps(PAGE)}
    assert {"Brokers", "ClickHouse", "HAProxy", "nginx", "Prometheus", "Upgrade, change a setting, stop"} <= sections
    assert set(SOURCES) >= {"unpack", "event"}, "the page's example of TYPES"


def test_commands_and_settings_of_the_page_exist() -> None:
    """A person copies them."""
    said = {name for step in steps(PAGE) for name in re.findall(r"\baxonpush ([a-z]+)", step.command)}
    assert said >= {"migrate", "janitor", "status", "channels"}
    assert said <= set(getattr(get_command(app), "commands", {}))
    variables = set(re.findall(r"\b(AXONPUSH_[A-Z_]+[A-Z])\b", PAGE)) - {"AXONPUSH_NATS_MAX_FILE_STORE"}
    assert variables <= set(SETTINGS)
