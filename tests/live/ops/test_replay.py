"""`axonpush replay`: processed once more, the same bodies make the same rows, and a changed rule changes them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext

from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import MIB, Budgets
from ops.replay.control import Choice, Control
from ops.replay.run import MAX_LIVE_PENDING, Replay
from ops.runtime.settings import Settings
from schemas import headers, subjects
from schemas.headers import Origin
from tests.commands import COMMAND
from tests.live.conftest import MakeSender
from tests.polling import DEADLINE_S, eventually
from tests.servers import Server
from tests.traffic import Sender, outcomes, settled, view

pytestmark = pytest.mark.live

BUDGETS = Budgets(raw_max_bytes=64 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)
TOO_MANY = MAX_LIVE_PENDING + 50

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


async def store_bodies(jetstream: JetStreamContext, count: int) -> None:
    """Bodies that no worker takes, since there is none."""
    origin = Origin("acme", 7, "k", "production", False, time.time_ns())
    subject = subjects.raw(subjects.OTLP_LOGS, 7)
    await asyncio.gather(
        *(jetstream.publish(subject, b"{}", headers=headers.write(origin, f"m-{number}")) for number in range(count))
    )


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():
            await asyncio.sleep(0.05)


async def scene(nats_url: str) -> None:
    await migrate_broker(Settings(nats_url=nats_url), BUDGETS, dry_run=False)
    client = await nats.connect(nats_url)
    jetstream, stop, told = client.jetstream(timeout=60), asyncio.Event(), asyncio.Event()
    await store_bodies(jetstream, TOO_MANY)

    def tell(_done: int, _total: int, what: str) -> None:
        if what == f"waiting for {TOO_MANY} live messages":
            told.set()

    async def replayed() -> int:
        return (await jetstream.stream_info(subjects.REPLAY)).state.messages

    replay = Replay(client, Control(await jetstream.key_value(subjects.CONTROL_BUCKET)), tell, stop)
    now = dt.datetime.now(dt.UTC)
    plan = await replay.plan(Choice(since=now - dt.timedelta(hours=1), until=now + dt.timedelta(hours=1)), 0)
    assert plan.total == TOO_MANY
    running = asyncio.create_task(replay.run(plan))
    await asyncio.wait_for(told.wait(), DEADLINE_S)
    assert await replayed() == 0

    source = subjects.SOURCES["otlp_log"]
    worker = await jetstream.pull_subscribe_bind(source.durable, source.stream)
    await worker.fetch(100, timeout=60)

    async def goes_on() -> bool:
        return await replayed() > 0

    await until(goes_on)
    stop.set()
    await asyncio.wait_for(running, DEADLINE_S)
    await client.close()


@pytest.mark.asyncio
async def test_a_replay_waits_while_live_messages_wait(own_nats_server: Server) -> None:
    """Nothing is published above the limit; below it the replay goes on without hands."""
    await scene(own_nats_server.url)
