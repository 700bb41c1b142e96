"""`python -m schemas.compiled.build_readers`: compiles the parsers in schemas/compiled/*.c, and prints one line.

`make install` and the build of a wheel do the same. Without a compiler everything works, but OTLP spans are slower.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

SOURCES: Final = Path(__file__).parent
NAMES: Final = ("_key_needles", "_log_blocks", "_plain_json", "_plain_spans", "_sentry_spans", "_span_blocks")
# The stable ABI: one file serves every CPython from 3.11 on.
SUFFIX: Final = ".abi3.so"
PYTHON_TAG: Final = "cp311"
# Hardening beyond the defaults: protects the stack and the table of imported functions against wrong writes.
FLAGS: Final = ("-O2", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")
# Here a third faster, most of it in BLAKE2b; elsewhere it gives nothing.
_FASTER: Final = dict.fromkeys(("_span_blocks", "_log_blocks", "_sentry_spans"), ("-O3",))
_ALWAYS: Final = ("-Wall", "-Wextra", "-shared", "-fPIC")
_LINKED: Final = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-Wl,-z,relro,-z,now",)
# In a separate process, to find a file that cannot be loaded or that crashes.
_TRIAL: Final = """
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
loader = ExtensionFileLoader(sys.argv[1], sys.argv[2])
loader.exec_module(module_from_spec(spec_from_loader(sys.argv[1], loader)))
"""
_TRIAL_S: Final = 60
_COMPILE_S: Final = 300


class BuiltReaders(NamedTuple):
    """The result: all parsers or none, how many are new, and why there are none."""

    paths: list[Path]
    built: int
    missing: str


class CannotBuildError(Exception):
    """Why nothing can be built, in a few words."""


def build(folder: Path = SOURCES, flags: Sequence[str] = FLAGS, *, is_tried: bool = True) -> BuiltReaders:
    """Compiles what is missing in `folder` or older than its sources. If that fails, no old file is left.

    `is_tried` loads each file once, which also detects files of another Python or system. Not possible for files built
    with a sanitizer.
    """
    paths = {name: folder / f"{name}{SUFFIX}" for name in NAMES}
    stale = [name for name in NAMES if not _is_fresh(paths[name]) or (is_tried and not _is_loaded(name, paths[name]))]
    try:
        for name in stale:
            _compile(name, folder, flags, is_tried=is_tried)
    except (CannotBuildError, OSError, subprocess.TimeoutExpired) as error:
        for path in paths.values():
            _remove(path)
        return BuiltReaders([], 0, " ".join(str(error).split())[:300])
    return BuiltReaders(list(paths.values()), len(stale), "")


def summary(readers: BuiltReaders) -> str:
    """The line to print."""
    if not readers.paths:
        return f"compiled readers of OTLP spans: none ({readers.missing}). All works without them, spans at half speed."
    names = ", ".join(path.name for path in readers.paths)
    return f"compiled readers of OTLP spans: {'built' if readers.built else 'up to date'} ({names})"


def _is_fresh(target: Path) -> bool:
    """Newer than its sources, its headers and this file."""
    sources = [*SOURCES.glob("_*.c"), *SOURCES.glob("include/*.h"), Path(__file__)]
    return target.exists() and target.stat().st_mtime > max(source.stat().st_mtime for source in sources)


def _compile(name: str, folder: Path, flags: Sequence[str], *, is_tried: bool) -> None:
    """Compiles to another name first, because a running process keeps the mapped file. Raises CannotBuildError."""
    target, fresh = folder / f"{name}{SUFFIX}", folder / f".{name}.{os.getpid()}.so"
    include = f"-I{_include()}"
    more = _FASTER.get(name, ()) if flags == FLAGS else ()
    command = [*compiler(), *flags, *more, *_ALWAYS, include, str(SOURCES / f"{name}.c"), "-o", str(fresh), *_LINKED]
    try:
        _run(command, f"{command[0]} refuses {name}.c", _COMPILE_S)
        if is_tried:
            _run(_trial(name, fresh), f"{name} cannot be loaded", _TRIAL_S)
        fresh.replace(target)
    finally:
        _remove(fresh)


def _trial(name: str, path: Path) -> list[str]:
    return [sys.executable, "-I", "-c", _TRIAL, name, str(path)]


def _is_loaded(name: str, path: Path) -> bool:
    return subprocess.run(_trial(name, path), capture_output=True, check=False, timeout=_TRIAL_S).returncode == 0


def compiler() -> list[str]:
    """The command of CC, or cc. Raises CannotBuildError."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        raise CannotBuildError(f"no C compiler: {command[0]} is not there")
    return command


def _include() -> str:
    """The folder of Python.h. Raises CannotBuildError."""
    if os.name != "posix" or sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise CannotBuildError("only for CPython with its global lock, on Linux and macOS")
    folder = sysconfig.get_path("include")
    if not Path(folder, "Python.h").exists():
        raise CannotBuildError("no Python.h: the headers of this Python, such as python3-dev, are not installed")
    return folder


def _run(command: list[str], failure: str, timeout_s: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()[-1:]
        raise CannotBuildError(f"{failure}: {lines[0] if lines else f'exit code {done.returncode}'}")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        sys.stderr.write(f"{path} is out of date and cannot be removed: {error}\n")


if __name__ == "__main__":
    sys.stdout.write(f"{summary(build())}\n")
