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

from ops.cli.servers import READY_FILE, read_json, same_servers
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
    # Processes that live, and those of them that someone stopped (kill -STOP).
    pids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    stopped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # Kinds that it runs, and of which no process lives or is ready: it starts them again.
    ended: frozenset[str] = frozenset()
    # Whether someone stopped `up` itself: then it starts nothing.
    is_stopped: bool = False
    # Whether the ClickHouse that is asked is its own, and not one that a variable names.
    has_clickhouse: bool = True

    @property
    def text(self) -> str:
        """For a person who looks for the cause."""
        return f"`axonpush up` of this folder runs (process {self.pid}); its logs are in {self.logs}"

    def cause(self, kind: str) -> str:
        """Why a process of this kind does not answer, and what to do; empty for what this `up` does not run."""
        if kind not in self.ended:
            return self.silent(kind)
        name = f"{_NAMES[kind]} of this folder's `axonpush up` has ended, or is starting"
        if self.is_stopped:
            return f"{name}, and someone stopped `up` itself: `kill -CONT {self.pid}` continues it"
        return f"{name}: `up` starts it again within seconds. If this stays, its log in {self.logs} says why"

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
            runs = read_json(data_dir / READY_FILE).get("runs")
            ended = frozenset(runs if isinstance(runs, list) else ()) & _NAMES.keys() - pids.keys()
            pid = lock.read().strip() or "unknown"
            return LocalUp(pid, logs, pids, stopped, frozenset(ended), is_stopped=_is_stopped(pid))
    return None


def up_of(data_dir: Path, server: str, url: str) -> LocalUp | None:
    """The `up` that runs in this folder, if this address of a server is its own, however the address was named.

    `server` is a name of SERVERS. In ready.json an address has user and password, which settings have apart.
    """
    own = read_json(data_dir / READY_FILE).get(server)
    return running_up(data_dir) if isinstance(own, str) and same_servers(url, own) else None


def _living(data_dir: Path, kind: str) -> tuple[int, ...]:
    named = read_json(data_dir / READY_FILE).get("pids")
    pids = named.get(kind) if isinstance(named, dict) else None
    living = []
    for pid in pids if isinstance(pids, list) else ():
        with contextlib.suppress(OSError, TypeError, ValueError, OverflowError):
            os.kill(int(pid), 0)  # asks only whether it lives
            if _state(int(pid)) != "Z":  # ended, and `up` has not looked yet
                living.append(int(pid))
    return tuple(living)


def _is_stopped(pid: int | str) -> bool:
    """As `kill -STOP` leaves it. Where there is no /proc, nothing is known to be stopped."""
    return _state(pid) in {"T", "t"}


def _state(pid: int | str) -> str:
    """The letter that /proc has for a process; empty if it has none."""
    with contextlib.suppress(OSError, IndexError):
        # After the name, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def _numbers(pids: tuple[int, ...]) -> str:
    return " ".join(map(str, pids))
