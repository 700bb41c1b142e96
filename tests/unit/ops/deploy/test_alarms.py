"""Alarms as Prometheus itself sees them: that it takes the rules, and when they ring. Needs its promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
CASES = Path(__file__).with_name("alerts.promtool.yml")
PROMTOOL = shutil.which("promtool")


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(ROOT / "ops/deploy/prometheus/alerts.yml")),
        ("check", "config", str(ROOT / "ops/deploy/prometheus/prometheus.yml")),
        ("test", "rules", str(CASES)),
    ],
    ids=["rules", "configuration", "over time"],
)
def test_prometheus_accepts_them_and_they_fire_when_they_should(arguments: tuple[str, ...]) -> None:
    """The very program that runs them."""
    promtool(*arguments)


def test_what_is_tried_are_alarms_that_exist() -> None:
    """Also where promtool is not: a case about an alarm that was renamed would always be quiet."""
    names = set(re.findall(r"- alert: (\w+)", (ROOT / "ops/deploy/prometheus/alerts.yml").read_text()))
    tried = set(re.findall(r'ALERTS\{alertname="(\w+)"', CASES.read_text()))
    assert tried
    assert tried <= names


def test_a_sender_alone_cannot_page() -> None:
    """Alarms about invalid bodies are tickets; those that page leave them and their stream out."""
    rules = [
        rule
        for group in yaml.safe_load((ROOT / "ops/deploy/prometheus/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    pages = {rule["alert"]: rule["expr"] for rule in rules if rule["labels"]["severity"] == "page"}
    tickets = {rule["alert"] for rule in rules if rule["labels"]["severity"] == "ticket"}
    assert "SendersSendInvalid" in tickets
    assert not [name for name, expr in pages.items() if "axonpush_worker_refused" in expr]
    assert 'stream!="REFUSED"' in pages["StreamNearlyFull"]
    assert "dead-refused" in pages["MessagesWaitTooLong"]
    assert "MessagesDie" in pages
