"""Three brokers, ClickHouse, and every program as a process of its own with a user of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import clickhouse_connect

from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets
from ops.registry.changes import RegistryWriter
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions
from ops.registry.tokens import TokenOptions, new_token_text
from ops.runtime.nats_options import Role
from ops.runtime.settings import Settings
from schemas.web_tokens import DEFAULT_SCOPES
from tests.cluster import PASSWORDS, Cluster
from tests.polling import eventually
from tests.servers import HOST, ROOT, environment, free_port

T = TypeVar("T")
BUDGETS = Budgets(
    raw_max_bytes=256 * MIB,
    items_max_bytes=64 * MIB,
    dead_max_bytes=64 * MIB,
    artifacts_max_bytes=MIB,
    replay_max_bytes=64 * MIB,
)
CHANNEL = 5
STOP_DEADLINE_S = 120.0
ENVELOPE = '{{"event_id":"{id}"}}\n{{"type":"event"}}\n{{"message":"hello"}}\n'


class ClusterSite:
    """A cluster, ClickHouse, one receiver and one worker process, each with its own user."""

    def __init__(self, folder: Path, cluster: Cluster, clickhouse_url: str) -> None:
        self.folder = folder
        self.cluster = cluster
        self.database = f"test_{uuid.uuid4().hex}"
        self.port = free_port()
        self.key = ""
        self._clickhouse_url = clickhouse_url
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def operator(self) -> Settings:
        return Settings(
            nats_url=self.cluster.url,
            nats_user="operator",
            nats_password=PASSWORDS["operator"],
            nats_replicas=3,
            clickhouse_url=self._clickhouse_url,
            clickhouse_database=self.database,
        )

    def start(self) -> None:
        """Migrated, with a channel and a key, serving."""
        asyncio.run(migrate.migrate(self.operator, BUDGETS, dry_run=False))
        self.registry(lambda registry: registry.create_channel(CHANNEL))
        self.key = self.mint()
        self.run("receiver", "-m", "receiver", AXONPUSH_PORT=str(self.port))
        self.run("worker", "-m", "workers", "all")
        eventually(lambda: status_of(f"http://{HOST}:{self.port}/ready") == 200, f"the receiver; logs: {self.folder}")

    def start_console(self) -> tuple[str, str]:
        """Starts a console and a janitor, which reprocesses events; returns the console's address and a token."""
        port = free_port()
        url = f"http://{HOST}:{port}"
        text = new_token_text(url, "default")
        self.registry(lambda registry: registry.tokens.mint(TokenOptions(DEFAULT_SCOPES), text))
        self.run("console", "-m", "console", AXONPUSH_CONSOLE_PORT=str(port), AXONPUSH_CONSOLE_URL=url)
        self.run("operator", "-m", "ops.cli", "janitor", AXONPUSH_JANITOR_INTERVAL_S="1")
        eventually(lambda: status_of(f"{url}/ready") == 200, f"the console; logs: {self.folder}")
        return url, text

    def run(self, role: Role, *arguments: str, **settings: str) -> None:
        told = environment(
            **self.cluster.settings(role),
            AXONPUSH_CLICKHOUSE_URL=self._clickhouse_url,
            AXONPUSH_CLICKHOUSE_DATABASE=self.database,
            **settings,
        )
        with (self.folder / f"{role}.log").open("ab") as output:
            self._processes.append(
                subprocess.Popen([sys.executable, *arguments], env=told, cwd=ROOT, stdout=output, stderr=output)
            )

    def registry(self, work: Callable[[RegistryWriter], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with open_registry(self.operator, "default") as registry:
                return await work(registry)

        return asyncio.run(opened())

    def mint(self, quota: int | None = None, rows: int | None = None) -> str:
        grant = KeyOptions("production", quota_per_minute=quota, quota_rows_per_minute=rows)
        return self.registry(lambda registry: registry.mint(grant))[0]

    def send(self, event_id: str, key: str = "") -> int:
        """The status of one envelope with one event; 0 where there was no answer."""
        url = f"http://{HOST}:{self.port}/api/{CHANNEL}/envelope/?sentry_key={key or self.key}"
        return status_of(url, ENVELOPE.format(id=event_id).encode())

    def native(self, idempotency_key: str) -> int:
        """The status of a native event that waits for its row."""
        event = {"identifier": "e", "payload": {}, "channel_id": CHANNEL, "sync": True}
        told = {"X-API-Key": self.key, "Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        return status_of(f"http://{HOST}:{self.port}/event", json.dumps(event).encode(), told)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        client = clickhouse_connect.get_client(
            dsn=self._clickhouse_url, database=self.database, autogenerate_session_id=False
        )
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def stored(self) -> set[str]:
        """Ids of all events there are in SQL."""
        return {str(row[0]).replace("-", "") for row in self.query("SELECT DISTINCT event_id FROM events")}

    def violations(self) -> list[str]:
        """What the brokers have refused somebody."""
        logs = [member.log.read_text(errors="replace") for member in self.cluster.members]
        return [line for text in logs for line in text.splitlines() if "iolation" in line]

    def end(self) -> None:
        """Ends every process, also if one of them does not end by itself, which fails the test."""
        for process in self._processes:
            process.terminate()
        late = [process for process in self._processes if not _has_ended(process)]
        for process in late:
            process.kill()
            process.wait()
        assert not late, f"expected all processes to end within {STOP_DEADLINE_S:g} s, found {late}"


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextlib.contextmanager
def open_site(folder: Path, clickhouse_url: str) -> Iterator[ClusterSite]:
    """Three brokers, a receiver and a worker, until the block ends."""
    cluster = Cluster(folder)
    site = ClusterSite(folder, cluster, clickhouse_url)
    try:
        cluster.start()
        site.start()
        yield site
    finally:
        try:
            site.end()
        finally:
            cluster.end()


def status_of(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers or {}), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
