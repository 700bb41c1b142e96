"""Building a wheel: the readers of schemas/compiled/*.c are compiled into it where there is a C compiler. Without, it
is pure.

An editable install gets them beside their sources.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

sys.path.insert(0, str(Path(__file__).parent))
from schemas.compiled import build_readers  # not installed yet, and needs nothing that is


class CompiledReaders(BuildHookInterface[Any]):
    """A wheel with compiled files is for this kind of machine, and for every CPython from 3.11 on (stable ABI)."""

    folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds what could be compiled; says in one line what that was."""
        if version == "editable":
            self.app.display_info(build_readers.summary(build_readers.build()))
            return
        self.folder = Path(tempfile.mkdtemp(prefix="axonpush-native-"))
        found = build_readers.build(self.folder)
        self.app.display_info(build_readers.summary(found))
        if found.paths:
            build_data["pure_python"] = False
            build_data["tag"] = f"{build_readers.PYTHON_TAG}-abi3-{_platform()}"
            build_data["force_include"] |= {str(path): f"schemas/compiled/{path.name}" for path in found.paths}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what was compiled for the wheel alone."""
        if self.folder is not None:
            shutil.rmtree(self.folder)


def _platform() -> str:
    """This machine's platform tag. manylinux and musllinux promise more than an ordinary build can keep."""
    return next(tag.platform for tag in sys_tags() if "linux_" not in tag.platform or tag.platform.startswith("linux_"))
