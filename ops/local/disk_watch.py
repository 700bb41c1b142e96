"""`up` and the disks it writes to: a person is told when one has too little room, and when it has room again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ops.provisioning.streams import MIB

LOOK_EVERY_S: Final = 2.0
# Two of the largest messages, a few parts: with less than this, writes fail now or in a moment.
ROOM_BYTES: Final = 16 * MIB


def room_bytes(folder: Path) -> int:
    """Room for new files on the disk of `folder`; none where there are bytes and no inodes left."""
    found = os.statvfs(folder)
    return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize


class DiskWatch:
    """`folders` by what is in them, for a person. `warn` tells one line."""

    def __init__(self, folders: Mapping[str, Path], warn: Callable[[str], None]) -> None:
        self._folders = folders
        self._warn = warn
        self._short: set[str] = set()

    async def watch(self) -> None:
        """Looks for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """One look; says what has changed since the last one."""
        for what, folder in self._folders.items():
            try:
                is_short = room_bytes(folder) < ROOM_BYTES
            except OSError:  # not made yet
                continue
            if is_short and what not in self._short:
                self._warn(
                    f"the disk of {folder} ({what}) has less than {ROOM_BYTES // MIB} MiB free: make room. Nothing "
                    "that was acknowledged is lost, and everything goes on by itself"
                )
            elif not is_short and what in self._short:
                self._warn(f"the disk of {folder} ({what}) has room again")
            (self._short.add if is_short else self._short.discard)(what)
