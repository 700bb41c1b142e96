"""A pytest plugin: runs the tests named in the file MUTANTS_CHOSEN and writes those that fail to MUTANTS_FAILED."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything else of their files is left out."""
    chosen = set(Path(os.environ["MUTANTS_CHOSEN"]).read_text().splitlines())
    items[:] = [item for item in items if item.nodeid in chosen]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The names of tests that fail, in the file that MUTANTS_FAILED names."""
    if report.failed:
        with Path(os.environ["MUTANTS_FAILED"]).open("a") as file:
            file.write(report.nodeid + "\n")
