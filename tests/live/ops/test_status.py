"""`axonpush status`: what it shows is so, and everything accepted is accounted for, whatever becomes of it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import urllib.request
import uuid
from typing import Any, cast

import nats
import pytest

from ops.status.report import DEFAULT_LIMIT_S
from tests.commands import COMMAND
from tests.conftest import MakeSystem
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.system import STOP_DEADLINE_S, System
from tests.traffic import Sender, account, is_idle, settled, status

pytestmark = pytest.mark.live

# Sender.mixture, counted by hand: 1 event, 1 transaction with 3 spans, 2 logs, 1 span twice (of two bodies).
ROWS, MERGED, DROPPED, DEAD = 1 + 4 + 2 + 1, 1, 1, 1
# A log that is no object, an event that is no JSON, a span without an id.
REJECTED = 3


def test_totals_balance_for_every_outcome(sender: Sender) -> None:
    """Rows, merged, rejected, dropped and dead make up exactly what was taken; nothing is left over."""
    sender.mixture()
    found = settled(sender.system)
    totals = account(found, sender.channel)
    assert totals == {
        "channel": sender.channel,
        "received": ROWS + MERGED + REJECTED + DROPPED + DEAD,
        "rows": ROWS,
        "merged": MERGED,
        "expired": 0,
        "missing": 0,
        "unexamined": 0,
        "rejected": REJECTED,
        "dropped": DROPPED,
        "dead": DEAD,
        "queued": 0,
        "difference": 0,
    }
    assert found["reconciliation"]["total"]["difference"] == 0


def test_totals_balance_after_a_replay(sender: Sender) -> None:
    """Processed again, nothing counts twice."""
    sender.mixture()
    before = account(settled(sender.system), sender.channel)
    sender.system.cli("replay", "--since", "1h", "--channel", str(sender.channel), "--rate", "0")
    found = settled(sender.system)
    assert account(found, sender.channel) == before
    assert found["reconciliation"]["total"]["difference"] == 0


def test_totals_show_a_row_that_went_missing(sender: Sender) -> None:
    """They can fail: what ClickHouse has forgotten is a difference."""
    assert sender.event("to be lost") == 200
    settled(sender.system)
    where = f"channel_id = {sender.channel}"
    sender.system.query_only(f"DELETE FROM stored_rows WHERE {where}")
    sender.system.query_only(f"DELETE FROM event_rows WHERE {where}")
    assert account(status(sender.system, check=False), sender.channel)["difference"] == 1
    sender.system.cli("replay", "--since", "1h", "--channel", str(sender.channel), "--rate", "0")
    assert account(settled(sender.system), sender.channel)["difference"] == 0


def test_a_waiting_body_is_queued_and_has_an_age(sender: Sender) -> None:
    """A worker that is held up: its message is pending or in hand, with its age; the reconciliation counts it as
    queued.
    """
    system = sender.system
    (worker,) = system.ready["pids"]["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        assert sender.event("waits") == 200
        found = status(system, check=False)
        assert f"`kill -CONT {worker}` continues it" in found["headline"]
        unpack = next(one for one in found["workers"] if one["worker"] == "unpack")
        assert unpack["pending"] + unpack["in_flight"] >= 1
        assert unpack["oldest_s"] is not None
        assert account(found, sender.channel)["queued"] == 1
        assert account(found, sender.channel)["difference"] == 0
        assert not is_idle(found)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert account(settled(system), sender.channel)["rows"] == 1


def test_streams_show_disk_against_budget(operated: System) -> None:
    """Bytes, budget and fill of each stream."""
    streams = {one["stream"]: one for one in status(operated)["streams"]}
    assert set(streams) == {"RAW", "ITEMS", "DEAD", "REFUSED", "REPLAY"}
    budgets = json.loads((operated.data_dir / "budgets.json").read_text())
    assert streams["RAW"]["max_bytes"] == budgets["raw_max_bytes"]
    assert all(0 <= one["fill"] <= 1 for one in streams.values())


def test_a_person_sees_tables(operated: System) -> None:
    """Workers, streams and totals, without anything cut off in a pipe."""
    text = operated.cli("status").stdout
    for word in ("unpack", "RAW", "received", "difference", "all", "receivers", "ClickHouse", "JetStream"):
        assert word in text


def test_the_public_token_of_up_has_a_quota_that_is_seen(operated: System) -> None:
    """In `keys list`, and in `status` as soon as it is used; the secret key has none."""
    found = json.loads(operated.cli("keys", "list", "--json").stdout)
    keys = {one["kind"]: one for one in reversed(found)}  # the oldest are those of `up`
    public = keys["public"]
    quotas = (public["quota_per_minute"], public["quota_bytes_per_minute"], public["quota_rows_per_minute"])
    assert quotas == (120_000, 3_000_000_000, 6_000_000)
    assert keys["secret"]["quota_per_minute"] is None
    said = "120,000 requests, 3 GB, 6,000,000 rows a minute"
    assert said in operated.cli("keys", "list").stdout
    assert said in operated.cli("keys", "mint", "--public", "--environment", "production").stderr
    url = f"{operated.ready['url']}/api/1/envelope/?sentry_key={operated.ready['public_token']}"
    body = b'{"event_id":"%s"}\n{"type":"event"}\n{}\n' % uuid.uuid4().hex.encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
        assert answer.status == 200

    def used() -> bool:
        named = [one for one in status(operated)["quotas"] if one["name"] == public["id"]]
        return bool(named) and all(named[0][unit]["used"] > 0 for unit in ("requests", "bytes", "rows"))

    eventually(used, "the token's use in status")


def test_without_a_broker_it_says_what_to_do(operated: System) -> None:
    """Exit 1 and one message."""
    done = operated.cli("status", check=False, AXONPUSH_NATS_URL="nats://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "could not connect" in done.stdout.splitlines()[0]


def test_totals_begin_where_rows_are_kept(sender: Sender) -> None:
    """Where rows expire, what is older than that is no difference."""
    sender.mixture()
    settled(sender.system)
    done = sender.system.cli("status", "--json", AXONPUSH_CLICKHOUSE_TTL_DAYS="2")
    found = json.loads(done.stdout)
    assert found["trouble"] == ""
    assert found["reconciliation"]["total"]["difference"] == 0
    assert account(found, sender.channel)["rows"] == ROWS


# Of a few screens: what is not in them will not come.
MAX_SHOWN_LINES = 400


def test_watch_shows_it_again_until_it_is_told_to_stop(operated: System) -> None:
    """Screen after screen of the same table; Ctrl-C is no failure."""
    command = [*COMMAND, "status", "--watch", "--data-dir", str(operated.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, "")
            for _ in range(2):
                shown = itertools.islice(lines, MAX_SHOWN_LINES)
                assert any("Received, and what became of it" in line for line in shown)
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            assert process.wait(STOP_DEADLINE_S) in {0, 130}
            assert "Traceback" not in rest
        finally:
            process.kill()


@pytest.mark.asyncio
async def test_a_missing_bucket_is_named(make_system: MakeSystem) -> None:
    """Nothing makes it again by itself: exit code 1 and what to do, until it was done."""
    system = make_system().start()

    client = await nats.connect(system.ready["nats_url"])
    await client.jetstream(timeout=ANSWER_TIMEOUT_S).delete_stream("KV_idempotency")
    await client.close()
    done = system.cli("status", "--json", check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == ["stream KV_idempotency is missing: run `axonpush migrate`"]
    system.cli("migrate")
    assert json.loads(system.cli("status", "--json").stdout)["problems"] == []


def test_deleted_rows_are_the_headline_until_a_replay_makes_them_again(make_system: MakeSystem) -> None:
    """Every row is deleted by hand: they are missing and not merged, in words, in numbers and in the exit code."""
    system = make_system().start()
    sender = Sender(system, 1)
    for number in range(3):
        assert sender.event(f"event {number}") == 200
    assert settled(system)["headline"].startswith("OK")
    system.query_only("DELETE FROM event_rows WHERE 1")
    done = system.cli("status", "--json", check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["headline"].startswith("PROBLEM: 3 rows are MISSING")
    totals = account(found, 1)
    assert (totals["rows"], totals["merged"], totals["missing"], totals["difference"]) == (0, 0, 3, 3)
    shown = system.cli("status", check=False).stdout
    assert shown.startswith("PROBLEM: 3 rows are MISSING")
    assert "is accounted for" not in shown
    system.cli("replay", "--since", "1h", "--rate", "0")
    totals = account(settled(system), 1)
    assert (totals["rows"], totals["missing"], totals["difference"]) == (3, 0, 0)
    lose_and_repair_a_table(system, sender)


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
    totals = account(settled(system), 1)
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


@pytest.mark.long
def test_a_server_that_hangs_hides_nothing_else(make_system: MakeSystem) -> None:
    """ClickHouse, then a receiver, then the broker is stopped as a debugger would: each is named, the rest is shown."""
    system = make_system().start()
    assert Sender(system, 1).event("stored") == 200
    settled(system)

    def shown_while_stopped(server: str) -> dict[str, Any]:
        (process,) = system.ready["pids"][server]
        os.kill(process, signal.SIGSTOP)
        try:
            done = system.cli("status", "--json", check=False)
        finally:
            os.kill(process, signal.SIGCONT)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return cast("dict[str, Any]", json.loads(done.stdout))

    found = shown_while_stopped("clickhouse")
    assert found["headline"].startswith("PROBLEM: ClickHouse does not answer")
    assert f"within {DEFAULT_LIMIT_S:g} s" in found["headline"]
    assert f"`kill -CONT {system.ready['pids']['clickhouse'][0]}` continues it" in found["headline"]
    assert (found["reconciliation"], found["trouble"]) == (None, "needs ClickHouse")
    assert [one["ready"] for one in found["receivers"]] == [True]
    assert len(found["streams"]) == 5
    assert found["workers"]

    found = shown_while_stopped("receiver")
    assert found["headline"].startswith("PROBLEM: no receiver answers")
    assert f"`kill -CONT {system.ready['pids']['receiver'][0]}` continues it" in found["headline"]
    assert found["reconciliation"]["total"]["rows"] == 1

    found = shown_while_stopped("nats")
    assert found["headline"].startswith("PROBLEM: this command reaches no broker")
    assert found["clickhouse"]["version"]
    assert {"streams", "workers", "receivers", "reconciliation"} <= set(found["unknown"])
