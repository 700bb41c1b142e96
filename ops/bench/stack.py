"""A complete system for one measurement: broker, engine, receivers, workers, each a process, on free ports.

Not `axonpush up`: figures need a receiver without workers, two receivers side by side, workers started late.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ops.bench import machine
from ops.local import clickhouse_http, nats_server, ports, probes, programs
from ops.local.clickhouse_http.access import users
from ops.provisioning import migrate
from ops.provisioning.streams import GIB, MIB, Budgets
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings

HOST: Final = "127.0.0.1"
START_DEADLINE_S: Final = 60.0
STOP_TIMEOUT_S: Final = 40.0
POLL_S: Final = 0.02
CHANNEL: Final = 1
# For a receiver without workers.
NO_COUNTS: Final = {"counts_wait_sentry_ms": 0, "counts_wait_otlp_ms": 0}
BUDGETS: Final = Budgets(
    raw_max_bytes=6 * GIB, items_max_bytes=3 * GIB, dead_max_bytes=256 * MIB, replay_max_bytes=64 * MIB
)


class Stack:
    """Processes by name, and how to reach them. `running` creates it and ends its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.nats_port = free_port()
        self.clickhouse_port = free_port()
        self.key = ""
        self.passwords = users.passwords(folder / "clickhouse")
        self.settings = Settings(
            nats_url=f"nats://{HOST}:{self.nats_port}", clickhouse_url=self._clickhouse_url(users.OPERATOR)
        )

    def _clickhouse_url(self, user: str) -> str:
        return f"http://{user}:{self.passwords[user]}@{HOST}:{self.clickhouse_port}"

    # --- starting

    def start_broker(self) -> None:
        """nats-server with every acknowledged message on disk, streams, a channel and a key."""
        config = self.folder / "nats.conf"
        config.write_text(
            nats_server.config(
                host=HOST, port=self.nats_port, store_dir=self.folder / "nats", max_file_bytes=BUDGETS.total_bytes()
            )
        )
        self.start("nats", nats_server.command(config))
        self._wait_for(lambda: asyncio.run(probes.nats_answers(HOST, self.nats_port)), "nats")
        asyncio.run(self._prepare_broker())

    def start_clickhouse(self) -> None:
        """The embedded engine with its tables."""
        self.start("clickhouse", clickhouse_http.command(self.folder / "clickhouse", HOST, self.clickhouse_port))
        self._wait_for(lambda: asyncio.run(probes.http_ok(f"{self.settings.clickhouse_url}/ping")), "clickhouse")
        migrate.migrate_tables(self.settings, dry_run=False)

    def start_receiver(self, name: str = "receiver", settings: Mapping[str, int] | None = None) -> int:
        """A receiver with these settings; returns its port."""
        port = free_port()
        self.start(name, [sys.executable, "-m", "receiver"], host=HOST, port=port, **(settings or {}))
        self._wait_for(lambda: asyncio.run(probes.http_ok(f"http://{HOST}:{port}/ready")), name)
        return port

    def start_workers(self, *types: str, name: str = "worker") -> None:
        """One process with the workers of these types (default: all of them); returns when they listen."""
        self.start(name, [sys.executable, "-m", "workers", *(types or ("all",))])
        if not types:
            self._wait_for(lambda: asyncio.run(probes.workers_listen(self.settings)), name)

    def start_baseline(self) -> int:
        """The baseline server; returns its port."""
        port = free_port()
        self.start("baseline", [sys.executable, "-m", "ops.bench.baseline", str(port)])
        self._wait_for(lambda: is_open(port), "baseline")
        return port

    def start(self, name: str, command: list[str], **settings: object) -> None:
        """Runs a command that ends with this process."""
        variables = {f"AXONPUSH_{key.upper()}": str(value) for key, value in settings.items()}
        variables |= {
            "AXONPUSH_NATS_URL": self.settings.nats_url,
            "AXONPUSH_CLICKHOUSE_URL": self._clickhouse_url(users.WORKER),
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AXONPUSH_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                machine.end_with_parent(command),
                env=inherited | programs.python_environment() | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only us: we end the others in order
            )

    # --- ending

    def stop(self, name: str) -> None:
        """Ends one process, first with SIGTERM."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        """Ends all processes, the last started first."""
        for name in reversed(list(self.processes)):
            self.stop(name)

    # --- asking

    def pid(self, name: str) -> int:
        return self.processes[name].pid

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds so far, by process."""
        return {name: machine.cpu_s(process.pid) for name, process in self.processes.items()}

    def query(self, sql: str) -> list[list[Any]]:
        """Rows of a query in database axonpush."""
        options = urllib.parse.urlencode({"database": "axonpush", "default_format": "JSONCompact"})
        operator = {"X-ClickHouse-User": users.OPERATOR, "X-ClickHouse-Key": self.passwords[users.OPERATOR]}
        asked = urllib.request.Request(f"{self.settings.clickhouse_url}/?{options}", sql.encode(), operator)
        with urllib.request.urlopen(asked, timeout=120) as answer:
            rows: list[list[Any]] = json.loads(answer.read())["data"]
        return rows

    def execute(self, sql: str) -> None:
        """A statement without rows in database axonpush."""
        operator = {"X-ClickHouse-User": users.OPERATOR, "X-ClickHouse-Key": self.passwords[users.OPERATOR]}
        asked = urllib.request.Request(f"{self.settings.clickhouse_url}/?database=axonpush", sql.encode(), operator)
        with urllib.request.urlopen(asked, timeout=1_800):
            pass

    def stored(self, table: str = "event_rows") -> int:
        """Rows of a table, including duplicates: nothing is sent twice here."""
        return int(self.query(f"SELECT count() FROM {table}")[0][0])

    def check(self) -> None:
        """Raises Failed when a process has ended, with the end of its log."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode}: {self._log_tail(name)}")

    def _wait_for(self, probe: Callable[[], bool], name: str) -> None:
        """Returns when this process answers; raises Failed, with its log, when it ends or never does."""

        def answers() -> bool:
            self.check()
            return probe()

        try:
            wait_for(answers, name)
        except Unanswered as error:
            raise Failed(f"{error}; its log ends with: {self._log_tail(name)}") from error

    def _log_tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    async def _prepare_broker(self) -> None:
        await migrate.migrate_broker(self.settings, BUDGETS, dry_run=False)
        async with open_registry(self.settings, "default") as registry:
            await registry.create_channel(CHANNEL)
            self.key, _ = await registry.mint(KeyOptions("production"))


@contextlib.contextmanager
def running(*, clickhouse: bool = False) -> Iterator[Stack]:
    """A Stack with a broker, in a temporary folder; both are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="axonpush-bench-"))
    stack = Stack(folder)
    try:
        stack.start_broker()
        if clickhouse:
            stack.start_clickhouse()
        yield stack
        stack.check()
    finally:
        stack.stop_all()
        shutil.rmtree(folder, ignore_errors=True)


class Unanswered(Failed):
    """Something did not happen in time."""


def wait_for(probe: Callable[[], bool], what: str, deadline_s: float = START_DEADLINE_S) -> None:
    """Returns when `probe` returns true; raises Unanswered after `deadline_s`."""
    end_s = time.monotonic() + deadline_s
    while not probe():
        if time.monotonic() > end_s:
            raise Unanswered(f"expected {what} within {deadline_s:.0f} s, found none")
        time.sleep(POLL_S)


def free_port() -> int:
    """A free port."""
    return ports.choose({"--port": (HOST, 0)})["--port"]


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    import socket  # noqa: PLC0415

    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
