"""Whether the `axonpush up` of this folder runs: its lock tells. Changes nothing."""

from __future__ import annotations

import contextlib
import fcntl
from dataclasses import dataclass
from pathlib import Path

from ops.local.data_dir import LOCK_FILE, LOGS_FOLDER


@dataclass(frozen=True, slots=True)
class LocalUp:
    """A running `up`: its process id, and the folder of its logs."""

    pid: str
    logs: str

    @property
    def text(self) -> str:
        """For a person who looks for the cause."""
        return f"`axonpush up` of this folder runs (process {self.pid}); its logs are in {self.logs}"


def running_up(data_dir: Path) -> LocalUp | None:
    """The `up` that holds the lock of this folder; None if there is none."""
    with contextlib.suppress(OSError), (data_dir / LOCK_FILE).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return LocalUp(lock.read().strip() or "unknown", str(data_dir.resolve() / LOGS_FOLDER))
    return None
