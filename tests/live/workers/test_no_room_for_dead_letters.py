"""Dead letters without room: honest rows go on, everything is acknowledged and counted, nothing is logged for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from nats.js import JetStreamContext
from nats.js.errors import APIError

from ops.provisioning.streams import MIB
from schemas import headers, subjects
from tests.live.workers.test_workers import CHANNEL, WorkerSystem, event, normaliser, origin
from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender, account, settled
from workers.store.waiting_dead_letters import MAX_ENTRIES

pytestmark = [pytest.mark.live, pytest.mark.long]
__all__ = ["normaliser"]

MakeSystem = Callable[..., System]
INVALID = 300
ROWS = 60
# No worker that reads DEAD, so that nothing but room decides.
SMALL = {"AXONPUSH_DEAD_MAX_BYTES": str(MIB), "AXONPUSH_REFUSED_MAX_BYTES": str(MIB)}


def test_a_flood_of_invalid_bodies_stops_nobody(make_system: MakeSystem) -> None:
    """9 MB of invalid bodies beside honest events, with 1 MiB for each kind of dead letter."""
    system = make_system(**SMALL, AXONPUSH_WORKER_REFUSED_SHARE_BYTES="4000000", AXONPUSH_LOG_LEVEL="warning")
    system.start()
    sender = Sender(system, int(system.ready["channel"]))
    flood = b'{}\n{"type":"event","length":99999999}\n%d ' + b"x" * 30_000

    def one(number: int) -> int:
        if number % (INVALID // ROWS + 1) == 0 and number // (INVALID // ROWS + 1) < ROWS:
            assert sender.event(f"honest {number}") == 200
        return sender.envelope(flood % number)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(INVALID)))
    assert set(answers) <= {200, 400}
    assert answers.count(400) > 0
    honest = len(range(0, INVALID, INVALID // ROWS + 1))
    totals = account(settled(system), sender.channel)
    assert (totals["rows"], totals["dead"], totals["difference"]) == (honest, INVALID, 0)
    found = system.query(
        "SELECT outcome, sum(quantity) AS n FROM outcomes WHERE channel_id = {channel:UInt64} GROUP BY outcome",
        channel=sender.channel,
    )
    counted = {row["outcome"]: int(row["n"]) for row in found}
    assert counted["invalid"] == INVALID
    assert 0 < counted["not_kept"] < INVALID
    kept = json.loads(system.cli("dead", "list", "--json").stdout)
    assert 0 < len(kept) <= INVALID - counted["not_kept"]
    assert len((system.data_dir / "logs" / "worker-1.log").read_bytes().splitlines()) < 50
    assert system.stop() == 0


def bogus(normaliser: WorkerSystem, messages: int) -> None:
    """Messages that die of our fault: a route which this version does not know."""

    async def work(js: JetStreamContext) -> None:
        for number in range(messages):
            told = headers.write(origin(), f"bogus-{number}")
            await js.publish(f"raw.sentry.bogus.{CHANNEL}", b"whole %d" % number, headers=told)

    normaliser.on_broker(work)


def fill(normaliser: WorkerSystem) -> None:
    """Takes every byte of DEAD."""

    async def work(js: JetStreamContext) -> None:
        config = (await js.stream_info(subjects.DEAD)).config
        await js.update_stream(config.evolve(max_bytes=MIB))
        for size in (100_000, 1_000, 10):
            error = ""
            while not error:
                try:
                    await js.publish("dead.filler.x.1", b"x" * size)
                except APIError as full:
                    error = str(full)
            assert "maximum bytes" in error

    normaliser.on_broker(work)


def test_what_died_of_our_fault_is_never_lost_and_holds_nobody_up(normaliser: WorkerSystem) -> None:
    """DEAD full to the last byte: some wait, the others are in the table at once; with room the waiting are stored."""
    fill(normaliser)
    normaliser.start("unpack", "event")
    bogus(normaliser, MAX_ENTRIES + 50)
    normaliser.publish([event(number) for number in range(100)])
    normaliser.rows("SELECT count() FROM events", [100])
    normaliser.rows("SELECT dead_seq, reason, count() FROM dead_letters GROUP BY ALL", [(0, "unknown_route", 50)])
    normaliser.rows("SELECT quantity FROM outcomes WHERE outcome = 'dead'", [MAX_ENTRIES + 50])
    eventually(
        lambda: normaliser.pending() - dead_pending(normaliser) == MAX_ENTRIES, "only those to be in hand that wait", 40
    )
    assert len(normaliser.log.read_bytes().splitlines()) < 60
    normaliser.on_broker(lambda js: js.purge_stream(subjects.DEAD))
    normaliser.start("dead")
    normaliser.rows("SELECT count() FROM dead_letters", [MAX_ENTRIES + 50])
    normaliser.done()


def dead_pending(normaliser: WorkerSystem) -> int:
    async def work(js: JetStreamContext) -> int:
        return int((await js.consumer_info(subjects.DEAD, "dead-v1")).num_pending or 0)

    return normaliser.on_broker(work)


def test_workers_that_are_ahead_of_the_broker_let_invalid_bodies_go(normaliser: WorkerSystem) -> None:
    """Before `migrate` has made REFUSED: counted, acknowledged, and honest rows as ever."""

    async def work(js: JetStreamContext) -> None:
        await js.delete_stream(subjects.REFUSED)

    normaliser.on_broker(work)
    normaliser.start("unpack", "event")
    normaliser.publish([body for number in range(50) for body in (event(number), b"\xff no envelope %d" % number)])
    normaliser.rows("SELECT count() FROM events", [50])
    counted = "SELECT outcome, sum(quantity) FROM outcomes WHERE outcome != 'accepted' GROUP BY ALL ORDER BY outcome"
    normaliser.rows(counted, [("invalid", 50), ("not_kept", 50)])
    normaliser.done()
    normaliser.migrate()
    normaliser.start("dead")
