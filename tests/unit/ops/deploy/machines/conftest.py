"""What `ops/deploy/machines/prepare` writes: for several machines, and for one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[5]
OPTIONS = (
    *("--brokers", "10.0.0.1 10.0.0.2 10.0.0.3", "--clickhouse", "http://10.0.0.4:8123/"),
    *("--public", "https://in.example.com"),
)
Prepare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def prepare() -> Prepare:
    """Runs it."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(ROOT / "ops/deploy/machines/prepare"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="session")
def site(prepare: Prepare, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's command writes for several machines."""
    folder = tmp_path_factory.mktemp("prepared") / "site"
    done = prepare(str(folder), *OPTIONS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def alone(prepare: Prepare, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for one machine."""
    folder = tmp_path_factory.mktemp("prepared") / "alone"
    done = prepare(str(folder))
    assert done.returncode == 0, done.stderr
    return folder
