"""A whole system that somebody damages: what is said of it, what mends itself, and what a command brings back.

All tests share one system, and leave it whole.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from ops.status.report import DEFAULT_LIMIT_S
from schemas.subjects import ITEMS, RAW, SOURCES, UNPACK
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.system import System
from tests.traffic import Sender, account, settled, status, view

pytestmark = pytest.mark.live

DURABLE = SOURCES[UNPACK].durable


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Items go through the broker, so that their durables are used; the janitor looks every second."""
    settings = {"AXONPUSH_JANITOR_INTERVAL_S": "1", "AXONPUSH_WORKER_HANDOVER": "0"}
    running = System(tmp_path_factory.mktemp("damaged"), **settings)
    try:
        yield running.start()
        assert running.stop() == 0
    finally:
        running.end()


@pytest.fixture
def sender(damaged: System) -> Sender:
    """With a channel of its own."""
    return Sender(damaged, json.loads(damaged.cli("channels", "create", "--json").stdout)["id"])


@pytest.mark.long
def test_a_server_that_hangs_hides_nothing_else(damaged: System, sender: Sender) -> None:
    """ClickHouse, then a receiver, then the broker is stopped as a debugger would: each is named, the rest is shown."""
    assert sender.event("stored") == 200
    rows = settled(damaged)["reconciliation"]["total"]["rows"]
    assert rows > 0

    def shown_while_stopped(server: str) -> dict[str, Any]:
        (process,) = damaged.ready["pids"][server]
        os.kill(process, signal.SIGSTOP)
        try:
            done = damaged.cli("status", "--json", check=False)
        finally:
            os.kill(process, signal.SIGCONT)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return cast("dict[str, Any]", json.loads(done.stdout))

    found = shown_while_stopped("clickhouse")
    assert found["headline"].startswith("PROBLEM: ClickHouse does not answer")
    assert f"within {DEFAULT_LIMIT_S:g} s" in found["headline"]
    assert f"`kill -CONT {damaged.ready['pids']['clickhouse'][0]}` continues it" in found["headline"]
    assert (found["reconciliation"], found["trouble"]) == (None, "needs ClickHouse")
    assert [one["ready"] for one in found["receivers"]] == [True]
    assert len(found["streams"]) == 5
    assert found["workers"]

    found = shown_while_stopped("receiver")
    assert found["headline"].startswith("PROBLEM: no receiver answers")
    assert f"`kill -CONT {damaged.ready['pids']['receiver'][0]}` continues it" in found["headline"]
    assert found["reconciliation"]["total"]["rows"] == rows

    found = shown_while_stopped("nats")
    assert found["headline"].startswith("PROBLEM: this command reaches no broker")
    assert found["clickhouse"]["version"]
    assert {"streams", "workers", "receivers", "reconciliation"} <= set(found["unknown"])
    eventually(lambda: damaged.cli("status", check=False).returncode == 0, "status to be content again")


def test_a_missing_bucket_is_named(damaged: System) -> None:
    """Nothing makes it again by itself: exit code 1 and what to do, until it was done."""

    async def delete(client: Client) -> None:
        await client.jetstream(timeout=ANSWER_TIMEOUT_S).delete_stream("KV_idempotency")

    on_broker(damaged.ready["nats_url"], delete)
    done = damaged.cli("status", "--json", check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == ["stream KV_idempotency is missing: run `axonpush migrate`"]
    damaged.cli("migrate")
    assert status(damaged)["problems"] == []


@pytest.mark.long
def test_a_running_system_mends_itself(damaged: System, sender: Sender) -> None:
    """Durables of RAW and of ITEMS are deleted, events go on being taken, and their rows come without a hand."""
    bodies = "SELECT body FROM events WHERE channel_id = {channel:UInt64} AND body = {body:String}"
    assert sender.event("before") == 200
    damaged.rows(bodies, channel=sender.channel, body="before")

    async def delete(client: Client) -> None:
        for stream, durable in ((RAW, DURABLE), (ITEMS, SOURCES["event"].durable)):
            await client.jetstream(timeout=ANSWER_TIMEOUT_S).delete_consumer(stream, durable)

    on_broker(damaged.ready["nats_url"], delete)
    assert sender.event("while it is gone") == 200
    assert damaged.rows(bodies, 1, 60, channel=sender.channel, body="while it is gone")
    eventually(lambda: damaged.cli("status", "--json", check=False).returncode == 0, "status to be content")
    assert status(damaged)["reconciliation"]["total"]["difference"] == 0
    assert "durable_made_again" in (damaged.data_dir / "logs/janitor.log").read_text()


@pytest.mark.long
def test_status_says_which_durable_is_missing(damaged: System) -> None:
    """Where no janitor mends it: exit code 1, and what to do, in the first line."""
    janitor = next(pid for pid in damaged.processes() if b"janitor" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(janitor, signal.SIGSTOP)

    async def delete(client: Client) -> None:
        jetstream = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        await jetstream.delete_consumer(RAW, DURABLE)
        with pytest.raises(NotFoundError):
            await jetstream.consumer_info(RAW, DURABLE)

    try:
        on_broker(damaged.ready["nats_url"], delete)
        done = damaged.cli("status", check=False)
        assert done.returncode == 1
        assert done.stdout.splitlines()[0].startswith("PROBLEM: durables are missing")
        assert "unpack" in done.stdout.splitlines()[0]
        with urllib.request.urlopen(f"{damaged.ready['url']}/ready", timeout=60) as answer:
            assert answer.status == 200  # a receiver can still store; that no rows come is not its own fault
    finally:
        os.kill(janitor, signal.SIGCONT)
    eventually(lambda: damaged.cli("status", check=False).returncode == 0, "status to be content again")


def test_deleted_rows_are_the_headline_until_a_replay_makes_them_again(damaged: System, sender: Sender) -> None:
    """Every row is deleted by hand: they are missing and not merged, in words, in numbers and in the exit code."""
    for number in range(3):
        assert sender.event(f"event {number}") == 200
    before = settled(damaged)
    assert before["headline"].startswith("OK")
    rows = before["reconciliation"]["total"]["rows"]
    damaged.query_only("DELETE FROM event_rows WHERE 1")
    done = damaged.cli("status", "--json", check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["headline"].startswith(f"PROBLEM: {rows} rows are MISSING")
    totals = account(found, sender.channel)
    assert (totals["rows"], totals["merged"], totals["missing"], totals["difference"]) == (0, 0, 3, 3)
    shown = damaged.cli("status", check=False).stdout
    assert shown.startswith(f"PROBLEM: {rows} rows are MISSING")
    assert "is accounted for" not in shown
    damaged.cli("replay", "--since", "1h", "--rate", "0")
    totals = account(settled(damaged), sender.channel)
    assert (totals["rows"], totals["missing"], totals["difference"]) == (3, 0, 0)
    lose_and_repair_a_table(damaged, sender)


def lose_and_repair_a_table(system: System, sender: Sender) -> None:
    """After DROP TABLE every command names it and what to do; migrate and a replay bring every row back."""
    system.query_only("DROP TABLE event_rows SYNC")
    assert sender.event("waits in the broker") == 200
    done = system.cli("status", "--json", check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["headline"].startswith("PROBLEM: table event_rows does not exist")
    refused = system.cli("replay", "--since", "1h", check=False)
    told = " ".join(refused.stderr.split())
    assert (refused.returncode, "event_rows does not exist" in told, "`axonpush migrate" in told) == (1, True, True), (
        told
    )
    asked = system.cli("sql", "SELECT count() FROM event_rows", check=False)
    assert "Unknown table event_rows" in asked.stderr
    assert "SELECT" not in asked.stderr
    assert "would be made again, empty" in " ".join(system.cli("migrate", "--dry-run").stderr.split())
    repaired = system.cli("migrate")
    told = " ".join(repaired.stderr.split())
    assert "is made again, empty" in told
    assert "axonpush replay --since" in told
    assert "made again" in repaired.stdout
    assert "nothing to change" in system.cli("migrate").stdout
    system.cli("replay", "--since", "1h", "--rate", "0")
    totals = account(settled(system), sender.channel)
    assert (totals["rows"], totals["missing"], totals["difference"]) == (4, 0, 0)

    lose_and_repair_outcomes(system, sender)


def lose_and_repair_outcomes(system: System, sender: Sender) -> None:
    """While events come, the screens say since when the table counts, and the printed replay brings all back."""
    assert sender._post("/v1/logs", b"{", {**sender._otlp_headers(), "Content-Type": "text/xml"}) == 415
    eventually(lambda: "415:" in system.cli("refusals").stdout, "the refusal in the table")
    system.query_only("DROP TABLE outcome_rows SYNC")
    system.cli("migrate")
    shown = system.cli("refusals")
    assert "The table has 0 refused requests" in shown.stdout
    assert "(outcome_rows) was lost, and made again, empty, at" in " ".join(shown.stderr.split())
    assert sender.event("comes meanwhile") == 200
    found = json.loads(system.cli("status", "--json", check=False).stdout)
    assert any("table outcome_rows was lost, and made again" in text for text in found["problems"] + found["notes"])
    system.cli("replay", "--since", "1h", "--rate", "0")
    eventually(lambda: "415:" in system.cli("refusals").stdout, "the refusal in the table")


def test_rows_that_moved_leave_nothing_behind(damaged: System, sender: Sender) -> None:
    """A changed rule that puts a row elsewhere in the table: it is found there, and there alone."""
    assert sender.event("long ago", timestamp=time.time() - 20 * 86_400) == 200
    settled(damaged)
    (before,) = view(damaged, sender.channel).splitlines()
    assert damaged.stop() == 0
    damaged.environment["AXONPUSH_RETENTION_DAYS"] = "5"
    damaged.start()
    done = damaged.cli("replay", "--since", "1h", "--channel", str(sender.channel), "--rate", "0", "--json")
    assert json.loads(done.stdout)["rows_removed"] == 1
    (after,) = view(damaged, sender.channel).splitlines()
    assert json.loads(after)["timestamp"] > json.loads(before)["timestamp"]
    assert json.loads(after)["event_id"] == json.loads(before)["event_id"]
