"""docs/security.md names a guard and a test for each threat: the tests exist, and no break-in test is left out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.partition("## Threats")[2].partition("## What is not guarded")[0].splitlines()
    if line.startswith("|") and not line.startswith(("| threat |", "|---"))
]
NAMED = re.findall(r"`((?:unit|live|clients|chaos)/[\w/]+\.py)::(\w+)`", PAGE)


@cache
def functions(file: str) -> frozenset[str]:
    """Names of a test file's functions."""
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_every_threat_has_a_guard_and_tests_that_exist(row: list[str]) -> None:
    """Three cells, the last one of nothing but test ids."""
    threat, guard, tests = row
    assert threat
    assert guard
    found = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
    assert found
    assert re.fullmatch(r"(`[\w/]+\.py::\w+`(, )?)+", tests)
    for file, name in found:
        assert name in functions(file), f"{file} has no {name}"


def test_the_table_is_read() -> None:
    """Or nothing above would promise anything."""
    assert len(ROWS) > 35
    assert len({threat for threat, *_ in ROWS}) == len(ROWS)


def test_no_break_in_test_is_missing_on_the_page() -> None:
    """Each test file about security is named."""
    files = {
        str(path.relative_to(TESTS))
        for folder in ("unit", "live")
        for path in (TESTS / folder / "security").glob("test_*.py")
    }
    files -= {"unit/security/test_page.py"}
    assert files <= {file for file, _ in NAMED}
