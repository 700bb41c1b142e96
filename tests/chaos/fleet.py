"""Everything that runs in production, each as a process of its own, behind links; who dies is started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.cli.servers import open_nats
from ops.local.clickhouse_http.access import users
from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets, consumers
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions
from ops.runtime.nats_options import Role
from ops.runtime.settings import Settings
from tests import servers
from tests.chaos.link import Link
from tests.cluster import Cluster
from tests.polling import eventually

WATCH_S = 0.05
STARTED = (b"worker_started", b"receiver_ready", b"janitor_started")
STOP_TIMEOUT_S = 40.0
BUDGETS = Budgets(raw_max_bytes=2048 * MIB, items_max_bytes=256 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)


@dataclass
class Member:
    """One process of ours: how it is started, and how often it had to be."""

    name: str
    arguments: list[str]
    settings: dict[str, str]
    log: Path
    is_wanted: bool = True
    starts: int = 0
    # Where its lines go instead of `log`: a path, or nothing at all when it is empty.
    output: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log_starts_at: int = field(default=0, repr=False)

    def start(self) -> None:
        self._log_starts_at = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, *self.arguments]
        if self.output == "":
            command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
        with Path(self.output or self.log).open("ab", buffering=0) as output:
            self.process = subprocess.Popen(
                command,
                env=servers.environment(**self.settings),
                cwd=servers.ROOT,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self.starts += 1

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_up(self) -> bool:
        """Whether it has said so in its log since it was started: before that it obeys no SIGTERM."""
        return any(word in self.log.read_bytes()[self._log_starts_at :] for word in STARTED)

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def end(self) -> None:
        self.is_wanted = False
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


class Fleet:
    """Broker, engine, two receivers, two processes with every worker, the janitor. Loopback only.

    With a `cluster` its three servers take the place of the broker, each program has its own user, and the links to the
    broker lead nowhere. `ack_wait_s` shortens the time after which the broker offers again what a dead worker held.
    """

    def __init__(
        self,
        folder: Path,
        budgets: Budgets = BUDGETS,
        ack_wait_s: float = 0,
        cluster: Cluster | None = None,
        **settings: str,
    ) -> None:
        self.folder = folder
        self.budgets = budgets
        self.cluster = cluster
        self._ack_wait_s = ack_wait_s
        self.database = "axonpush"
        self._given = settings
        self.nats = servers.NatsProcess(folder)
        self.clickhouse = servers.ClickHouseProcess(folder)
        self.links = {
            name: Link(server.port)
            for name, server in (
                ("receiver-nats", self.nats),
                ("worker-nats", self.nats),
                ("worker-clickhouse", self.clickhouse),
            )
        }
        self.ports = {"receiver-1": servers.free_port(), "receiver-2": servers.free_port()}
        self.members = {member.name: member for member in self._members()}
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> Fleet:
        """Returns when both receivers are ready."""
        (self.cluster or self.nats).start()
        self.clickhouse.start()
        asyncio.run(migrate.migrate(self.settings(), self.budgets, dry_run=False))
        if self._ack_wait_s:
            asyncio.run(self._hurry())
        for member in self.members.values():
            member.start()
        self._watcher.start()
        self.await_ready()
        return self

    def await_ready(self) -> None:
        for name in self.ports:
            eventually(lambda name=name: self._is_ready(name), f"{name} to be ready; logs in {self.folder}", 60)  # type: ignore[misc]

    def end(self) -> None:
        """Stops everything that it started, by process id."""
        self._ended.set()
        for member in self.members.values():
            member.end()
        for link in self.links.values():
            link.close()
        if self.cluster:
            self.cluster.end()
        self.nats.stop()
        self.clickhouse.stop()

    def urls(self) -> list[str]:
        """The receivers, as a load balancer would know them."""
        return [f"http://{servers.HOST}:{port}" for port in self.ports.values()]

    def settings(self) -> Settings:
        """How the operator reaches the servers: straight."""
        told = self._told("operator", self.nats.port, self.clickhouse.port)
        return Settings.model_validate({name.removeprefix("AXONPUSH_").lower(): value for name, value in told.items()})

    def channel(self, number: int, *, public: bool = False) -> str:
        """A channel of its own with a key for it, which it returns."""

        async def make() -> str:
            async with open_registry(self.settings(), "default") as registry:
                await registry.create_channel(number)
                await registry.ensure_environment("production")
                text, _ = await registry.mint(KeyOptions("production", public=public, channels=(number,)))
                return text

        return asyncio.run(make())

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows of a query; OSError while the engine is away."""
        given = {f"param_{name}": str(value) for name, value in parameters.items()}
        options = {
            "database": self.database,
            "default_format": "JSON",
            "output_format_json_quote_64bit_integers": "0",
        }
        url = f"{self.clickhouse.url}/?{urllib.parse.urlencode(options | given)}"
        try:
            with servers.opened(url, sql.encode(), timeout_s=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{sql}: {error.read().decode(errors='replace')}") from None
        found: list[dict[str, Any]] = json.loads(text)["data"] if text else []
        return found

    def pids(self) -> dict[str, int]:
        """Process ids by name, servers included."""
        found = {name: member.process.pid for name, member in self.members.items() if member.process}
        for name, server in (("nats", self.nats), ("clickhouse", self.clickhouse)):
            if server.process:
                found[name] = server.process.pid
        return found

    @contextlib.contextmanager
    def instead(self, names: list[str], code: str) -> Iterator[None]:
        """These members as another version of themselves: `code` runs first in each. Restarted politely both times."""
        before = {name: self.members[name].arguments for name in names}
        for name in names:
            module, *rest = before[name][1:]
            run = (
                f"import runpy, sys; sys.argv = {[module, *rest]!r}; runpy.run_module({module!r}, run_name='__main__')"
            )
            self.members[name].arguments = ["-c", f"{code}\n{run}"]
            self.restart(name)
        try:
            yield
        finally:
            for name in names:
                self.members[name].arguments = before[name]
                self.restart(name)

    @contextlib.contextmanager
    def without_logs(self, output: str) -> Iterator[None]:
        """Every process of ours with its lines going to `output`, or with stdout and stderr closed when that is empty.

        They are killed (-9) for it, both times: whether one is up cannot be read in its log.
        """
        self._log_to(output)
        try:
            self.await_ready()
            yield
        finally:
            self._log_to(None)
            self.await_ready()

    def _log_to(self, output: str | None) -> None:
        for name, member in self.members.items():
            starts, member.output = member.starts, output
            self.kill(name)
            eventually(lambda one=member, before=starts: one.starts > before, f"{name} to be started again")  # type: ignore[misc]

    def kill(self, name: str) -> None:
        """kill -9; the watcher starts it again."""
        self.members[name].signal(signal.SIGKILL)

    def restart(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """As a rolling deploy does it: asked to stop, awaited, started again. Its exit code must be 0."""
        member = self.members[name]
        eventually(member.is_up, f"{name} to be up; log: {member.log}")
        member.is_wanted = False
        member.signal(number)
        assert member.process is not None
        code = member.process.wait(STOP_TIMEOUT_S)
        assert code == 0, f"{name} ended with {code}; log: {member.log}"
        member.start()
        member.is_wanted = True

    def stop(self, name: str) -> None:
        """Stops one and keeps it stopped until `begin`."""
        member = self.members[name]
        member.is_wanted = False
        member.signal(signal.SIGTERM)
        assert member.process is not None
        member.process.wait(STOP_TIMEOUT_S)

    def begin(self, name: str) -> None:
        """Starts one that was stopped."""
        self.members[name].start()
        self.members[name].is_wanted = True

    def any_worker(self) -> str:
        return random.choice([name for name in self.members if name.startswith("worker")])

    async def _hurry(self) -> None:
        """Offers again sooner what a killed worker held."""
        async with open_nats(self.settings(), "chaos") as client:
            for stream, configs in consumers().items():
                for config in configs:
                    await client.jetstream().add_consumer(stream, config.evolve(ack_wait=self._ack_wait_s))

    def _members(self) -> list[Member]:
        receivers = [
            self._member(name, ["-m", "receiver"], "receiver", AXONPUSH_PORT=str(port))
            for name, port in self.ports.items()
        ]
        workers = [self._member(name, ["-m", "workers", "all"], "worker") for name in ("worker-1", "worker-2")]
        return [*receivers, *workers, self._member("janitor", ["-m", "ops.cli", "janitor"], "operator")]

    def _member(self, name: str, arguments: list[str], role: Role, **own: str) -> Member:
        nats = self.links.get(f"{role}-nats")
        clickhouse = self.links.get(f"{role}-clickhouse")
        told = self._told(
            role, nats.port if nats else self.nats.port, clickhouse.port if clickhouse else self.clickhouse.port
        )
        return Member(name, arguments, told | self._given | own, self.folder / f"{name}.log")

    def _told(self, role: Role, nats_port: int, clickhouse_port: int) -> dict[str, str]:
        """AXONPUSH_* of a program that runs as `role`."""
        # The engine's worker has rights to database axonpush only; a receiver asks ClickHouse nothing.
        user = users.WORKER if role == "worker" and self.database == "axonpush" else users.OPERATOR
        servers_told = {
            "AXONPUSH_CLICKHOUSE_URL": f"http://{servers.HOST}:{clickhouse_port}",
            "AXONPUSH_CLICKHOUSE_USER": user,
            "AXONPUSH_CLICKHOUSE_PASSWORD": self.clickhouse.passwords[user],
            "AXONPUSH_CLICKHOUSE_DATABASE": self.database,
        }
        if self.cluster:
            return self.cluster.settings(role) | servers_told
        return {"AXONPUSH_NATS_URL": f"nats://{servers.HOST}:{nats_port}"} | servers_told

    def _is_ready(self, name: str) -> bool:
        with urllib.request.urlopen(f"http://{servers.HOST}:{self.ports[name]}/ready", timeout=2) as answer:
            return bool(answer.status == 200)

    def _watch(self) -> None:
        """As systemd or Kubernetes would: who is wanted and does not run is started."""
        while not self._ended.wait(WATCH_S):
            for member in self.members.values():
                if member.is_wanted and not member.runs and not self._ended.is_set():
                    member.start()
