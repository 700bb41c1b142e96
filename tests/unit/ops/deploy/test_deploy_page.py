"""docs/deploy.md says nothing that is not there: files, commands, settings, users, metrics, anchors."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from typer.main import get_command

import ops.janitor.broker_metrics
from console.alerts.settings import AlertsSettings
from ops.canary.round_trips import CanarySettings
from ops.cli.main import app
from ops.janitor.trimming import JanitorSettings
from ops.provisioning.streams import Budgets
from ops.runtime.settings import Settings
from receiver.settings import ReceiverSettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/deploy.md").read_text()
KINDS = (Settings, Budgets, ReceiverSettings, WorkerSettings, AlertsSettings, JanitorSettings, CanarySettings)


def test_every_file_it_names_is_there() -> None:
    """But for the certificates, which ops/deploy/compose/prepare makes."""
    named = set(re.findall(r"\b((?:ops|schemas|docs|receiver)/[\w./-]*\w)", PAGE)) - {"ops/deploy/haproxy/certs"}
    assert len(named) >= 8
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_and_setting_it_names_exists() -> None:
    """A person copies them."""
    commands = set(getattr(get_command(app), "commands", {}))
    said = set(re.findall(r"\baxonpush ([a-z]+)(?= |$)", PAGE, re.MULTILINE))
    said |= set(re.findall(r"docker compose run --rm migrate ([a-z]+)", PAGE))
    prose = {"exec", "wait", "create", "delete", "axonpush"}  # kubectl -n axonpush …
    assert said - prose <= commands, said - prose - commands
    settings = {f"AXONPUSH_{name.upper()}" for kind in KINDS for name in kind.model_fields}
    assert set(re.findall(r"\bAXONPUSH_[A-Z_]+[A-Z]\b", PAGE)) <= settings


def test_every_service_and_user_it_names_exists() -> None:
    """What is scaled, run or logged in."""
    compose = yaml.safe_load(re.sub(r"\$\{[^}]*\}", "x", (ROOT / "docker-compose.yml").read_text()))
    named = set(re.findall(r"--scale (\w+)=", PAGE)) | set(re.findall(r"docker compose run --rm (\w+)", PAGE))
    assert named <= set(compose["services"])
    users = (ROOT / "ops/deploy/clickhouse/users.d/axonpush.xml").read_text()
    assert all(f"<{user}>" in users for user in re.findall(r"`(axonpush_(?:worker|reader|operator))`", PAGE))


def test_every_metric_it_names_is_served() -> None:
    """By the janitor."""
    served = {metric._name for metric in vars(ops.janitor.broker_metrics).values() if hasattr(metric, "_name")}
    assert set(re.findall(r"`(axonpush_\w+_seconds)`", PAGE)) <= served


def test_its_anchors_are_its_headings() -> None:
    """The table of shapes leads somewhere."""
    headings = {
        re.sub(r"[^a-z0-9 ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.+)$", PAGE, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
