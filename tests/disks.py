"""Small disks for tests: a file system of its own that can be filled and freed. Needs root on Linux."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FILLER: Final = "filler-of-a-test"
_PIECES: Final = (1 << 20, 1 << 12, 1)


def why_not() -> str:
    """Why no disk can be made here; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux: it mounts a tmpfs"
    return "" if subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0 else "may not mount"


class SmallDisk:
    """A file system of `size_bytes` at `folder`."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self._size_bytes = size_bytes

    def mount(self) -> SmallDisk:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self._size_bytes},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "axonpush-test", str(self.folder)], check=True)
        return self

    def unmount(self) -> None:
        """Whoever still has files open there keeps them; nobody finds the place any more."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def fill(self) -> None:
        """To the last byte, by a file that belongs to nobody else."""
        with (self.folder / _FILLER).open("ab", buffering=0) as file:
            for size in _PIECES:
                piece = b"x" * size
                with contextlib.suppress(OSError):
                    while file.write(piece) == size:
                        pass

    def free(self) -> None:
        """As it was before `fill`."""
        (self.folder / _FILLER).unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """A mounted disk, unmounted at the end."""
    disk = SmallDisk(folder, size_bytes).mount()
    try:
        yield disk
    finally:
        disk.unmount()
