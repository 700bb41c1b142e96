"""`python -m tests.fuzz.sanitized`: the readers in C under the address and undefined-behaviour sanitizers, fuzzed.

They are built into a temporary folder and read mutated inputs beside their twins in Python. Another answer, a byte read
outside of its buffer, an overflow or a leak ends it with exit code 1. Where there is no compiler it says so and skips.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from schemas.compiled import build_readers
from tests.fuzz.targets.twins import FOLDER

FLAGS: Final = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
INPUTS: Final = 200_000
# The runtime has to be loaded before Python; both compilers' names for it.
_RUNTIMES: Final = ("libasan.so", f"libclang_rt.asan-{os.uname().machine}.so", "libclang_rt.asan.so")
# Python itself never frees some of what it made. Memory that grows is seen by the bench.
_OPTIONS: Final = {
    "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=8:malloc_context_size=8:abort_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # Each object a block of its own: nothing hides in Python's pools.
    "PYTHONMALLOC": "malloc",
}


class NoSanitizersError(Exception):
    """Why there is nothing to run."""


def environment(folder: Path) -> dict[str, str]:
    """Builds into `folder`; what a Python that shall load it has to be started with. Raises NoSanitizersError."""
    try:
        runtime = _runtime()
    except build_readers.CannotBuildError as error:
        raise NoSanitizersError(str(error)) from error
    found = build_readers.build(folder, FLAGS, is_tried=False)
    if not found.paths:
        raise NoSanitizersError(found.missing)
    made = dict(os.environ) | _OPTIONS | {FOLDER: str(folder), "LD_PRELOAD": runtime}
    started = subprocess.run([sys.executable, "-c", ""], env=made, capture_output=True, text=True, check=False)
    if started.returncode or started.stderr:
        raise NoSanitizersError(f"Python does not start under {runtime}: {started.stderr[-300:]}")
    return made


def _runtime() -> str:
    for name in _RUNTIMES:
        command = [*build_readers.compiler(), "-shared-libasan" if "clang" in name else "-fsanitize=address"]
        command += [f"-print-file-name={name}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if Path(found).is_absolute() and Path(found).exists():
            return found
    raise NoSanitizersError("the compiler has no address sanitizer")


def main() -> int:
    """Builds and runs; the exit code is that of the fuzzer, 0 where nothing could be built."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sanitized", description=__doc__)
    parser.add_argument("targets", nargs="*", default=["twin"], metavar="TARGET", help="default: every twin")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="inputs for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="side by side (default: %(default)s)")
    asked = parser.parse_args()
    numbers = [f"--{name}={getattr(asked, name)}" for name in ("inputs", "seed", "processes")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = environment(Path(folder))
        except NoSanitizersError as error:
            sys.stdout.write(f"skipped: {error}\n")
            return 0
        return subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *numbers, *asked.targets], env=made, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
