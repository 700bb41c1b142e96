"""docs/operations.md beside what it speaks of: alerts, reasons, links. That its commands work is tests/live's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from receiver.admission import refusal_budget
from receiver.admission.quotas import REASON_KEY, REASON_ORGANISATION
from tests.live.ops.operations_page import PAGE, Step, missing, steps

ROOT = PAGE.parents[1]
TEXT = PAGE.read_text()
ALERTS = [
    rule["alert"]
    for group in yaml.safe_load((ROOT / "ops/deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGES = [ROOT / "docs" / "operations.md", ROOT / "docs" / "capacity.md"]


def test_each_alarm_has_its_heading_and_each_heading_an_alarm() -> None:
    """Whoever is woken finds the name, with sentences under it."""
    alerts = TEXT.partition("\n## Alerts\n")[2]
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", alerts, re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(ALERTS)
    assert all(len(words.split()) >= 10 for words in sections.values())


def test_every_reason_is_explained() -> None:
    """Whatever a worker or a receiver can write into `outcomes` stands in the table, itself or by its beginning."""
    table = TEXT.partition("| outcome | reason |")[2].partition("\n\n")[0]
    told = re.findall(r"`([\w:…]+)`", table)
    named = {*reasons(), REASON_KEY, REASON_ORGANISATION, refusal_budget.REASON}
    assert {"invalid_span_id", "unknown_route", "poison", "normaliser_error"} <= named
    unexplained = {name for name in named if not any(re.fullmatch(one.replace("…", ".*"), name) for one in told)}
    assert unexplained == set()


def reasons() -> Iterator[str]:
    """First arguments of what refuses a record or gives a message up, constants resolved within their file."""
    for path in (*(ROOT / "workers").rglob("*.py"), ROOT / "schemas" / "native_event.py"):
        tree = ast.parse(path.read_text())
        constants = {
            node.target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                at = {"RecordRefused": 0, "BadEvent": 0, "Dead": 0, "_dead": 2}.get(name)
                if at is not None and len(node.args) > at:
                    yield from _texts(node.args[at], constants)


def _texts(node: ast.expr, constants: dict[str, object]) -> Iterator[str]:
    found = constants.get(node.id) if isinstance(node, ast.Name) else getattr(node, "value", None)
    if isinstance(found, str):
        yield found


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading in it."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            found = (page.parent / file).resolve() if file else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """Headings as GitHub links to them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_what_cannot_run_says_why() -> None:
    """Blocks of containers, clusters and units are plain text, with the reason beside the command; nothing else is."""
    for block in re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            assert re.match(r"(docker|kubectl|systemctl) ", line), line
        assert "# no " in block
    kinds = set(re.findall(r"^ *```(\w*)$", TEXT, re.MULTILINE)) - {""}
    assert kinds == {"console", "text"}


def test_blocks_are_read_as_they_stand() -> None:
    """Commands in order, those over several lines as one, with what is shown under each."""
    text = "## One\n```console\n$ a\n1 … 2\n$ b\n> c\n```\n\n## Two\n1. x\n\n   ```console\n   $ d\n   e\n   ```\n"
    assert steps(text) == [Step("One", "a", ["1 … 2"]), Step("One", "b\nc"), Step("Two", "d", ["e"])]
    assert len(steps(TEXT)) > 60


def test_what_is_shown_must_be_there() -> None:
    """Spaces and whatever stands for … may differ, nothing else."""
    step = Step("", "x", ["│ 7 │ … │ 2 │", "ended with 0"])
    assert missing(step, "│  7   │ seven │ x │ 2 │\nended with 0\n") == []
    assert missing(step, "│ 7 │ seven │ 3 │\nended with 1\n") == step.shown
