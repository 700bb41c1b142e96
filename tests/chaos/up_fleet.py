"""`axonpush up` as a place for faults: broker, engine and logs each on a small disk of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from ops.runtime.settings import Settings
from tests.chaos.fleet import Fleet
from tests.disks import SmallDisk
from tests.system import System

MIB: Final = 1024**2
DISKS: Final = {"nats": 256 * MIB, "clickhouse": 600 * MIB, "logs": 8 * MIB}


class UpFleet(Fleet):
    """The same questions as to a Fleet, to a system that looks after itself: nobody here starts anything again."""

    def __init__(self, folder: Path) -> None:  # nothing of the parent's: no links, no members, no watcher
        self.folder = folder
        self.system = System(folder, "--workers", "2", AXONPUSH_JANITOR_INTERVAL_S="1")
        self.disks = {name: SmallDisk(self.system.data_dir / name, size) for name, size in DISKS.items()}

    def start(self) -> UpFleet:
        self.system.data_dir.mkdir(mode=0o700)
        for disk in self.disks.values():
            disk.mount()
        self.system.start()
        return self

    def end(self) -> None:
        """Ends what it started, by process id, and takes the disks away."""
        self.system.end()
        for disk in self.disks.values():
            disk.unmount()

    def urls(self) -> list[str]:
        return [self.system.ready["url"]]

    def settings(self) -> Settings:
        ready = self.system.ready
        return Settings(nats_url=ready["nats_url"], clickhouse_url=self.system.operator_url())

    def channel(self, number: int, *, public: bool = False) -> str:
        self.system.cli("channels", "create", "--id", str(number), "--name", f"chaos-{number}")
        kind = ("--public",) if public else ()
        return self.system.mint("--channel", str(number), *kind, environment="development")

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        return self.system.query(sql, **parameters)

    def ready_status(self) -> int:
        """Of the receiver's /ready."""
        try:
            with urllib.request.urlopen(f"{self.urls()[0]}/ready", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def kill_child(self, kind: str) -> None:
        """kill -9 of a child of `up`, which starts another one."""
        for pid in self.system.ready["pids"][kind]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
