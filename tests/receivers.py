"""Receivers as processes of their own beside one broker, and the registry they follow. Made for several at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import clickhouse_connect

from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets
from ops.registry.changes import RegistryWriter
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions
from ops.runtime.settings import Settings
from tests import databases
from tests.polling import eventually
from tests.servers import HOST, ROOT, Server, environment, free_port

T = TypeVar("T")
BUDGETS = Budgets(
    raw_max_bytes=256 * MIB,
    items_max_bytes=64 * MIB,
    dead_max_bytes=64 * MIB,
    artifacts_max_bytes=MIB,
    replay_max_bytes=64 * MIB,
)
CHANNEL = 9
STOP_DEADLINE_S = 120.0


class Receiver:
    """One receiver process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.port = free_port()
        self.log = site.folder / f"receiver-{self.port}.log"
        told = environment(AXONPUSH_PORT=str(self.port), AXONPUSH_COUNTS_WAIT_SENTRY_MS="0", **site.settings())
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "receiver"], env=told, cwd=ROOT, stdout=output, stderr=output
            )
        eventually(self.ready, f"the receiver (log: {self.log})")

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.get("/ready") == 200

    def send(self, key: str, items: bytes = b'{"type":"event"}\n{}\n') -> int:
        """The status of one envelope of its own."""
        body = b'{"event_id":"%s"}\n' % uuid.uuid4().hex.encode() + items
        return self.get(f"/api/{CHANNEL}/envelope/?sentry_key={key}", body)

    def get(self, path: str, body: bytes | None = None) -> int:
        try:
            request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", body)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(STOP_DEADLINE_S)


class Site:
    """A broker, a database, receivers, and the registry they follow."""

    def __init__(self, folder: Path, broker: Server, clickhouse: Server) -> None:
        self.folder = folder
        self.broker = broker
        self.clickhouse = clickhouse
        self.receivers: list[Receiver] = []
        self.operator = Settings(
            nats_url=broker.url, clickhouse_url=clickhouse.url, clickhouse_database=databases.take(clickhouse)
        )
        asyncio.run(migrate.migrate(self.operator, BUDGETS, dry_run=False))
        self.registry(lambda registry: registry.create_channel(CHANNEL))

    def settings(self) -> dict[str, str]:
        return {
            "AXONPUSH_NATS_URL": self.operator.nats_url,
            "AXONPUSH_CLICKHOUSE_URL": self.clickhouse.url,
            "AXONPUSH_CLICKHOUSE_DATABASE": self.operator.clickhouse_database,
        }

    def registry(self, work: Callable[[RegistryWriter], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with open_registry(self.operator, "default") as registry:
                return await work(registry)

        return asyncio.run(opened())

    def mint(self, quota: int | None, **quotas: int) -> str:
        """A key that every receiver knows already."""
        grant = KeyOptions("production", quota_per_minute=quota, **quotas)
        text, _ = self.registry(lambda registry: registry.mint(grant))
        return text

    def receiver(self) -> Receiver:
        self.receivers.append(Receiver(self))
        return self.receivers[-1]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        client = clickhouse_connect.get_client(
            dsn=self.clickhouse.url,
            database=self.operator.clickhouse_database,
            autogenerate_session_id=False,
        )
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def end(self) -> None:
        for receiver in self.receivers:
            receiver.end()
        databases.give_back(self.clickhouse, self.operator.clickhouse_database)
