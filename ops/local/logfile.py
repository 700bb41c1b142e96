"""The log file of one child process: kept within bounds, with its last lines at hand for a person."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO, Final

MAX_BYTES: Final = 32 * 1024**2
TAIL_BYTES: Final = 8192


class LogFile:
    """`path` holds what the child writes now, `path`.1 what it wrote before; both together at most 2 x MAX_BYTES."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._older = path.with_name(path.name + ".1")

    def start_over(self) -> None:
        """A new run begins: its log starts empty."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self._older)

    def open(self) -> BinaryIO:
        """The file as a child's output: appending, so that cutting it while the child runs is safe."""
        return self.path.open("ab")

    def cut(self) -> None:
        """Moves a file above MAX_BYTES aside. The child keeps its descriptor and goes on at the new end."""
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            shutil.copyfile(self.path, self._older)
            os.truncate(self.path, 0)

    def tail(self, lines: int) -> list[str]:
        """The last lines of the file, without control characters a terminal would obey."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
        return ["".join(c for c in line if c.isprintable()) for line in text.splitlines() if line.strip()][-lines:]
