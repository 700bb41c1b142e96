"""The fixture ladder of live tests: a broker, a ClickHouse engine, a whole system. Private, and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import servers
from tests.system import System

MakeSystem = Callable[..., System]
pytest_plugins = ("tests.drawn_examples", "tests.spread", "tests.time_limit")

# Without compiled files, each of hundreds of processes would compile our packages again, and pytest all tests. Some
# machines set it for all that they run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A limit on the time of one example, or of making it, would be a promise about the machine's speed.
settings.register_profile("any_speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_speed")

# Without a program's configuration, structlog prints the local variables of each frame, which takes seconds where they
# are large.
_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _renderer])


@contextlib.contextmanager
def _running(server: servers.Server) -> Iterator[servers.Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if isinstance(server, servers.NatsContainer | servers.ClickHouseContainer):
            server.remove()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A broker for the whole session; a test that kills it must start it again."""
    folder = tmp_path_factory.mktemp("nats")
    with _running(servers.NatsContainer(folder) if servers.with_docker() else servers.NatsProcess(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A ClickHouse for the whole session; a test that kills it must start it again."""
    folder = tmp_path_factory.mktemp("clickhouse")
    made: servers.Server
    made = servers.ClickHouseContainer(folder) if servers.with_docker() else servers.ClickHouseProcess(folder)
    with _running(made) as server:
        yield server


@pytest.fixture(scope="module")
def nats_server_of_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A broker for the tests of one file, which may kill it and start it again."""
    folder = tmp_path_factory.mktemp("nats")
    with _running(servers.NatsContainer(folder) if servers.with_docker() else servers.NatsProcess(folder)) as server:
        yield server


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A broker for one test, which may fill it, kill it, or change its streams."""
    folder = tmp_path / "nats"
    folder.mkdir()
    with _running(servers.NatsContainer(folder) if servers.with_docker() else servers.NatsProcess(folder)) as server:
        yield server


@pytest.fixture
def make_system(tmp_path: Path) -> Iterator[MakeSystem]:
    """Makes systems in folders of their own: `make_system(*arguments, **settings)`; not started yet."""
    made: list[System] = []

    def make(*arguments: str, **settings: str) -> System:
        folder = tmp_path / f"system-{len(made)}"
        folder.mkdir()
        made.append(System(folder, *arguments, **settings))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.end()


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[System]:
    """One running system for the whole session; tests keep apart by their own channels, keys and trace ids."""
    # A busy machine's workers answer late; what they answer is what tests are about.
    settings = {"AXONPUSH_COUNTS_WAIT_SENTRY_MS": "5000"}
    if servers.with_docker():
        settings["AXONPUSH_NATS_URL"] = request.getfixturevalue("nats_server").url
        settings["AXONPUSH_CLICKHOUSE_URL"] = request.getfixturevalue("clickhouse_server").url
    running = System(tmp_path_factory.mktemp("system"), **settings)
    try:
        yield running.start()
        running.stop()
    finally:
        running.end()
