"""THE table of faults: name -> what is done to the fleet, and what load it is done under. Each leaves it whole."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.fleet import Fleet
from tests.chaos.trial import Fault
from tests.polling import eventually

STEP_S = 1.0
TOO_MANY_PARTS = "ALTER TABLE event_rows MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1"
ENOUGH_PARTS = "ALTER TABLE event_rows RESET SETTING parts_to_throw_insert, parts_to_delay_insert"
REFUSE_ROWS = "ALTER TABLE event_rows ADD CONSTRAINT chaos CHECK NOT endsWith(name, '7')"
TAKE_ROWS = "ALTER TABLE event_rows DROP CONSTRAINT chaos"


@dataclass(frozen=True, slots=True)
class Entry:
    """A fault with its load. `is_short`: part of `make test`. `dead` outcomes are expected only where it says so."""

    name: str
    fault: Fault
    load: dict[str, Any] = field(default_factory=dict)
    is_short: bool = True
    may_die: bool = False


def _again_and_again(seconds: float, step: Callable[[], None], pause_s: float = STEP_S) -> None:
    """At least twice, then until the time is over. The pause is part of the fault: it is how often it strikes."""
    until = time.monotonic() + seconds
    for count in range(1_000_000):
        if count >= 2 and time.monotonic() > until:
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


def backlog(fleet: Fleet, seconds: float) -> None:
    """No worker for a while: bodies pile up, senders notice nothing, and the pile is worked off."""
    workers = [name for name in fleet.members if name.startswith("worker")]
    for name in workers:
        fleet.stop(name)
    time.sleep(seconds)
    for name in workers:
        fleet.begin(name)


def worker_frozen(fleet: Fleet, seconds: float) -> None:
    """SIGSTOP: it holds messages and does not answer; the other one must carry on, the broker offers them again."""
    name = fleet.any_worker()
    fleet.members[name].signal(signal.SIGSTOP)
    time.sleep(seconds)
    fleet.members[name].signal(signal.SIGCONT)


FAULTS: tuple[Entry, ...] = (
    Entry("none", nothing, is_short=False),
    Entry("receivers killed (-9), in turn", receivers_killed),
    Entry("workers killed (-9)", workers_killed),
    Entry("broker killed (-9)", broker_killed),
    Entry("ClickHouse killed (-9) and away", clickhouse_away),
    Entry("ClickHouse slow", clickhouse_slow, is_short=False),
    Entry("ClickHouse refuses inserts: too many parts", too_many_parts),
    Entry("ClickHouse refuses single rows", one_row_refused, may_die=True),
    Entry("network cut: receiver | broker", network_cut("receiver-nats")),
    Entry("network cut: worker | broker", network_cut("worker-nats"), is_short=False),
    Entry("network cut: worker | ClickHouse", network_cut("worker-clickhouse"), is_short=False),
    Entry("every process restarted (SIGTERM)", rolling_deploy),
    Entry("everything killed (-9) at once", everything_killed),
    Entry("no worker for a while", backlog, is_short=False),
    Entry("a worker frozen (SIGSTOP)", worker_frozen, is_short=False),
    Entry("identical bytes sent again by clients", nothing, {"repeat": 0.3}),
    Entry("a poison item of each type among good ones", nothing, {"with_poison": True}, may_die=True),
)


@contextmanager
def _altered(fleet: Fleet, change: str, back: str) -> Iterator[None]:
    """A changed table, changed back whatever happens."""
    fleet.query(change)
    try:
        yield
    finally:
        eventually(lambda: fleet.query(back) == [], "the table to be as before")
