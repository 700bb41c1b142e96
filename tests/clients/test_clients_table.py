"""The committed table of clients says what this run has seen."""

from __future__ import annotations

import os

import pytest

from tests.clients import table
from tests.clients.table import Line, Proofs

pytestmark = pytest.mark.clients

OLD: list[Line] = [("go", "1", "error", "row"), ("node", "1", "error", "row"), ("node", "1", "log", "row")]


def of_run(*tests: tuple[Line, bool], is_whole: bool = True) -> list[Line]:
    """The lines after a run of `tests`, each a claim and whether it passed, over OLD."""
    claims = {f"test {number}": [claim] for number, (claim, _) in enumerate(tests)}
    passed = {f"test {number}" for number, (_, has_passed) in enumerate(tests) if has_passed}
    return Proofs(claims, passed, is_whole).lines(OLD)


def test_a_client_that_ran_has_the_lines_it_showed() -> None:
    """A new version and a feature nobody shows any more replace what was written."""
    new = ("node", "2", "error", "row")
    assert of_run((OLD[0], True), (new, True)) == [OLD[0], new]


def test_a_client_that_was_skipped_or_failed_keeps_its_lines() -> None:
    """Also where other tests of it passed: a machine without a tool changes nothing."""
    assert of_run((OLD[0], True), (OLD[1], True), (("node", "2", "log", "row"), False)) == OLD


def test_a_client_without_tests_disappears() -> None:
    """But only where all files of tests were collected."""
    assert of_run((OLD[0], True)) == [OLD[0]]
    assert of_run((OLD[0], True), is_whole=False) == OLD


def test_the_table_of_clients_is_what_ran(request: pytest.FixtureRequest) -> None:
    """A client whose tests all ran has exactly its lines in docs/clients.md; `make clients-table` writes them."""
    old = table.read_lines()
    lines = table.proofs(request.config).lines(old)
    if os.environ.get("AXONPUSH_WRITE_CLIENTS_TABLE") == "1":
        table.PAGE.write_text(table.written(lines))
        return
    missing, rotten = sorted({*lines} - {*old}), sorted({*old} - {*lines})
    assert not missing, f"not in {table.PAGE.name}, run make clients-table: {missing}"
    assert not rotten, f"in {table.PAGE.name}, but no test shows it, run make clients-table: {rotten}"
