"""The log file of one child process: limited in size, with its last lines available for messages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO, Final

MAX_BYTES: Final = 32 * 1024**2
TAIL_BYTES: Final = 8192


class LogFile:
    """`path` has the current output, `path`.1 the earlier output; together at most 2 x MAX_BYTES."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._older = path.with_name(path.name + ".1")

    def start_over(self) -> None:
        """Empties the log for a new run."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self._older)

    def open(self) -> BinaryIO:
        """Opens the file for a child's output, in append mode, so that truncating it meanwhile is safe."""
        return self.path.open("ab")

    def cut(self) -> None:
        """Copies a file above MAX_BYTES aside and truncates it. The child keeps its descriptor and appends on."""
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            shutil.copyfile(self.path, self._older)
            os.truncate(self.path, 0)

    def tail(self, lines: int) -> list[str]:
        """The last lines of the file, without control characters."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
        return ["".join(c for c in line if c.isprintable()) for line in text.splitlines() if line.strip()][-lines:]
