"""The child processes of `axonpush up`: their command lines, environments, logs and probes.

ops/local/supervisor.py runs them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import ops
from ops.local import broker_users, nats_server, probes
from ops.local.data_dir import MARKER, DataDir
from ops.local.disk_budgets import max_file_store_bytes
from ops.local.logfile import LogFile
from ops.local.private_folder import write_private
from ops.local.supervisor import Kind, Probe, Program
from ops.provisioning.streams import Budgets
from ops.runtime.nats_options import Role
from ops.runtime.settings import Settings

# The embedded servers listen on this machine only, wherever the receiver listens.
LOOPBACK: Final = "127.0.0.1"
# Receiver and workers drain for up to 25 s by their own settings. They get a little longer before they are killed.
DRAIN_TIMEOUT_S: Final = 30.0
SERVER_STOP_TIMEOUT_S: Final = 15.0

_ALLOWED_NETWORKS: Final = "AXONPUSH_ALERTS_ALLOWED_NETWORKS"
_LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
NATS_USER: Final = ("AXONPUSH_NATS_USER", "AXONPUSH_NATS_PASSWORD")
_NATS_TOKEN: Final = "AXONPUSH_NATS_TOKEN"
CLICKHOUSE_USER: Final = ("AXONPUSH_CLICKHOUSE_USER", "AXONPUSH_CLICKHOUSE_PASSWORD")
PASSED_ON: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
PASSED_ON_PREFIXES: Final = ("AXONPUSH_", "LC_", "PYTHON", "LD_LIBRARY_PATH", "DYLD_")


@dataclass(frozen=True, slots=True)
class Programs:
    """Makes the Program of each child. `url` is the receiver's address on this machine."""

    folder: DataDir
    settings: Settings
    budgets: Budgets
    host: str
    ports: dict[str, int]
    url: str
    console_url: str = ""
    # AXONPUSH_CLICKHOUSE_USER and _PASSWORD for workers, console, alerts and janitor. No other child uses ClickHouse.
    worker_user: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    console_user: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    alerts_user: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    operator_user: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    # Passwords of the embedded broker, by role. Empty with an external broker: then all children use the same user.
    broker_passwords: dict[Role, str] = dataclasses.field(default_factory=dict, repr=False)

    def nats(self) -> Program:
        """The embedded broker; writes its configuration. Raises NoServer."""
        port = self.ports["--nats-port"]
        text = nats_server.config(
            host=LOOPBACK,
            port=port,
            store_dir=self.folder.nats,
            max_file_bytes=max_file_store_bytes(self.budgets, self.folder.nats),
            authorization=broker_users.authorization(self.broker_passwords),
        )
        write_private(self.folder.nats_config, text)
        return self._program(
            "nats",
            nats_server.command(self.folder.nats_config),
            lambda: probes.nats_answers(LOOPBACK, port),
            SERVER_STOP_TIMEOUT_S,
        )

    def clickhouse(self) -> Program:
        """The embedded ClickHouse engine with its HTTP interface."""
        from ops.local.clickhouse_http import command  # noqa: PLC0415 (only `up` without a server of its own needs it)

        return self._program(
            "clickhouse",
            command(
                self.folder.clickhouse, LOOPBACK, self.ports["--clickhouse-port"], self.settings.clickhouse_database
            ),
            lambda: probes.http_ok(f"{self.settings.clickhouse_url}/ping"),
            SERVER_STOP_TIMEOUT_S,
        )

    def receiver(self) -> Program:
        """The receiver. It is ready once it has read the registry."""
        line = [sys.executable, "-m", "receiver"]
        program = self._program("receiver", line, lambda: probes.http_ok(f"{self.url}/ready"), DRAIN_TIMEOUT_S)
        return dataclasses.replace(program, environment=self._broker_user("receiver"))

    def worker(self, number: int) -> Program:
        """One process with all workers; several processes share the messages."""
        line = [sys.executable, "-m", "workers", "all"]
        probe = partial(probes.workers_listen, self.settings)
        program = self._program("worker", line, probe, DRAIN_TIMEOUT_S, name=f"worker-{number}")
        return dataclasses.replace(program, environment=self.worker_user | self._broker_user("worker"))

    def console(self) -> Program:
        """The Web API. It is ready once it has read the registry."""
        line = [sys.executable, "-m", "console"]
        program = self._program(
            "console", line, lambda: probes.http_ok(f"{self.console_url}/ready"), SERVER_STOP_TIMEOUT_S
        )
        address = {
            "AXONPUSH_CONSOLE_HOST": self.host,
            "AXONPUSH_CONSOLE_PORT": str(self.ports["--console-port"]),
            "AXONPUSH_CONSOLE_URL": os.environ.get("AXONPUSH_CONSOLE_URL", self.console_url),
            "AXONPUSH_CONSOLE_INGEST_URL": os.environ.get("AXONPUSH_CONSOLE_INGEST_URL", self.url),
        }
        return dataclasses.replace(program, environment=self.console_user | self._broker_user("console") | address)

    def alerts(self) -> Program:
        """Evaluates alert rules. Nothing waits for it, so it has no probe."""
        program = self._program("alerts", [sys.executable, "-m", "console.alerts"], None, SERVER_STOP_TIMEOUT_S)
        own = {"AXONPUSH_CONSOLE_URL": os.environ.get("AXONPUSH_CONSOLE_URL", self.console_url)}
        if self.host in _LOOPBACK_HOSTS and _ALLOWED_NETWORKS not in os.environ:
            # Whoever may write rules is on this machine: a program of theirs that listens here can be told.
            own[_ALLOWED_NETWORKS] = "127.0.0.0/8,::1"
        return dataclasses.replace(program, environment=self.alerts_user | self._broker_user("alerts") | own)

    def janitor(self) -> Program:
        """Deletes processed bodies from RAW. Nothing waits for it, so it has no probe."""
        line = [sys.executable, "-m", "ops.cli", "janitor"]
        program = self._program("janitor", line, None, SERVER_STOP_TIMEOUT_S)
        return dataclasses.replace(program, environment=self.operator_user | self._broker_user("operator"))

    def environment(self) -> dict[str, str]:
        """The environment of every child: our settings, what programs generally need, and nothing else."""
        own = {*CLICKHOUSE_USER, *((*NATS_USER, _NATS_TOKEN) if self.broker_passwords else ())}
        return {
            **{name: value for name, value in _passed_on().items() if name not in own},
            **python_environment(),
            MARKER: str(self.folder.root),
            "AXONPUSH_HOST": self.host,
            "AXONPUSH_PORT": str(self.ports["--port"]),
            "AXONPUSH_NATS_URL": self.settings.nats_url,
            "AXONPUSH_CLICKHOUSE_URL": self.settings.clickhouse_url,
        }

    def _broker_user(self, role: Role) -> dict[str, str]:
        if not self.broker_passwords:
            return {}
        return dict(zip(NATS_USER, (role, self.broker_passwords[role]), strict=True))

    def _program(
        self, kind: Kind, command: list[str], probe: Probe | None, stop_timeout_s: float, *, name: str = ""
    ) -> Program:
        name = name or kind
        return Program(name, kind, command, LogFile(self.folder.logs / f"{name}.log"), probe, stop_timeout_s)


def _passed_on() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }


def python_environment() -> dict[str, str]:
    """Variables with which a child finds our packages, and not a `receiver` or `workers` in the current folder."""
    root = Path(ops.__file__).resolve().parent.parent
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    path = os.environ.get("PYTHONPATH", "")
    if root not in installed:
        path = os.pathsep.join(filter(None, (str(root), path)))
    return {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"} | ({"PYTHONPATH": path} if path else {})
