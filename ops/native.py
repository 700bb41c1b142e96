"""`python -m ops.native`: compiles the optional C twins of schemas/ beside their sources. All works without, slower.

Nothing else builds them (docs/decisions/0010-normalising.md says why). No compiler is no error: Python takes over.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parents[1] / "schemas"
NAMES: Final = ("_plain_json", "_plain_spans")
# The stable ABI: one file serves every CPython from 3.11 on.
SUFFIX: Final = ".abi3.so"
_FLAGS: Final = ("-O2", "-Wall", "-Wextra", "-shared", "-fPIC")


def build(folder: Path = SOURCES) -> list[Path]:
    """Compiles every twin into `folder`; returns what there is now, nothing where there is no compiler for it."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if os.name != "posix" or shutil.which(compiler[0]) is None:
        return []
    return [built for name in NAMES if (built := _compiled(compiler, name, folder))]


def _compiled(compiler: list[str], name: str, folder: Path) -> Path | None:
    """Compiled under another name first, so that a running process keeps the file that it has mapped."""
    target, fresh = folder / f"{name}{SUFFIX}", folder / f".{name}.{os.getpid()}.so"
    include = f"-I{sysconfig.get_path('include')}"
    undefined = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()
    command = [*compiler, *_FLAGS, *undefined, include, str(SOURCES / f"{name}.c"), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        fresh.unlink(missing_ok=True)
        sys.stderr.write(f"{name}.c: expected it to compile, found: {done.stderr[-500:]}\nGoing on without it.\n")
        return None
    return fresh.replace(target)


if __name__ == "__main__":
    built_names = ", ".join(path.name for path in build()) or "nothing: no C compiler for it; all works without"
    sys.stdout.write(f"built {built_names}\n")
