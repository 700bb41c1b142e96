"""Each test is a command of its own."""

from __future__ import annotations

import pytest

from ops.cli import servers


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are said once in each process; a test stands for a process."""
    monkeypatch.setattr(servers, "_said", set())
