"""A pytest plugin: of the files that are given, only the tests named in the file that MUTANTS_CHOSEN names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything else of their files is left out."""
    chosen = set(Path(os.environ["MUTANTS_CHOSEN"]).read_text().splitlines())
    items[:] = [item for item in items if item.nodeid in chosen]
