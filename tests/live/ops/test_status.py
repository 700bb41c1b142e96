"""`axonpush status`: what it shows is so, and everything accepted is accounted for, whatever becomes of it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import urllib.request
import uuid

import pytest

from tests.commands import COMMAND
from tests.polling import eventually
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
