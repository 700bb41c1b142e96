"""The tree as docs/architecture.md shows it: small folders, named packages, and a page on which everything exists."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = re.sub(r"```.*?```", "", (ROOT / "docs/architecture.md").read_text(), flags=re.DOTALL)
CODE = ("schemas", "receiver", "workers", "console", "ops", "tests/unit", "tests/live")
# Maximum files of a folder, so that a reader can survey it. Numbered files of changes are not surveyed.
MAX_FILES = 16
NUMBERED = {"schemas/tables"}
STEPS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for section in ("## The way of one error", "## The way of one span")
    for line in PAGE.partition(section)[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| step")
]


def files_below(folder: str) -> list[Path]:
    """Source files, without what was compiled or cached."""
    return [
        path.relative_to(ROOT)
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".so", ".pyc"}
    ]


def in_ticks(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("folder", CODE)
def test_no_folder_has_too_many_files(folder: str) -> None:
    """A folder with more files must be split."""
    counts = Counter(path.parent.as_posix() for path in files_below(folder) if path.name != "__init__.py")
    assert counts
    assert {name: count for name, count in counts.items() if count > MAX_FILES and name not in NUMBERED} == {}


@pytest.mark.parametrize("folder", ["schemas", "receiver", "workers", "console", "ops"])
def test_every_package_says_what_happens_there(folder: str) -> None:
    """In the docstring of its __init__.py; ops/deploy is no package."""
    wrong = []
    for path in {path.parent for path in files_below(folder) if path.suffix == ".py"}:
        if path.parts[:2] == ("ops", "deploy"):
            continue
        init = ROOT / path / "__init__.py"
        tree = ast.parse(init.read_text()) if init.exists() else ast.parse("")
        if not ast.get_docstring(tree):
            wrong.append(str(path))
    assert wrong == []


def test_every_path_on_the_page_exists() -> None:
    """Files and folders, as a reader would open them."""
    named = {name for name in in_ticks(PAGE) if re.fullmatch(r"[\w-]+(/[\w.-]+)*/?", name) and ("/" in name)}
    assert len(named) > 60
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[0])
def test_what_a_step_names_is_in_its_files(step: list[str]) -> None:
    """Functions and classes; a step that is the same as another says so and names none."""
    _, where, there = step
    defined = {
        node.name
        for name in in_ticks(where)
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert set(in_ticks(there)) <= defined
    assert bool(in_ticks(there)) or where == "as above"


def test_both_ways_are_read() -> None:
    """Or nothing above would promise anything."""
    assert len(STEPS) > 18


def test_every_folder_of_code_stands_on_the_map() -> None:
    """A new folder is a new line on the page."""
    tracked = subprocess.run(["git", "ls-files", *CODE[:5]], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout: which folders belong to the tree is not known")
    folders = {Path(name).parent.as_posix() + "/" for name in tracked.stdout.splitlines() if name.endswith(".py")}
    folders = {name for name in folders if not name.startswith("ops/deploy/")} - {"ops/"}
    assert folders
    assert folders - set(in_ticks(PAGE)) == set()


def test_every_part_of_ops_is_kept_from_receiver_workers_and_console() -> None:
    """A new folder of ops has to be named in the contract, or the arrow would not know of it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if one.get("source_modules") == ["receiver", "workers", "console"]]
    folders = {f"ops.{path.parent.name}" for path in (ROOT / "ops").glob("*/__init__.py")}
    assert set(contract["forbidden_modules"]) == folders - {"ops.runtime"}
