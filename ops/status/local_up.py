"""Whether the `axonpush up` of this folder runs: its lock tells. Changes nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from ops.cli.servers import READY_FILE, read_json
from ops.local.data_dir import LOCK_FILE, LOGS_FOLDER


@dataclass(frozen=True, slots=True)
class LocalUp:
    """A running `up`: its process id, the folder of its logs, and its ClickHouse."""

    pid: str
    logs: str
    # Of its embedded ClickHouse, where that process lives; else empty.
    clickhouse_pid: str = ""

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
            logs = str(data_dir.resolve() / LOGS_FOLDER)
            return LocalUp(lock.read().strip() or "unknown", logs, _clickhouse_pid(data_dir))
    return None


def _clickhouse_pid(data_dir: Path) -> str:
    pids = read_json(data_dir / READY_FILE).get("pids")
    found = pids.get("clickhouse") if isinstance(pids, dict) else None
    for pid in found if isinstance(found, list) else ():
        with contextlib.suppress(OSError, TypeError, ValueError, OverflowError):
            os.kill(int(pid), 0)  # asks only whether it lives
            return str(int(pid))
    return ""
