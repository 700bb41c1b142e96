"""THE table of faults: name -> what is done to the fleet, and what load it is done under. Each leaves it whole."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ops.cli.servers import open_nats
from ops.provisioning.streams import MIB, Budgets
from schemas.subjects import RAW
from tests import disks
from tests.chaos.bodies import large
from tests.chaos.fleet import Fleet
from tests.chaos.hostile import HostileLoad
from tests.chaos.trial import Fault
from tests.chaos.up_fleet import UpFleet
from tests.polling import eventually

STEP_S = 1.0
FULL = 0.98
TOO_MANY_PARTS = "ALTER TABLE event_rows MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1"
ENOUGH_PARTS = "ALTER TABLE event_rows RESET SETTING parts_to_throw_insert, parts_to_delay_insert"
REFUSE_ROWS = "ALTER TABLE event_rows ADD CONSTRAINT chaos CHECK NOT endsWith(name, '7')"
TAKE_ROWS = "ALTER TABLE event_rows DROP CONSTRAINT chaos"


# What the next version of the message format would be, to a program that knows both.
NEXT_VERSION = """
import schemas.headers
schemas.headers.SCHEMA_VERSION = "2"
schemas.headers.READABLE_VERSIONS = frozenset({"1", "2"})
"""
# A wall clock that stands wrong by the seconds in a file.
WRONG_CLOCK = """
import pathlib, time
file, right = pathlib.Path({path!r}), time.time_ns
time.time_ns = lambda: right() + int(file.read_text() or 0) * 1_000_000_000
"""
# Beside those that trials number from 1001 or 3001 on.
_HOSTILE_CHANNELS = count(9001)
UP = "up"
CLOCK_STEPS_S = (3600, -3600, 86_400 * 400, -86_400 * 400, 0)
SMALL_DISK = Budgets(raw_max_bytes=24 * MIB, items_max_bytes=24 * MIB, dead_max_bytes=8 * MIB, artifacts_max_bytes=MIB)


@dataclass(frozen=True, slots=True)
class Entry:
    """A fault with its load. `is_short`: part of `make test`. `may_die`: other outcomes than rows are expected.

    `least_s` is how long it goes on in `make chaos` at least. `site` is where it happens: the usual fleet, one with
    three brokers, one with a small disk, an `axonpush up` on small file systems. `most_p99_s`: how slow answers may be
    meanwhile.
    """

    name: str
    fault: Fault
    load: dict[str, Any] = field(default_factory=dict)
    is_short: bool = True
    may_die: bool = False
    least_s: float = 0.0
    site: str = "usual"
    most_p99_s: float = math.inf

    def why_not(self) -> str:
        """Why it cannot be tried on this machine; empty where it can."""
        return disks.why_not() if self.site == UP else ""


def _again_and_again(seconds: float, step: Callable[[], None], pause_s: float = STEP_S) -> None:
    """At least twice, then until the time is over. The pause is part of the fault: it is how often it strikes."""
    until = time.monotonic() + seconds
    for struck in range(1_000_000):
        if struck >= 2 and time.monotonic() > until:
            return
        step()
        time.sleep(pause_s)


def nothing(_fleet: Fleet, seconds: float) -> None:
    """No fault: what the others are compared with."""
    time.sleep(seconds)


def receivers_killed(fleet: Fleet, seconds: float) -> None:
    """kill -9 of one receiver, then the other, again and again."""
    names = list(fleet.ports)

    def kill() -> None:
        fleet.kill(names[0])
        names.reverse()

    _again_and_again(seconds, kill, 2 * STEP_S)
    fleet.await_ready()


def janitor_killed(fleet: Fleet, seconds: float) -> None:
    """kill -9 of the janitor."""
    _again_and_again(seconds, lambda: fleet.kill("janitor"))


def workers_killed(fleet: Fleet, seconds: float) -> None:
    """kill -9 of any worker process: between fetch and insert, or between insert and ack."""
    _again_and_again(seconds, lambda: fleet.kill(fleet.any_worker()), 2 * STEP_S)


def broker_killed(fleet: Fleet, seconds: float) -> None:
    """kill -9 of the only broker, with bodies half written."""

    def kill() -> None:
        fleet.nats.kill()
        fleet.nats.start()

    _again_and_again(seconds, kill, 2 * STEP_S)
    fleet.await_ready()


def clickhouse_away(fleet: Fleet, seconds: float) -> None:
    """kill -9 of the engine, and nothing in its place for a while."""
    fleet.clickhouse.kill()
    time.sleep(seconds)
    fleet.clickhouse.start()


def clickhouse_slow(fleet: Fleet, seconds: float) -> None:
    """Every chunk on the way to the engine waits."""
    link = fleet.links["worker-clickhouse"]
    link.delay(0.5)
    time.sleep(seconds)
    link.heal()


def too_many_parts(fleet: Fleet, seconds: float) -> None:
    """The engine refuses inserts (error 252) until merges have caught up."""
    with _altered(fleet, TOO_MANY_PARTS, ENOUGH_PARTS):
        time.sleep(seconds)


def one_row_refused(fleet: Fleet, seconds: float) -> None:
    """The engine refuses single rows of larger inserts (error 469): those die alone."""
    with _altered(fleet, REFUSE_ROWS, TAKE_ROWS):
        time.sleep(seconds)


def network_cut(name: str) -> Fault:
    """Every connection of one wire breaks, and no new one is made for a while."""

    def cut(fleet: Fleet, seconds: float) -> None:
        def once() -> None:
            fleet.links[name].cut()
            time.sleep(STEP_S)
            fleet.links[name].heal()

        _again_and_again(seconds, once)
        fleet.await_ready()

    return cut


def rolling_deploy(fleet: Fleet, _seconds: float) -> None:
    """SIGTERM, wait, start: every process in its turn. Each must end with exit code 0."""
    for name in list(fleet.members):
        fleet.restart(name)
    fleet.await_ready()


def everything_killed(fleet: Fleet, _seconds: float) -> None:
    """As when a machine is switched off: all at once, with -9."""
    fleet.nats.kill()
    fleet.clickhouse.kill()
    for name in fleet.members:
        fleet.kill(name)
    fleet.nats.start()
    fleet.clickhouse.start()
    fleet.await_ready()


@contextmanager
def stopped_workers(fleet: Fleet) -> Iterator[None]:
    """No worker at all meanwhile."""
    workers = [name for name in fleet.members if name.startswith("worker")]
    for name in workers:
        fleet.stop(name)
    try:
        yield
    finally:
        for name in workers:
            fleet.begin(name)


def backlog(fleet: Fleet, seconds: float) -> None:
    """No worker for a while: bodies pile up, senders notice nothing, and the pile is worked off."""
    with stopped_workers(fleet):
        time.sleep(seconds)


def worker_frozen(fleet: Fleet, seconds: float) -> None:
    """SIGSTOP: it holds messages and does not answer; the other one must carry on, the broker offers them again."""
    name = fleet.any_worker()
    fleet.members[name].signal(signal.SIGSTOP)
    time.sleep(seconds)
    fleet.members[name].signal(signal.SIGCONT)


def disk_full(fleet: Fleet, seconds: float) -> None:
    """Nobody works while large bodies come in, until the stream takes no more: 503, and by itself 200 again later."""
    with stopped_workers(fleet):
        eventually(lambda: _is_full(fleet), "the stream to be full", 60)
        time.sleep(seconds)
    eventually(lambda: not _is_full(fleet), "the janitor to make room", 120)


def upgrade(fleet: Fleet, seconds: float) -> None:
    """To the next message format and back, in the middle of a backlog: workers first, receivers last; back reversed."""
    workers = [name for name in fleet.members if name.startswith("worker")]
    with stopped_workers(fleet):
        time.sleep(seconds / 2)
    with fleet.instead(workers, NEXT_VERSION), fleet.instead(list(fleet.ports), NEXT_VERSION):
        fleet.await_ready()
        time.sleep(seconds / 2)
    fleet.await_ready()


def clock_steps(fleet: Fleet, seconds: float) -> None:
    """The receivers' clocks jump by hours and by more than a year, to and fro."""
    file = fleet.folder / "clock"
    file.write_text("0")
    with fleet.instead(list(fleet.ports), WRONG_CLOCK.format(path=str(file))):
        fleet.await_ready()
        for step_s in CLOCK_STEPS_S:
            file.write_text(str(step_s))
            time.sleep(max(STEP_S, seconds / len(CLOCK_STEPS_S)))
    fleet.await_ready()


def one_of_three_killed(fleet: Fleet, seconds: float) -> None:
    """kill -9 of each broker in its turn; it comes back and catches up before the next one goes."""
    assert fleet.cluster is not None
    for member in fleet.cluster.members:
        member.kill()
        time.sleep(seconds / 3)
        fleet.cluster.start(member)


def leader_killed(fleet: Fleet, seconds: float) -> None:
    """kill -9 of whichever broker leads the stream of raw bodies, and again of its successor."""
    assert fleet.cluster is not None
    for _ in range(2):
        member = fleet.cluster.leader(RAW)
        member.kill()
        time.sleep(seconds / 2)
        fleet.cluster.start(member)


def broker_disk_full(fleet: Fleet, seconds: float) -> None:
    """Not a byte of room where the broker writes; then there is room, and nobody restarts anything."""
    assert isinstance(fleet, UpFleet)
    fleet.disks["nats"].fill()
    try:
        eventually(lambda: fleet.ready_status() == 503, "the receiver not to be ready", 90)
        time.sleep(seconds)
    finally:
        fleet.disks["nats"].free()
    eventually(lambda: fleet.ready_status() == 200, "the receiver to be ready again", 90)


def engine_disk_full(fleet: Fleet, seconds: float) -> None:
    """The same for ClickHouse, killed (-9) and started again while there is no room."""
    assert isinstance(fleet, UpFleet)
    fleet.disks["clickhouse"].fill()
    try:
        time.sleep(seconds / 2)
        fleet.kill_child("clickhouse")
        time.sleep(seconds / 2)
    finally:
        fleet.disks["clickhouse"].free()


def log_disk_full(fleet: Fleet, seconds: float) -> None:
    """No room for a log line of anybody, while workers and engine have something to say."""
    assert isinstance(fleet, UpFleet)
    fleet.disks["logs"].fill()
    try:
        fleet.kill_child("clickhouse")
        time.sleep(seconds / 2)
        fleet.kill_child("nats")
        time.sleep(seconds / 2)
        eventually(lambda: fleet.ready_status() == 200, "the receiver to be ready with a full log disk", 90)
    finally:
        fleet.disks["logs"].free()


def logs_unwritable(output: str) -> Fault:
    """No process can write a line: `output` takes none, or stdout and stderr are closed. Engine and broker die, too."""

    def unwritable(fleet: Fleet, seconds: float) -> None:
        with fleet.without_logs(output):
            fleet.clickhouse.kill()
            time.sleep(seconds / 2)
            fleet.clickhouse.start()
            fleet.nats.kill()
            time.sleep(min(STEP_S, seconds / 2))
            fleet.nats.start()
            fleet.await_ready()

    return unwritable


def hostile_bodies(fleet: Fleet, seconds: float) -> None:
    """Four connections with a public token send what costs most, all the time; honest senders must not feel it."""
    channel = next(_HOSTILE_CHANNELS)
    hostile = HostileLoad(fleet.urls(), channel, fleet.channel(channel, public=True)).start()
    try:
        time.sleep(seconds)
    finally:
        hostile.stop()
    assert hostile.statuses, "not one hostile body was answered"


FAULTS: tuple[Entry, ...] = (
    Entry("none", nothing, is_short=False),
    Entry("receivers killed (-9), in turn", receivers_killed),
    Entry("workers killed (-9)", workers_killed),
    Entry("the janitor killed (-9)", janitor_killed, is_short=False),
    Entry("broker killed (-9)", broker_killed),
    Entry("ClickHouse killed (-9) and away", clickhouse_away, least_s=60.0),
    Entry("ClickHouse slow", clickhouse_slow, is_short=False),
    Entry("ClickHouse refuses inserts: too many parts", too_many_parts),
    Entry("ClickHouse refuses single rows", one_row_refused, may_die=True),
    Entry("network cut between receiver and broker", network_cut("receiver-nats")),
    Entry("network cut between worker and broker", network_cut("worker-nats"), is_short=False),
    Entry("network cut between worker and ClickHouse", network_cut("worker-clickhouse"), is_short=False),
    Entry("every process restarted (SIGTERM)", rolling_deploy),
    Entry("everything killed (-9) at once", everything_killed),
    Entry("no worker for a while", backlog, is_short=False),
    Entry("a worker frozen (SIGSTOP)", worker_frozen, is_short=False),
    Entry("identical bytes sent again by clients", nothing, {"repeat": 0.3}),
    Entry("a poison item of each type among good ones", nothing, {"with_poison": True}, may_die=True),
    Entry("to the next message format and back, in a backlog", upgrade, is_short=False),
    Entry("clocks step, by hours and by a year", clock_steps),
    Entry("every process with a full log (/dev/full)", logs_unwritable("/dev/full")),
    Entry("the stream's disk is full", disk_full, {"kinds": (large,)}, site="small disk"),
    Entry("every process with stdout and stderr closed", logs_unwritable(""), is_short=False),
    Entry("hostile bodies beside honest traffic", hostile_bodies, is_short=False, most_p99_s=1.0),
    Entry("the broker's disk is full, and has room again", broker_disk_full, is_short=False, site=UP),
    Entry("ClickHouse's disk is full, and has room again", engine_disk_full, is_short=False, site=UP),
    Entry("the logs' disk is full, and has room again", log_disk_full, is_short=False, site=UP),
    Entry("one of three brokers killed (-9), in turn", one_of_three_killed, is_short=False, site="cluster"),
    Entry("the leader of three brokers killed (-9)", leader_killed, is_short=False, site="cluster"),
)


@contextmanager
def _altered(fleet: Fleet, change: str, back: str) -> Iterator[None]:
    """A changed table, changed back whatever happens."""
    fleet.query(change)
    try:
        yield
    finally:
        eventually(lambda: fleet.query(back) == [], "the table to be as before")


def _is_full(fleet: Fleet) -> bool:
    async def fill() -> float:
        async with open_nats(fleet.settings(), "chaos") as client:
            info = await client.jetstream().stream_info(RAW)
            return info.state.bytes / (info.config.max_bytes or 1)

    return asyncio.run(fill()) > FULL
