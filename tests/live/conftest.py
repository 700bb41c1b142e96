"""Fixtures of live tests that look after a running system: one for all of them, kept apart by channels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.receiver_process import Broker, running_broker
from tests.servers import free_port
from tests.system import System
from tests.traffic import Sender

MakeSender = Callable[[], Sender]
# Where `operated` sends e-mails of alerts: tests/receivers_of_alerts.py has a server for it.
MAIL_PORT = free_port()
ALERTS = {
    "AXONPUSH_ALERTS_INTERVAL_S": "1",
    "AXONPUSH_ALERTS_SMTP_HOST": "127.0.0.1",
    "AXONPUSH_ALERTS_SMTP_PORT": str(MAIL_PORT),
    "AXONPUSH_ALERTS_SMTP_SECURITY": "none",
}


@pytest.fixture(scope="session")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system into which no other test writes. What it tells once a minute elsewhere, it tells every few seconds."""
    settings = {"AXONPUSH_COUNTS_WAIT_SENTRY_MS": "5000", "AXONPUSH_REFUSALS_INTERVAL_S": "0.25"}
    running = System(tmp_path_factory.mktemp("operated"), **settings, **ALERTS)
    try:
        yield running.start()
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="session")
def new_sender(operated: System) -> MakeSender:
    """Senders into `operated`, each with a channel of its own."""

    def make() -> Sender:
        return Sender(operated, json.loads(operated.cli("channels", "create", "--json").stdout)["id"])

    return make


@pytest.fixture
def sender(new_sender: MakeSender) -> Sender:
    """A sender with a fresh channel."""
    return new_sender()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with streams, keys and channels, for the receivers of one file."""
    with running_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """The same for one test, which may kill it."""
    with running_broker(tmp_path) as running:
        yield running
