"""tests/time_limit.py: a test that hangs fails with its stacks, and the others run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CONFTEST = """
from tests import time_limit

time_limit.AGAIN_S = 1.0
time_limit.PROCESS_ENDS_AFTER_S = 3.0
pytest_plugins = ("tests.time_limit",)
"""
HANGS = """
import asyncio, ctypes, threading, time
import pytest
from hypothesis import given, strategies

pytestmark = pytest.mark.time_limit(1)

@pytest.mark.time_limit(6)  # it must have begun to wait before it is stopped, also on a busy machine
@pytest.mark.asyncio
async def test_waits():
    await named_wait()

async def named_wait():
    await asyncio.get_running_loop().create_future()

def test_spins():
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass

@given(strategies.integers())
def test_hypothesis(number):
    threading.Event().wait()

@pytest.fixture
def endless():
    threading.Event().wait()

def test_fixture(endless):
    pass

@pytest.fixture
def never_cleaned():
    yield
    threading.Event().wait()

def test_clean_up(never_cleaned):
    raise ValueError("and it fails before")

@pytest.mark.asyncio
async def test_cannot_be_cancelled():
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            pass

def test_after_them():
    pass
"""
IN_C = """
import ctypes, pytest

@pytest.mark.time_limit(1)
def test_in_c():
    ctypes.PyDLL(None).sleep(600)

def test_after_it():
    pass
"""


def run(folder: Path, tests: str, *arguments: str) -> str:
    """What pytest prints about these tests."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(tests)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
        "markers =\n    time_limit(seconds): the limit\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_whatever_hangs_fails_and_the_others_run(tmp_path: Path) -> None:
    """A wait, a loop that drops exceptions, Hypothesis, a fixture, a clean-up, a task that will not be cancelled."""
    printed = run(tmp_path, HANGS)
    assert all(count in printed for count in ("5 failed", "1 passed", "3 errors")), printed
    assert "in named_wait" in printed, "the stack of a task, not only the loop's select"
    assert printed.count("it hangs") >= 8


def test_a_hang_in_c_costs_one_process_of_xdist(tmp_path: Path) -> None:
    """The interpreter cannot be asked any more: the process ends, the next test runs in another."""
    printed = run(tmp_path, IN_C, "-n", "1")
    assert "1 failed, 1 passed" in printed, printed
    assert "test_some.py::test_in_c" in printed
    assert "in test_in_c" in printed, "the stack"
