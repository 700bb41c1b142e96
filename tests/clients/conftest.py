"""What the client tests share: programs in interpreters of their own, and SQL over HTTP until the rows are there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nats
import pytest
import urllib3

from schemas.subjects import SOURCES
from tests.clients.sentry_clients import Sent
from tests.clients.table import pytest_collection_modifyitems, pytest_runtest_makereport
from tests.system import operator_url

PROGRAMS = Path(__file__).with_name("programs")
PROGRAM_TIMEOUT_S = 300
DRAIN_TIMEOUT_S = 180.0
ROWS_TIMEOUT_S = 120.0
POLL_S = 0.05

__all__ = ["pytest_collection_modifyitems", "pytest_runtest_makereport"]

Facts = dict[str, Any]
Rows = list[dict[str, Any]]


class Sql:
    """Queries one ClickHouse address; every number comes back as a number, every map as a dict."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._headers = urllib3.make_headers(basic_auth=unquote(parts.netloc.rpartition("@")[0]) or None)
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._url = f"{url}/?database=axonpush&default_format=JSON&output_format_json_quote_64bit_integers=0"
        self._pool = urllib3.PoolManager()

    def rows(self, query: str) -> Rows:
        """The rows of `query`, now."""
        answer = self._pool.request(
            "POST", self._url, body=query.encode(), headers=self._headers, retries=False, timeout=30
        )
        assert answer.status == 200, answer.data.decode()
        rows: Rows = json.loads(answer.data)["data"]
        return rows

    def wait(self, query: str, count: int) -> Rows:
        """The rows of `query` once there are `count` of them; fails when there are more, or after ROWS_TIMEOUT_S."""
        deadline = time.monotonic() + ROWS_TIMEOUT_S
        while len(found := self.rows(query)) < count and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert len(found) == count, f"expected {count} rows, found {len(found)}: {query}\n{found}"
        return found


def run_program(name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Facts:
    """Run programs/`name`.py in a fresh interpreter; returns the JSON object on the last line it prints."""
    command = [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PROGRAM_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def axonpush(ready: Facts, *arguments: str) -> Any:
    """Run `axonpush … --json` against the running system; returns the document it prints."""
    command = [sys.executable, "-m", "ops.cli", *arguments, "--json"]
    servers = {"AXONPUSH_NATS_URL": ready["nats_url"], "AXONPUSH_CLICKHOUSE_URL": operator_url(ready)}
    done = subprocess.run(
        command, env=os.environ | servers, capture_output=True, text=True, check=False, timeout=PROGRAM_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


async def wait_until_drained(nats_url: str) -> None:
    """Returns when no worker has anything to fetch or to acknowledge."""
    client = await nats.connect(nats_url)
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while await _open_messages(client):
                await asyncio.sleep(POLL_S)
    finally:
        await client.close()


async def _open_messages(client: Any) -> int:
    found = 0
    for source in SOURCES.values():
        info = await client.jetstream().consumer_info(source.stream, source.durable)
        found += (info.num_pending or 0) + (info.num_ack_pending or 0)
    return found


@pytest.fixture
def drained(ready: Facts) -> Callable[[], None]:
    """Call it to wait until everything that was accepted has been worked on."""
    return lambda: asyncio.run(wait_until_drained(ready["nats_url"]))


@pytest.fixture
def command(ready: Facts) -> Callable[..., Any]:
    """Runs an `axonpush` command against the running system."""
    return lambda *arguments: axonpush(ready, *arguments)


@pytest.fixture
def program() -> Callable[..., Facts]:
    """Runs a program of tests/clients/programs."""
    return run_program


@pytest.fixture
def ready(system: Any) -> Facts:
    """What ready.json of the running system says."""
    found: Facts = system.ready
    return found


@pytest.fixture
def sql_at() -> Callable[[Facts], Sql]:
    """SQL against the system that a ready.json describes."""
    return lambda ready: Sql(ready["clickhouse_url"])


@pytest.fixture
def sql(ready: Facts) -> Sql:
    """SQL against the running system."""
    return Sql(ready["clickhouse_url"])


@pytest.fixture(scope="session")
def sql_of_system(system: Any) -> Sql:
    """SQL against the running system, for fixtures of a session or a module."""
    return Sql(system.ready["clickhouse_url"])


@pytest.fixture(scope="session")
def sent(system: Any, request: pytest.FixtureRequest) -> Sent:
    """What the Sentry client of the parameter sent; each client runs once."""
    return Sent(request.param, system.ready, Sql(system.ready["clickhouse_url"]))
