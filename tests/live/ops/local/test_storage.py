"""A broker whose disk was full: noticed, named, and well again without hands. On a real small disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error as NatsError

from ops.cli.servers import open_nats
from ops.janitor.storage import refusals, servers_without_jetstream
from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets
from ops.runtime.failures import Failed
from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings
from schemas.subjects import RAW
from tests import disks
from tests.cluster import Cluster
from tests.conftest import MakeSystem
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.servers import opened
from tests.system import System
from tests.traffic import Sender

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not())]

DISK_BYTES = 192 * 1024**2
ENGINE_DISK_BYTES = 400 * 1024**2
CLUSTER_BUDGETS = Budgets(
    raw_max_bytes=512 * MIB,
    items_max_bytes=64 * MIB,
    dead_max_bytes=64 * MIB,
    artifacts_max_bytes=MIB,
    idempotency_max_bytes=64 * MIB,
)
CHANNEL = 1


@pytest.fixture
def system_on_small_disk(make_system: MakeSystem) -> Iterator[tuple[System, disks.SmallDisk]]:
    """`axonpush up` whose broker has a disk of its own."""
    system = make_system(AXONPUSH_JANITOR_INTERVAL_S="1")
    system.data_dir.mkdir(mode=0o700)
    with disks.small_disk(system.data_dir / "nats", DISK_BYTES) as disk:
        yield system.start(), disk
        system.end()


def ready(system: System) -> int:
    """Of the receiver."""
    return _status(f"{system.ready['url']}/ready")


def _status(url: str) -> int:
    try:
        with opened(url, timeout_s=ANSWER_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_full_disk_and_back(system_on_small_disk: tuple[System, disks.SmallDisk]) -> None:
    """Refused while it is full, not ready, named by `status`; with room, stored again and every acknowledged one there.

    No hand but the one that makes room.
    """
    system, disk = system_on_small_disk
    sender = Sender(system, CHANNEL)
    acknowledged = [f"before {n}" for n in range(20) if sender.event(f"before {n}") == 200]
    disk.fill()
    refused: list[int] = []

    def send_until_not_ready() -> bool:
        refused.append(sender.event("while it is full, " + "x" * 5000))
        return ready(system) == 503

    eventually(send_until_not_ready, "the receiver not to be ready")
    assert 503 in refused
    told = eventually(lambda: _refusing(system), "status to name what refuses")
    assert any(one["stream"] == "RAW" and "no space left" in one["error"] for one in told["storage"])
    disk.free()
    eventually(lambda: ready(system) == 200, "the receiver to be ready again")
    for n in range(20):
        assert eventually(lambda n=n: sender.event(f"after {n}") == 200, "an event to be stored")
        acknowledged.append(f"after {n}")
    rows = system.rows("SELECT body FROM events WHERE body LIKE 'before%' OR body LIKE 'after%'", len(acknowledged), 60)
    assert sorted(row["body"] for row in rows) == sorted(acknowledged)
    assert re.search(r"refuses to store.*restarting the broker", system.output.read_text())
    done = system.cli("status", "--json")
    assert json.loads(done.stdout)["storage"] == []
    assert json.loads(done.stdout)["reconciliation"]["total"]["difference"] == 0


def test_the_engine_without_room_and_back(make_system: MakeSystem) -> None:
    """Events are taken on, none is lost or doubled, nothing is restarted; /ready, `status` and `up` say why."""
    system = make_system()
    system.data_dir.mkdir(mode=0o700)
    with disks.small_disk(system.data_dir / "clickhouse", ENGINE_DISK_BYTES) as disk:
        system.start()
        pids = system.ready["pids"]
        sender = Sender(system, CHANNEL)
        assert engine_ready(system) == 200
        expected = [f"event {n}" for n in range(30)]
        for message in expected[:10]:
            assert sender.event(message) == 200
        system.rows("SELECT body FROM events", 10)
        disk.fill()
        for message in expected[10:20]:
            assert sender.event(message) == 200
        told = eventually(lambda: _refused_inserts(system), "a worker to be refused")
        assert {one["code"] for one in told} == {243}
        assert engine_ready(system) == 503
        done = system.cli("status", "--json", check=False)
        assert done.returncode == 1
        assert "ClickHouse's disk" in json.loads(done.stdout)["problems"][0]
        eventually(lambda: "(ClickHouse) has less than" in system.output.read_text(), "up to tell of the disk")
        disk.free()
        for message in expected[20:]:
            assert sender.event(message) == 200
        rows = system.rows("SELECT body FROM events", len(expected), 60)
        assert sorted(row["body"] for row in rows) == sorted(expected)
        assert engine_ready(system) == 200
        assert system.ready["pids"] == pids
        eventually(lambda: "(ClickHouse) has space again" in system.output.read_text(), "up to say that it is over")
        assert system.stop() == 0


def test_a_server_of_a_cluster_is_named(tmp_path: Path) -> None:
    """One of three without room turns JetStream off: the others go on storing, and it is known which one to restart."""
    with contextlib.ExitStack() as closing:
        cluster = Cluster(tmp_path)
        closing.callback(cluster.end)
        small = {
            member.name: closing.enter_context(disks.small_disk(member.folder / "store", DISK_BYTES))
            for member in cluster.members
        }
        cluster.start()
        told = cluster.settings("operator")
        settings = Settings.model_validate({name.removeprefix("AXONPUSH_").lower(): told[name] for name in told})
        asyncio.run(migrate.migrate_broker(settings, CLUSTER_BUDGETS, dry_run=False))
        assert named(settings) == set()
        leader = cluster.leader(RAW)
        small[leader.name].fill()
        eventually(lambda: named(settings, publish=True) == {leader.name}, "the full server to be named")
        small[leader.name].free()
        assert named(settings, publish=True) == {leader.name}
        leader.kill()
        cluster.start(leader)
        assert named(settings) == set()


def named(settings: Settings, *, publish: bool = False) -> set[str]:
    """Servers that somebody should restart, by their own greeting; streams that do not store are none here."""

    async def look() -> set[str]:
        async with open_nats(settings, "test") as client:
            if publish:
                await client.jetstream(timeout=ANSWER_TIMEOUT_S).publish(
                    "raw.sentry.envelope.7", os.urandom(50_000), timeout=10
                )
            servers = await servers_without_jetstream(settings.nats_servers())
            assert all(not one.answered for one in await refusals(client)), "a stream refuses"
            return {one.server for one in servers}

    try:
        return asyncio.run(look())
    except (NatsError, Failed):  # while a leader is elected
        return {"nobody yet"}


def engine_ready(system: System) -> int:
    """Of the embedded engine's own page."""
    return _status(f"{without_secrets(system.ready['clickhouse_url'])}/ready")


def _refused_inserts(system: System) -> list[dict[str, Any]]:
    lines = (system.data_dir / "logs/worker-1.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return [one for one in told if one["event"] == "insert_held"]


def _refusing(system: System) -> dict[str, list[dict[str, str]]]:
    """What `status` says once it knows of a refusal; it ends with 1 then."""
    done = system.cli("status", "--json", check=False)
    told: dict[str, list[dict[str, str]]] = json.loads(done.stdout or "{}")
    return told if told.get("storage") and done.returncode == 1 else {}
