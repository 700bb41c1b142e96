"""Tasks are ended by ops/runtime/tasks.py only: whatever cancels once waits for ever when that once is lost."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "receiver", "workers", "ops", "console")
# Where a task may be cancelled, and why one cancellation is enough there.
MAY_CANCEL = {
    "ops/runtime/tasks.py": "cancels until the task has ended",
    "workers/store/combining.py": "a future, no task: whoever still waits for an insert when the process ends",
    "console/alerts/deliver/smtp.py": "a timer of a thread, no task",
    "ops/local/clickhouse_http/access/reader_turns.py": "a timer, no task",
    "receiver/http/deadlines.py": "a request that misses it has its answer, and nobody waits for its end",
}


def cancels_once(source: str) -> Iterator[str]:
    """What is there of asyncio that cancels a task once, or hands its cancellation to something that does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ("TaskGroup", "Runner"):
            yield f"{node.lineno}: {node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "asyncio":
            yield from (f"{node.lineno}: {alias.name}" for alias in node.names if alias.name in ("TaskGroup", "Runner"))
        elif isinstance(node, ast.Attribute) and node.attr == "cancel":  # called, or handed on as a callback
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n async with asyncio.TaskGroup() as group: pass",
        "from asyncio import TaskGroup as Group",
        "task.cancel()",
        "closing.callback(task.cancel)",
        "with asyncio.Runner() as runner: runner.run(main())",
    ],
)
def test_what_cancels_once_is_seen(source: str) -> None:
    assert list(cancels_once(source))


def test_no_package_cancels_a_task_once() -> None:
    """Python 3.11 loses a cancellation that comes together with an answer (python/cpython#86296)."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = {
        f"{name}:{place}"
        for path in files
        if (name := path.relative_to(ROOT).as_posix()) not in MAY_CANCEL
        for place in cancels_once(path.read_text())
    }
    assert not found, "expected ops.runtime.tasks.end or together in place of each"


def test_the_exceptions_still_cancel() -> None:
    assert all(list(cancels_once((ROOT / name).read_text())) for name in MAY_CANCEL)
