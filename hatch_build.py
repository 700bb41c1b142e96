"""Building a wheel: the readers of schemas/*.c are compiled into it where there is a C compiler. Without, it is pure.

An editable install gets them beside their sources.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from ops import native  # not installed yet, and needs nothing that is


class CompiledReaders(BuildHookInterface[Any]):
    """A wheel with compiled files is for this Python and this kind of machine, and is named so."""

    folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds what could be compiled; says in one line what that was."""
        if version == "editable":
            self.app.display_info(native.told(native.build()))
            return
        self.folder = Path(tempfile.mkdtemp(prefix="axonpush-native-"))
        found = native.build(self.folder)
        self.app.display_info(native.told(found))
        if found.paths:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"] |= {str(path): f"schemas/{path.name}" for path in found.paths}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what was compiled for the wheel alone."""
        if self.folder is not None:
            shutil.rmtree(self.folder)
