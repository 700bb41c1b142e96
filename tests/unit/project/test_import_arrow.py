"""The import arrow: schemas <- ops.runtime <- receiver, workers, console. Read from source: lazy imports count too."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("schemas", "receiver", "workers", "console", "ops")
# What each room may import of ours.
ALLOWED = {
    "schemas": ("schemas",),
    "ops/runtime": ("schemas", "ops.runtime"),
    "receiver": ("schemas", "receiver", "ops.runtime"),
    "workers": ("schemas", "workers", "ops.runtime"),
    "console": ("schemas", "console", "ops.runtime"),
}
# A pure module gets its time and its bytes as arguments.
IMPURE = ("asyncio", "logging", "nats", "faststream", "clickhouse_connect", "random", "secrets", "socket", "structlog")
CLOCKS = ("time.time", "time.time_ns", "time.monotonic", "datetime.now", "datetime.utcnow", "uuid.uuid1", "uuid.uuid4")


def sources(folder: str) -> list[Path]:
    """Every Python file below `folder`."""
    return sorted((ROOT / folder).rglob("*.py"))


def imports(source: str) -> set[str]:
    """Full dotted names of everything a module imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room: write the full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether the dotted `name` is one of `modules` or lies in one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def calls(source: str) -> set[str]:
    """The dotted names that are called: `time.time()` gives `time.time`."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("room", ALLOWED)
def test_room_imports_only_what_the_arrow_allows(room: str) -> None:
    """schemas knows nobody; the three processes know schemas and ops.runtime, and never each other."""
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(room)
        for name in imports(path.read_text())
        if within(name, ROOMS) and not within(name, ALLOWED[room])
    }
    assert not wrong


@pytest.mark.parametrize("folder", ["schemas", "workers/normalise"])
def test_pure_rooms_have_no_clock_no_io_and_no_chance(folder: str) -> None:
    """A replay makes the same row: words and normalisers take time and bytes as arguments."""
    wrong = set()
    for path in sources(folder):
        text = path.read_text()
        wrong |= {f"{path.relative_to(ROOT)}: imports {name}" for name in imports(text) if within(name, IMPURE)}
        wrong |= {f"{path.relative_to(ROOT)}: calls {name}" for name in calls(text) if name.endswith(CLOCKS)}
    assert not wrong


def test_receiver_reads_no_items() -> None:
    """The receiver may read an envelope's first line; it never looks inside an item."""
    taken = {
        name
        for path in sources("receiver")
        for name in imports(path.read_text())
        if within(name, ("schemas.envelope", "schemas.envelope.header_line"))
    }
    assert not {name for name in taken if name.rpartition(".")[2] in {"read", "read_items", "write_single", "Item"}}


def test_the_check_sees_imports_inside_functions() -> None:
    """A lazy import is an import, and a module inside a package is found by its full name."""
    source = "def f():\n    import workers.unpack\n    from receiver import app\n"
    assert imports(source) == {"workers.unpack", "receiver.app"}
    assert not within("receiver.app", ALLOWED["workers"])
    assert not within("ops.runtime_extra", ALLOWED["workers"])


def test_import_linter_agrees() -> None:
    """The contracts of pyproject.toml hold."""
    beside = Path(sys.executable).with_name("lint-imports")
    program = str(beside) if beside.exists() else shutil.which("lint-imports")
    if program is None:
        pytest.skip("lint-imports is not installed: make install")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
