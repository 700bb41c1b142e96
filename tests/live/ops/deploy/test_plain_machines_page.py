"""docs/plain-machines.md from empty machines to a running system: every command, in order, with the units it names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.ops.operations_page import Shell, Step, missing, steps
from tests.plain_machine import PlainMachine
from tests.servers import HOST, ROOT, environment

pytestmark = [pytest.mark.live, pytest.mark.long]

PAGE = ROOT / "docs" / "plain-machines.md"
# Sections about a program of Debian, which may be missing; balancers: test_balancers.py.
OF_OTHERS = ("HAProxy", "nginx", "Prometheus")
PROMETHEUS = shutil.which("prometheus")


def placed(step: Step, machine: PlainMachine) -> Step:
    """The step for the folder that is the machine."""
    return Step(step.section, machine.placed(step.command), [machine.placed(line) for line in step.shown])


def run(step: Step, shell: Shell) -> None:
    """Exit code 0 and every line that stands under it."""
    code, output = shell.run(step.command)
    where = f"{step.section}: {step.command}\n{output}"
    assert code == 0, where
    assert not missing(step, output), f"expected {missing(step, output)} in {where}"


@pytest.fixture
def machine(tmp_path: Path) -> PlainMachine:
    return PlainMachine(tmp_path)


@pytest.fixture
def shell(machine: PlainMachine) -> Iterator[Shell]:
    """In the checkout, with a PATH that has our programs and the small `systemctl`."""
    settings = environment()
    opened = Shell(machine.checkout, settings | {"PATH": f"{machine.bin}:{settings['PATH']}"})
    try:
        yield opened
    finally:
        opened.end()


def test_every_command_of_the_page_does_what_it_says(machine: PlainMachine, shell: Shell) -> None:
    """Three brokers to try, then an installation by units: start, canary, upgrade, stop."""
    for step in steps(PAGE.read_text()):
        if step.section not in OF_OTHERS:
            run(placed(step, machine), shell)
    assert not list((machine.root / "run").glob("*.pid")), "everything was stopped"


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (Debian: apt-get install prometheus)")
def test_the_commands_about_prometheus(machine: PlainMachine, shell: Shell) -> None:
    """The real program takes the file and the alerts, and starts."""
    port = machine.ports[8405]  # nothing else runs here
    folder = machine.root / "var/lib/prometheus"
    config = machine.root / "etc/prometheus/prometheus.yml"
    machine.add_unit(
        "prometheus",
        f"{PROMETHEUS} --config.file={config} --storage.tsdb.path={folder} --web.listen-address={HOST}:{port}",
    )
    for step in steps(PAGE.read_text()):
        if step.section == "Prometheus":
            run(placed(step, machine), shell)
    run(Step("", f"until curl --silent --fail http://{HOST}:{port}/-/ready; do sleep 1; done"), shell)
    rules = Step("", f"curl --silent --fail http://{HOST}:{port}/api/v1/rules", ["…MessagesWaitTooLong…"])
    run(rules, shell)
    run(Step("", "systemctl stop prometheus"), shell)
