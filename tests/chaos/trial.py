"""One fault under load, and the reckoning after it: every acknowledged record is one row, whatever died."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from nats.js.errors import NotFoundError

from ops.cli.servers import open_nats
from schemas import subjects
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load
from tests.polling import eventually

SETTLE_DEADLINE_S = 180.0
MARKS = """
SELECT if(startsWith(body, 'chaos-'), body, name) AS mark, count() AS n
FROM events WHERE channel_id = {channel:UInt64} GROUP BY mark
"""
DEAD = """
SELECT extractAll(body, 'chaos-[0-9]+-[0-9]+(?:/[0-9])?') AS marks FROM dead_letters
WHERE channel_id = {channel:UInt64}
"""
# Of a refused request nothing was stored, and an unconfirmed one may be: its sender has the answer, and sends it again.
OTHERS = """
SELECT outcome, sum(quantity) AS n FROM outcomes
WHERE channel_id = {channel:UInt64} AND outcome NOT IN ('accepted', 'refused', 'unconfirmed') GROUP BY outcome
"""

# Does harm and takes it back; returns when the fault is over. `seconds` is how long it may go on.
Fault = Callable[[Fleet, float], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a trial found. `recovered_s`: from the end of the fault until all acknowledged by then was found by SQL.

    `p99_s`: of the answers 200 during the fault; `most_p99_s` is what it may be.
    """

    fault: str
    acknowledged: int
    lost: int
    poisoned: int
    doubled: int
    strangers: int
    others: dict[str, int]
    answers: dict[str, int]
    recovered_s: float
    p99_s: float = 0.0
    most_p99_s: float = math.inf

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing doubled, no row that nobody sent, and answers as quick as the fault allows."""
        return not (self.lost or self.doubled or self.strangers) and self.p99_s <= self.most_p99_s


def run(
    fleet: Fleet, name: str, fault: Fault, channel: int, seconds: float, *, most_p99_s: float = math.inf, **load: object
) -> Result:
    """Load, fault, recovery, reckoning."""
    sending = Load(fleet.urls(), channel, fleet.channel(channel), **load).start()  # type: ignore[arg-type]
    try:
        eventually(lambda: len(sending.acknowledged) > 50, "the load to flow", 60)
        before = len(sending.latencies_s)
        fault(fleet, seconds)
        p99_s = _p99(sending.latencies_s[before:])
        over = time.monotonic()
        so_far = set(sending.acknowledged)
        _found_by_sql(fleet, channel, so_far)
        recovered_s = time.monotonic() - over
    finally:
        sending.stop()
    settle(fleet)
    found = reckon(fleet, name, channel, sending, recovered_s)
    return replace(found, p99_s=p99_s, most_p99_s=most_p99_s)


def _p99(latencies_s: list[float]) -> float:
    """The time within which 99 of 100 were answered; 0 where there were none."""
    return sorted(latencies_s)[min(len(latencies_s) - 1, len(latencies_s) * 99 // 100)] if latencies_s else 0.0


def settle(fleet: Fleet) -> None:
    """Waits until no worker has anything left to acknowledge."""
    eventually(lambda: asyncio.run(queued(fleet)) == 0, "everything to be acknowledged", SETTLE_DEADLINE_S)


async def queued(fleet: Fleet) -> int:
    """Messages on their way: pending or unacknowledged, over all durables."""
    async with open_nats(fleet.settings(), "chaos") as client:
        jetstream, total = client.jetstream(), 0
        for source in subjects.SOURCES.values():
            try:
                info = await jetstream.consumer_info(source.stream, source.durable)
            except NotFoundError:
                continue
            total += (info.num_pending or 0) + (info.num_ack_pending or 0)
        return total


def found(fleet: Fleet, channel: int) -> tuple[dict[str, int], set[str]]:
    """(number of rows by mark, marks of dead letters)."""
    rows = {row["mark"]: row["n"] for row in fleet.query(MARKS, channel=channel)}
    dead = {mark for row in fleet.query(DEAD, channel=channel) for mark in row["marks"]}
    return rows, dead


def reckon(fleet: Fleet, name: str, channel: int, sent: Load, recovered_s: float) -> Result:
    """Compares what was acknowledged with what SQL finds."""
    rows, dead = found(fleet, channel)
    return Result(
        fault=name,
        acknowledged=len(sent.acknowledged),
        poisoned=sent.poisoned,
        lost=len(sent.acknowledged - rows.keys() - dead),
        doubled=sum(n > 1 for n in rows.values()),
        strangers=len(rows.keys() - sent.acknowledged - sent.uncertain),
        others={row["outcome"]: row["n"] for row in fleet.query(OTHERS, channel=channel)},
        answers={str(status): n for status, n in sorted(sent.statuses.items(), key=lambda one: str(one[0]))},
        recovered_s=recovered_s,
    )


def _found_by_sql(fleet: Fleet, channel: int, marks: set[str]) -> None:
    """Waits until each of `marks` is a row or a dead letter."""
    missing: set[str] = set()

    def none_missing() -> bool:
        nonlocal missing
        rows, dead = found(fleet, channel)
        missing = marks - rows.keys() - dead
        return not missing

    try:
        eventually(none_missing, "every acknowledged record", SETTLE_DEADLINE_S)
    except AssertionError as error:
        text = f"{len(missing)} of {len(marks)} acknowledged records missing, such as {sorted(missing)[:5]}"
        raise AssertionError(f"{text}; logs in {fleet.folder}") from error
