"""tests/spread.py: a run in several processes starts a shared server once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFTEST = """
import os, pathlib, pytest
pytest_plugins = ("tests.spread",)
STARTED = pathlib.Path(__file__).parent / "started"

def start(name):
    with STARTED.open("a") as started:
        started.write(f"{name} in {os.getpid()}\\n")

@pytest.fixture(scope="session")
def system():
    start("system")

@pytest.fixture(scope="session")
def operated():
    start("operated")

@pytest.fixture
def sender(operated):
    pass
"""
# The first two go to two processes, unless they are kept together.
FILES = {
    "test_a.py": "def test_it(operated): pass\n",
    "test_b.py": "def test_it(sender): pass\n",
    "test_c.py": "def test_it(system): pass\n",
    "test_d.py": "def test_it(sender): pass\ndef test_too(sender, system): pass\n",
    "test_e.py": "def test_it(system): pass\n",
    "test_f.py": "def test_it(): pass\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the tests of FILES."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder: Path, *arguments: str) -> list[str]:
    """Which servers were started, by their names."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert "7 passed" in done.stdout, done.stdout + done.stderr
    assert "@" not in done.stdout, "the names of tests are those that pytest takes"
    return sorted(line.partition(" ")[0] for line in (folder / "started").read_text().splitlines())


def test_a_shared_server_is_started_once(folder: Path) -> None:
    """By whichever fixture a file reaches it; a file that uses both starts the second where the first is."""
    assert run(folder, "-rA", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder") == [
        "operated", "system", "system",
    ]  # fmt: skip


def test_a_run_in_one_process_needs_no_groups(folder: Path) -> None:
    assert run(folder) == ["operated", "system"]
