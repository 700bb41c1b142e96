"""A wrong password or address of one shell is not a server that is down: what the other servers show tells."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket

import pytest

from ops.cli.unreachable import unreachable
from ops.janitor import storage
from ops.janitor.broker_limits import BrokerLimits
from ops.runtime.settings import Settings
from ops.status import servers
from ops.status.findings import Status, WorkerStatus
from ops.status.local_up import LocalUp
from ops.status.reconciliation import Account, Reconciliation
from ops.status.servers import REPLICA, BrokerServer, ClickHouseState
from schemas import usage
from tests.servers import HOST
from tests.unit.worker_fakes import FakeClock, settled
from workers.consume.row_counts import RowCounts

AT = dt.datetime(2026, 11, 26, 21, 49, tzinfo=dt.UTC)
REFUSED = Exception("nats: 'Authorization Violation'")
AWAY = ConnectionRefusedError()
RECEIVERS = [servers.ReceiverHealth("r1", "host:8080", {"broker": True})]


def no_nats(error: Exception) -> dict[str, str]:
    return {"NATS": unreachable("NATS", "nats://a:4222", "AXONPUSH_NATS_URL", error)}


def no_clickhouse(error: Exception) -> dict[str, str]:
    return {"ClickHouse": unreachable("ClickHouse", "http://a:8123", "AXONPUSH_CLICKHOUSE_URL", error)}


def test_a_broker_that_refuses_this_shell_runs() -> None:
    """Nothing says that senders get 503."""
    text = Status(unknown=no_nats(REFUSED)).headline
    assert "a broker runs, and refuses this command" in text
    assert "AXONPUSH_NATS_PASSWORD" in text
    assert "503" not in text


def test_fresh_rows_tell_that_only_this_shell_reaches_no_broker() -> None:
    stored = ClickHouseState("25.8", newest_at=AT)
    with_rows = Status(unknown=no_nats(AWAY), clickhouse=stored).headline
    assert "ClickHouse has bodies of 21:49 UTC, so receivers and workers reached a broker then" in with_rows
    assert "AXONPUSH_NATS_URL is not set in this shell: set what they use" in with_rows
    without = Status(unknown=no_nats(AWAY), clickhouse=ClickHouseState("25.8")).headline
    assert "this command reaches no broker" in without
    old = ClickHouseState("25.8", newest_at=AT, newest_age_s=900.0)
    silent = no_nats(TimeoutError())
    of_up = LocalUp("7", "/logs")
    for status in (
        Status(unknown=no_nats(AWAY), clickhouse=ClickHouseState("25.8")),
        Status(unknown=no_nats(AWAY), clickhouse=old),
        Status(unknown=silent, clickhouse=stored),
        Status(unknown=no_nats(AWAY), clickhouse=stored, up=of_up),
    ):
        assert "in this shell: set" not in status.headline


def test_everything_can_be_printed_as_json() -> None:
    status = Status(
        clickhouse=ClickHouseState("25.8", newest_at=AT, newest_age_s=5.0, system_id="a" * 32, knows_system=True),
        refused_workers=[servers.RefusedWorker("p", ("event",), ("start",))],
        broker_limits=[BrokerLimits("a", 1, 2, 3, 4)],
        workers=[worker(acknowledged_s=3.0)],
        brokers=[BrokerServer("a", True)],
        reconciliation=Reconciliation(Account(None, received=1), held_since=AT),
    )
    told = json.loads(json.dumps(status.as_json()))
    assert told["clickhouse"]["newest_at"] == "2026-11-26T21:49:00+00:00"
    assert told["refused_workers"][0]["process"] == "p"


def test_what_follows_from_one_cause_is_not_another_problem() -> None:
    """All that is read from a server that is away is not known, and that is one line."""
    unknown = {**no_nats(AWAY), "streams": "needs NATS", "reconciliation": "needs NATS", "limits": "odd"}
    texts = Status(unknown=unknown).problems
    assert not any("streams" in text for text in texts)
    assert any("limits (odd)" in text for text in texts)


def worker(*, acknowledged_s: float | None, oldest_s: float | None = None) -> WorkerStatus:
    return WorkerStatus("event", listeners=1, acknowledged_s=acknowledged_s, oldest_s=oldest_s)


@pytest.mark.parametrize(
    ("error", "workers", "words", "absent"),
    [
        (AWAY, [worker(acknowledged_s=3.0)], ("this command reaches no ClickHouse", "3 s ago"), "does not answer"),
        (
            AWAY,
            [worker(acknowledged_s=3.0, oldest_s=60.0)],
            ("ClickHouse does not answer", "waits 60 s"),
            "this command",
        ),
        (AWAY, [worker(acknowledged_s=900.0)], ("ClickHouse does not answer",), "this command"),
        (AWAY, [worker(acknowledged_s=None)], ("ClickHouse does not answer",), "this command"),
        (AWAY, [], ("ClickHouse does not answer",), "this command"),
        (
            PermissionError("Code: 516. Authentication failed"),
            [worker(acknowledged_s=3.0)],
            ("ClickHouse runs, and refuses this command: expected ClickHouse at", "3 s ago"),
            "does not answer",
        ),
    ],
)
def test_workers_tell_whether_clickhouse_is_down(
    error: Exception, workers: list[WorkerStatus], words: tuple[str, ...], absent: str
) -> None:
    """They acknowledge after an insert, and their messages wait while it is away."""
    text = next(one for one in Status(unknown=no_clickhouse(error), workers=workers).problems if "ClickHouse" in one)
    for word in words:
        assert word in text
    assert absent not in text


def test_an_address_of_this_shell_alone_is_no_dead_broker() -> None:
    """All replicas of RAW answer each other; with one offline, it may be that one."""
    wrong = BrokerServer("10.0.0.9:4222", False, "10.0.0.9:4222", error=storage.REFUSES_CONNECTIONS)
    replicas = [BrokerServer(f"nats-{number}", True, REPLICA) for number in range(3)]
    (text,) = Status(brokers=[wrong, *replicas], receivers=RECEIVERS).problems
    assert "in this shell only: then correct AXONPUSH_NATS_URL" in text
    offline = BrokerServer("nats-2", False, REPLICA, error="is offline")
    (text,) = Status(brokers=[wrong, *replicas[:2], offline], receivers=RECEIVERS).problems
    assert "broker nats-2 (10.0.0.9:4222): does not accept connections. Start it again" in text


@pytest.mark.asyncio
async def test_a_stopped_broker_accepts_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGSTOP: the kernel accepts for it. One without a process refuses them; something else is no broker."""
    monkeypatch.setattr(storage, "GREETING_TIMEOUT_S", 0.2)

    async def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\r\n")
        writer.close()

    server = await asyncio.start_server(other, HOST, 0)
    with socket.socket() as silent, socket.socket() as closed:
        for one in (silent, closed):
            one.bind((HOST, 0))
        silent.listen()
        ports = [silent.getsockname()[1], closed.getsockname()[1], server.sockets[0].getsockname()[1]]
        found = await servers.brokers(Settings(nats_url=",".join(f"nats://{HOST}:{port}" for port in ports)))
    server.close()
    assert [one.error for one in found] == [storage.SAYS_NOTHING, storage.REFUSES_CONNECTIONS, storage.NO_BROKER]
    for brokers, word in ((found[:1], "kill -CONT"), (found[1:2], "Start it again"), (found, "kill -CONT")):
        assert word in Status(brokers=brokers).headline


def test_a_worker_that_clickhouse_refuses_is_named() -> None:
    """It tells when it is asked; the others of its kind get its messages, so nothing else shows it."""
    told = {"process": "host-7 pid 12", "workers": ["event", "log"], "refused": ["event_rows"]}
    refused = servers.refused_worker(told)
    assert refused is not None
    text = next(one for one in Status(refused_workers=[refused]).problems if "host-7" in one)
    for word in ("host-7 pid 12 (event, log)", "event_rows", "waiting_for_clickhouse"):
        assert word in text
    for fine in ({}, {**told, "refused": []}, {**told, "refused": "x"}):
        assert servers.refused_worker(fine) is None


@pytest.mark.asyncio
async def test_a_worker_says_so_when_it_is_asked() -> None:
    """In the report of rows, which receivers read for its numbers alone."""
    sent: list[bytes] = []
    clock = FakeClock()
    counts = RowCounts(clock, lambda: {"process": "p", "workers": ["event"], "refused": ["start"]})

    async def publish(_subject: str, body: bytes) -> None:
        sent.append(body)

    running = asyncio.create_task(counts.run(publish))
    await settled()
    assert sent == []
    await counts.on_ask(None)
    await clock.turn(1.0)
    running.cancel()
    (body,) = sent
    name, health = usage.health_in(body) or ("", {})
    assert servers.refused_worker(health) == servers.RefusedWorker("p", ("event",), ("start",))
    assert usage.decode(body) == (name, {})
