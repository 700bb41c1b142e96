"""`python -m tests.mutants [--sample N] [--seed S] [--measure] [PATH...]`: would the unit tests notice a fault?

Draws faults in lines that unit tests execute, tries each in a copy of the tree against the tests that execute its line,
and prints the share that was noticed and every fault that was not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from coverage import CoverageData

from tests.mutants.faults import Fault, sample

ROOT: Final = Path(__file__).resolve().parents[2]
REACHED: Final = ROOT / ".mutants" / "reached"
CODE: Final = ("schemas", "receiver", "workers", "console", "ops/janitor", "ops/registry", "ops/replay", "ops/runtime")
# Tests of the rest of ops and of the project reach little of it and take most of the time.
TESTS: Final = (
    *("tests/unit/schemas", "tests/unit/receiver", "tests/unit/workers", "tests/unit/console"),
    *("tests/unit/ops/janitor", "tests/unit/ops/registry", "tests/unit/ops/replay", "tests/unit/ops/runtime"),
)
# A line that every request runs through is executed by thousands: those that execute the fewest lines, because they are
# most likely to be about this one, and as many drawn by the seed.
MAX_TESTS: Final = 120
NEAREST: Final = 15
LIMIT_S: Final = 600
# Of pytest's exit codes.
PASSED: Final = 0
NO_TESTS: Final = 5
_WORDS: Final = {True: ".", False: "not noticed:", None: "not judged:"}

# {file: {line: tests that execute it}}
Reach = dict[Path, dict[int, list[str]]]


def main() -> int:
    """Prints the share and the survivors; the exit code says nothing, for this is a measure and no check."""
    arguments = _arguments()
    if arguments.measure or not REACHED.exists():
        _measure()
    reach = _reach()
    paths = [path for path in reach if not arguments.paths or any(one in str(path) for one in arguments.paths)]
    seed, lines = arguments.seed, _lines_of_tests(reach)
    faults = sample(paths, {path: set(reach[path]) for path in paths}, arguments.sample, seed)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.processes) as pool:
        trees = [_copied(Path(folder) / str(number)) for number in range(arguments.processes)]
        found = list(pool.map(lambda fault: _try(fault, _nearest(fault, reach, lines, seed), trees), faults))
    _print(faults, found)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", help="only files whose path has one of these in it")
    parser.add_argument("--sample", type=int, default=200, help="how many faults are drawn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="find out again which test executes which line")
    return parser.parse_args()


def _measure() -> None:
    """Runs the unit tests once under coverage; takes some minutes."""
    REACHED.parent.mkdir(exist_ok=True)
    settings = REACHED.with_suffix(".ini")
    settings.write_text("[run]\nsource = schemas,receiver,workers,console,ops\n")
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", f"--data-file={REACHED}"]
    command += ["-m", "pytest", "-q", "-p", "tests.mutants.contexts", "-p", "no:cacheprovider", *TESTS]
    subprocess.run(command, cwd=ROOT, check=True)


def _reach() -> Reach:
    data = CoverageData(str(REACHED))
    data.read()
    found: Reach = {}
    for name in data.measured_files():
        path = Path(name).relative_to(ROOT)
        if str(path).startswith(CODE):
            by_line = {line: [one for one in tests if one] for line, tests in data.contexts_by_lineno(name).items()}
            found[path] = {line: tests for line, tests in by_line.items() if tests}
    return found


def _copied(folder: Path) -> Path:
    """The tree without what is large; installed packages are this interpreter's."""
    ignored = shutil.ignore_patterns(".git", ".venv", ".*cache", ".hypothesis", ".mutants", ".axonpush", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    # Compiled once. Later runs read this and write none: a file with a fault in it is newer than what is compiled.
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *TESTS]
    told = os.environ | {"PYTHONPATH": str(folder)}
    subprocess.run(command, cwd=folder, env=told, capture_output=True, check=True)
    return folder


def _try(fault: Fault, tests: list[str], trees: list[Path]) -> bool | None:
    """Whether a test noticed; None where the fault could not be made, or the machine was too busy to tell."""
    tree = trees.pop()
    source = (tree / fault.path).read_text()
    try:
        if (code := fault.code(source)) is None or code == source:
            return None
        (tree / fault.path).write_text(code)
        failed = _first_failed(tree, tests, fault.path)
        (tree / fault.path).write_text(source)
        # A test that fails without the fault too, for example because it was too slow, has noticed nothing.
        if failed and _failed(tree, failed) != []:
            failed = None
        found = None if failed is None else failed != []
        print(_WORDS[found], "" if found else _told(fault, source), flush=True)
        return found
    finally:
        (tree / fault.path).write_text(source)
        trees.append(tree)


def _lines_of_tests(reach: Reach) -> Counter[str]:
    """How many lines each test executes."""
    return Counter(test for by_line in reach.values() for tests in by_line.values() for test in tests)


def _nearest(fault: Fault, reach: Reach, lines: Counter[str], seed: int) -> list[str]:
    """MAX_TESTS of the tests that execute the line of the fault."""
    tests = sorted(reach[fault.path][fault.line])
    random.Random(seed).shuffle(tests)
    narrow = sorted(tests, key=lines.__getitem__)[: MAX_TESTS // 2]
    return list(dict.fromkeys([*narrow, *tests]))[:MAX_TESTS]


def _first_failed(tree: Path, tests: list[str], path: Path) -> list[str] | None:
    """As `_failed`; tests of the file's own first, then the nearest: they notice most, in few files."""
    own = [test for test in tests if f"/test_{path.stem}.py::" in test]
    others = [test for test in tests if test not in own]
    found: list[str] | None = None
    for some in (own, others[:NEAREST], others[NEAREST:]):
        if some and (failed := _failed(tree, some)) is not None:
            found = failed
        if found:
            break
    return found


def _failed(tree: Path, tests: list[str]) -> list[str] | None:
    """The first of these tests that fails, or all of them where they do not end; None where none can be run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.chosen"]
    files = sorted({one.partition("::")[0] for one in tests})
    chosen, failed = tree / "chosen.txt", tree / "failed.txt"
    chosen.write_text("\n".join(tests))
    failed.write_text("")
    told = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    told |= {"MUTANTS_CHOSEN": str(chosen), "MUTANTS_FAILED": str(failed)}
    try:
        done = subprocess.run(
            [*command, *files], cwd=tree, env=os.environ | told, capture_output=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return tests
    if done.returncode == NO_TESTS:
        return None
    # Without the name of a test: the file could not be collected.
    return [] if done.returncode == PASSED else failed.read_text().splitlines()[:1] or tests[:1]


def _told(fault: Fault, source: str) -> str:
    line = source.splitlines()[fault.line - 1].strip()
    return f"{fault.path}:{fault.line} {fault.operator.removeprefix('core/')}: {line}"


def _print(faults: list[Fault], found: list[bool | None]) -> None:
    tried: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    for fault, was_noticed in zip(faults, found, strict=True):
        if was_noticed is not None:
            tried[str(fault.path)] += 1
            noticed[str(fault.path)] += was_noticed
    for path in sorted(tried):
        print(f"{noticed[path]:4} of {tried[path]:4}  {path}")
    print(f"noticed {noticed.total()} of {tried.total()}: {noticed.total() / max(1, tried.total()):.0%}")


if __name__ == "__main__":
    sys.exit(main())
