"""Whether the `axonpush up` of this folder runs: its lock tells. Which processes it has, and which of them someone
stopped. Changes nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.cli.servers import READY_FILE, read_json
from ops.local.data_dir import LOCK_FILE, LOGS_FOLDER

# The kinds in ready.json, for people.
_NAMES: Final = {
    "nats": "the broker",
    "clickhouse": "ClickHouse",
    "receiver": "the receiver",
    "worker": "the worker",
    "console": "the console",
    "alerts": "the process of alerts",
    "janitor": "the janitor",
}


@dataclass(frozen=True, slots=True)
class LocalUp:
    """A running `up`: its process id, the folder of its logs, and its processes by kind."""

    pid: str
    logs: str
    # Of its embedded ClickHouse, where that process lives; else empty.
    clickhouse_pid: str = ""
    # Processes that live, and those of them that someone stopped (kill -STOP).
    pids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    stopped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # Whether the ClickHouse that is asked is its own, and not one that a variable names.
    has_clickhouse: bool = True

    @property
    def text(self) -> str:
        """For a person who looks for the cause."""
        return f"`axonpush up` of this folder runs (process {self.pid}); its logs are in {self.logs}"

    def silent(self, kind: str) -> str:
        """What to do about a process of this kind that does not answer although it lives; empty if none lives."""
        stopped, pids = self.stopped.get(kind, ()), self.pids.get(kind, ())
        if stopped:
            is_one = len(stopped) == 1
            number = _numbers(stopped)
            return (
                f"someone stopped {_NAMES[kind]} of this folder's `axonpush up` (pid {', '.join(map(str, stopped))}): "
                f"`kill -CONT {number}` continues {'it' if is_one else 'them'}"
            )
        if not pids:
            return ""
        return (
            f"{_NAMES[kind]} of this folder's `axonpush up` runs but does not answer (pid "
            f"{', '.join(map(str, pids))}): it is busy, stopped or hangs. `kill -CONT {_numbers(pids)}` continues a "
            f"stopped one; if it stays, `kill -9 {_numbers(pids)}`, and up starts a new one"
        )


def running_up(data_dir: Path) -> LocalUp | None:
    """The `up` that holds the lock of this folder; None if there is none."""
    with contextlib.suppress(OSError), (data_dir / LOCK_FILE).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            logs = str(data_dir.resolve() / LOGS_FOLDER)
            pids = {kind: pids_of_kind for kind in _NAMES if (pids_of_kind := _living(data_dir, kind))}
            stopped = {kind: pids_of_kind for kind in pids if (pids_of_kind := tuple(filter(_is_stopped, pids[kind])))}
            clickhouse = str(pids["clickhouse"][0]) if "clickhouse" in pids else ""
            return LocalUp(lock.read().strip() or "unknown", logs, clickhouse, pids, stopped)
    return None


def _living(data_dir: Path, kind: str) -> tuple[int, ...]:
    named = read_json(data_dir / READY_FILE).get("pids")
    pids = named.get(kind) if isinstance(named, dict) else None
    living = []
    for pid in pids if isinstance(pids, list) else ():
        with contextlib.suppress(OSError, TypeError, ValueError, OverflowError):
            os.kill(int(pid), 0)  # asks only whether it lives
            living.append(int(pid))
    return tuple(living)


def _is_stopped(pid: int) -> bool:
    """As `kill -STOP` leaves it. Where there is no /proc, nothing is known to be stopped."""
    with contextlib.suppress(OSError, IndexError):
        # After the name, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"T", "t"}
    return False


def _numbers(pids: tuple[int, ...]) -> str:
    return " ".join(map(str, pids))
