"""For `up`: warns when a disk it writes to has too little space, and reports when it has space again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ops.provisioning.streams import MIB

LOOK_EVERY_S: Final = 2.0
# Two of the largest messages and a few parts. With less than this, writes fail soon.
MIN_FREE_BYTES: Final = 16 * MIB


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of `folder`; 0 if there are free bytes but no free inodes."""
    stats = os.statvfs(folder)
    return 0 if stats.f_files and not stats.f_favail else stats.f_bavail * stats.f_frsize


class DiskWatch:
    """`folders` by their description for messages. `warn` prints one line."""

    def __init__(self, folders: Mapping[str, Path], warn: Callable[[str], None]) -> None:
        self._folders = folders
        self._warn = warn
        self._short: set[str] = set()

    async def watch(self) -> None:
        """Checks for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Checks once and reports what changed since the last check."""
        for what, folder in self._folders.items():
            try:
                is_short = free_bytes(folder) < MIN_FREE_BYTES
            except OSError:  # not created yet
                continue
            if is_short and what not in self._short:
                self._warn(
                    f"the disk of {folder} ({what}) has less than {MIN_FREE_BYTES // MIB} MiB free: make room. Nothing "
                    "that was acknowledged is lost; everything continues once there is space"
                )
            elif not is_short and what in self._short:
                self._warn(f"the disk of {folder} ({what}) has space again")
            (self._short.add if is_short else self._short.discard)(what)
