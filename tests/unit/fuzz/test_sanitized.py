"""`make fuzz-native` in short: the readers hold under sanitizers, and a reader with a hole in it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.compiled import build_readers
from tests.fuzz import sanitized

# Under sanitizers, on a busy machine; each test compiles the readers anew.
pytestmark = [pytest.mark.time_limit(900), pytest.mark.long]

ROOT = Path(__file__).parents[3]
SEED = 3


TWINS = [
    ("twin-messages", 1000),
    ("twin-blocks", 1000),
    ("twin-log-blocks", 1000),
    ("twin-sentry-spans", 500),
    ("twin-json", 100),
    ("twin-logs-json", 100),
]


def run(folder: Path, target: str, inputs: int) -> subprocess.CompletedProcess[str]:
    """The fuzzer over one twin as it is compiled into `folder`; skips where there are no sanitizers."""
    try:
        made = sanitized.environment(folder)
    except sanitized.NoSanitizersError as error:
        pytest.skip(str(error))
    numbers = [f"--inputs={inputs}", f"--seed={SEED}", "--processes=1"]
    command = [sys.executable, "-m", "tests.fuzz", *numbers, target]
    made["TMPDIR"] = str(folder)
    return subprocess.run(command, cwd=ROOT, env=made, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("target", "inputs"), TWINS)
def test_the_readers_hold(tmp_path: Path, target: str, inputs: int) -> None:
    """Nothing outside of a buffer, no overflow, no other answer."""
    done = run(tmp_path, target, inputs)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


HOLES = [
    pytest.param(
        ("twin-messages", "include/protobuf_in.h", "|| size > (uint64_t)(in->end - in->at)) return 0;", ") return 0;"),
        "heap-buffer-overflow",
        id="a length that is believed",
    ),
    pytest.param(
        ("twin-json", "include/json_text.h", "|| size_of(part) >= sizeof copy) return 0;", ") return 0;"),
        "runtime error: index 64 out of bounds",
        id="a number longer than its buffer",
    ),
    pytest.param(
        ("twin-blocks", "include/bytes_out.h", "if (out->room - out->size < more) {", "if (!out->at) {"),
        "heap-buffer-overflow",
        id="a buffer that does not grow",
    ),
    pytest.param(
        ("twin-blocks", "include/block_attributes.h", "key->last_record == block->number", "0"),
        "found",
        id="a key that comes twice in a block",
    ),
    pytest.param(
        (
            "twin-sentry-spans",
            "_sentry_spans.c",
            " || key->last_record == block->number) return done;",
            ") return done;",
        ),
        "found",
        id="a key that comes twice in a transaction's span",
    ),
    pytest.param(
        ("twin-messages", "_plain_spans.c", "PyDict_Size(span.held) == attributes;", "PyDict_Size(span.held) >= 0;"),
        "odd in Python alone",
        id="a key that comes twice",
    ),
]


@pytest.mark.parametrize(("hole", "expected"), HOLES)
def test_a_hole_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hole: tuple[str, str, str, str], expected: str
) -> None:
    """Or the test above would promise nothing."""
    target, name, guard, without = hole
    broken = tmp_path / "schemas"
    shutil.copytree(build_readers.SOURCES, broken, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    source = (broken / name).read_text()
    assert source.count(guard) == 1
    (broken / name).write_text(source.replace(guard, without))
    monkeypatch.setattr(build_readers, "SOURCES", broken)
    done = run(tmp_path, target, 4000)
    assert done.returncode == 1
    assert expected in done.stdout + done.stderr


def test_no_compiler_is_no_failure() -> None:
    """`make fuzz-native` says why it skips."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.sanitized"],
        cwd=ROOT,
        env=os.environ | {"CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "skipped: no C compiler: no-such-compiler is not there\n"
