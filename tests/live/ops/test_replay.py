"""`axonpush replay`: processed once more, the same bodies make the same rows, and a changed rule changes them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from typing import Any

import pytest

from tests.commands import COMMAND
from tests.live.conftest import MakeSender
from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender, outcomes, settled, view

pytestmark = pytest.mark.live

DEAD_LETTERS = """
SELECT * EXCEPT (dead_seq, headers) FROM dead_letters WHERE channel_id = {channel:UInt64}
ORDER BY ALL FORMAT JSONEachRow"""


def replay(sender: Sender, *arguments: str) -> dict[str, Any]:
    """A replay of the sender's channel, unthrottled, and its report."""
    given = ("--since", "1h", "--channel", str(sender.channel), "--rate", "0", "--json")
    done: dict[str, Any] = json.loads(sender.system.cli("replay", *given, *arguments).stdout)
    return done


def test_an_unchanged_normaliser_makes_the_same_table(sender: Sender) -> None:
    """Rows, outcomes and dead letters: equal to the byte, but for versions; only the generation has moved."""
    sender.mixture()
    settled(sender.system)
    before = (view(sender.system, sender.channel), outcomes(sender.system, sender.channel))
    dead = sender.system.query_only(DEAD_LETTERS, channel=sender.channel)
    done = replay(sender)
    assert done["bodies"] == 4
    assert done["rows_removed"] == 0
    settled(sender.system)
    assert (view(sender.system, sender.channel), outcomes(sender.system, sender.channel)) == before
    assert sender.system.query_only(DEAD_LETTERS, channel=sender.channel) == dead
    versions = "SELECT min(bitAnd(version, 1048575)) AS oldest FROM events WHERE channel_id = {channel:UInt64}"
    assert sender.system.query(versions, channel=sender.channel) == [{"oldest": done["generation"]}]


def test_a_changed_rule_changes_rows_in_place(sender: Sender) -> None:
    """A column that is computed differently since: the old rows follow, and none is added."""
    sender.event("one", extra={"a": 1})
    settled(sender.system)
    assert json.loads(view(sender.system, sender.channel))["host_name"] == ""
    sender.system.query_only("ALTER TABLE event_rows MODIFY COLUMN host_name DEFAULT 'computed anew'")
    try:
        replay(sender)
    finally:
        sender.system.query_only("ALTER TABLE event_rows MODIFY COLUMN host_name DEFAULT resource['host.name']")
    assert json.loads(view(sender.system, sender.channel))["host_name"] == "computed anew"


def test_the_later_body_stays_the_winner(sender: Sender) -> None:
    """Replaying only the earlier of two bodies with one record does not bring its old words back."""
    event_id = uuid.uuid4().hex
    at = time.time()
    sender.event("first", event_id, timestamp=at)
    settled(sender.system)
    until = sender.system.query("SELECT toString(now64(6, 'UTC')) AS now")[0]["now"]
    sender.event("second", event_id, timestamp=at)
    settled(sender.system)
    assert replay(sender, "--until", until)["bodies"] == 1
    assert [json.loads(line)["body"] for line in view(sender.system, sender.channel).splitlines()] == ["second"]


def test_choices_narrow_what_is_replayed(new_sender: MakeSender) -> None:
    """By source, channel, type and time; a dry run counts and changes nothing."""
    sender, other = new_sender(), new_sender()
    sender.mixture()
    other.event("not this one")
    settled(sender.system)
    assert replay(sender, "--dry-run")["bodies"] == 4
    found = replay(sender, "--dry-run", "--source", "otlp")["by_source"]
    assert [(one["source"], one["channel"], one["bodies"]) for one in found] == [("otlp.traces", sender.channel, 2)]
    assert replay(sender, "--dry-run", "--until", "30m")["bodies"] == 0
    assert replay(sender, "--dry-run", "--type", "log")["bodies"] == 2
    generation = replay(sender, "--type", "log")["generation"]
    again = (
        "SELECT DISTINCT item_type FROM events WHERE channel_id IN ({a:UInt64}, {b:UInt64}) "
        "AND bitAnd(version, 1048575) = {generation:UInt32}"
    )
    found = sender.system.query(again, a=sender.channel, b=other.channel, generation=generation)
    assert found == [{"item_type": "log"}]


def test_an_interrupted_replay_goes_on_where_it_was(sender: Sender) -> None:
    """Ctrl-C says how to go on; --resume does the rest and no body twice; live events pass by meanwhile."""
    for number in range(60):
        assert sender.event(f"body {number}") == 200
    settled(sender.system)
    before = view(sender.system, sender.channel)
    given = ["replay", "--since", "1h", "--channel", str(sender.channel), "--rate", "15"]
    command = [*COMMAND, *given, "--data-dir", str(sender.system.data_dir)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=sender.system.environment)
    try:
        newer = "SELECT count() AS n FROM taken_rows WHERE channel_id = {channel:UInt64} AND generation > 0"
        eventually(lambda: sender.system.query(newer, channel=sender.channel)[0]["n"] > 5, "the replay to have begun")
        live = sender.system.query("SELECT count() AS n FROM events")[0]["n"]
        assert Sender(sender.system, 1).event("live") == 200
        eventually(lambda: sender.system.query("SELECT count() AS n FROM events")[0]["n"] > live, "a live row")
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=120)
    assert running.returncode == 1
    assert b"--resume" in told
    done = json.loads(sender.system.cli("replay", "--resume", "--rate", "0", "--json").stdout)
    assert done["finished"] is True
    assert done["bodies"] == 60
    settled(sender.system)
    assert view(sender.system, sender.channel) == before
    assert sender.system.cli("replay", "--resume", check=False).returncode == 1


def test_rows_that_moved_leave_nothing_behind(make_system: Any, tmp_path: Any) -> None:
    """A changed rule that puts a row elsewhere in the table: it is found there, and there alone."""
    first = make_system()
    sender = Sender(first.start(), first.ready["channel"])
    old_s = time.time() - 20 * 86_400
    assert sender.event("long ago", timestamp=old_s) == 200
    settled(first)
    (before,) = view(first, sender.channel).splitlines()
    assert first.stop() == 0
    again = System(first.data_dir.parent, AXONPUSH_RETENTION_DAYS="5")
    try:
        sender = Sender(again.start(), again.ready["channel"])
        assert replay(sender)["rows_removed"] == 1
        (after,) = view(again, sender.channel).splitlines()
        assert json.loads(after)["timestamp"] > json.loads(before)["timestamp"]
        assert json.loads(after)["event_id"] == json.loads(before)["event_id"]
    finally:
        again.end()
