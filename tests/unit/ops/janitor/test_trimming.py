"""The janitor over a broker in memory: what goes, what stays, and what it says of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from nats.js.api import AckPolicy
from prometheus_client import REGISTRY

from ops.janitor.trimming import Janitor, JanitorSettings
from ops.replay.control import Choice, ReplayState, open_control
from ops.runtime.failures import Failed
from schemas.subjects import CONTROL_BUCKET, RAW, SOURCES
from tests.unit.broker_fake import BrokerFake, StreamFake, bucket

READERS = [source.durable for source in SOURCES.values() if source.stream == RAW]
WEEK_S = 7 * 86_400


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def broker(
    bodies: int, *, acknowledged: int | None = None, age_s: float = 3_600, size_bytes: int = 100
) -> BrokerFake:
    """RAW with so many bodies; every reader has settled `acknowledged` of them (all, if not said)."""
    made = BrokerFake(StreamFake(RAW, ("raw.>",), max_bytes=10_000), bucket(CONTROL_BUCKET))
    made.now = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    for _ in range(bodies):
        await made.publish("raw.sentry.envelope.7", b"x" * size_bytes)
    done = bodies if acknowledged is None else acknowledged
    for name in READERS:
        made.add_durable(RAW, name, acknowledged=done, pending=bodies - done)
    return made


def janitor(made: BrokerFake, **settings: Any) -> Janitor:
    return Janitor(made, JanitorSettings(**({"replay_horizon_s": 0} | settings)))  # type: ignore[arg-type]


def left(made: BrokerFake) -> list[int]:
    return sorted(made.streams[RAW].messages)


@pytest.mark.asyncio
async def test_what_everybody_has_acknowledged_goes() -> None:
    """And nothing behind it."""
    made = await broker(10, acknowledged=4)
    assert await janitor(made).tidy() == 4
    assert left(made) == [5, 6, 7, 8, 9, 10]
    assert await janitor(made).tidy() == 0


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.asyncio
async def test_the_slowest_reader_decides(reader: str) -> None:
    """Whichever it is."""
    made = await broker(10)
    made.add_durable(RAW, reader, acknowledged=2, pending=8)
    assert await janitor(made).tidy() == 2
    assert value("axonpush_janitor_behind", reader=reader) == 8


@pytest.mark.asyncio
async def test_a_reader_that_acknowledges_nothing_holds_nobody_up() -> None:
    """A person who looks at the stream."""
    made = await broker(10)
    made.add_durable(RAW, "somebody", acknowledged=0, pending=10, policy=AckPolicy.NONE)
    assert await janitor(made).tidy() == 10


@pytest.mark.parametrize("gone", READERS)
@pytest.mark.asyncio
async def test_a_missing_durable_stops_all_trimming(gone: str) -> None:
    """Nobody knows what it has worked on; the gauge says how many are missing, and then none."""
    made = await broker(10)
    durable = made.streams[RAW].consumers.pop(gone)
    with pytest.raises(Failed, match=gone):
        await janitor(made).tidy()
    assert (len(left(made)), value("axonpush_janitor_missing_durables")) == (10, 1)
    made.streams[RAW].consumers[gone] = durable
    assert await janitor(made).tidy() == 10
    assert value("axonpush_janitor_missing_durables") == 0


@pytest.mark.asyncio
async def test_the_horizon_keeps_what_is_young() -> None:
    """Old enough goes, the rest stays for a replay."""
    made = await broker(5)
    made.now = dt.datetime.now(dt.UTC)
    for _ in range(5):
        await made.publish("raw.sentry.envelope.7", b"x" * 100)
    for name in READERS:
        made.add_durable(RAW, name, acknowledged=10)
    assert await janitor(made, replay_horizon_s=600).tidy() == 5
    assert left(made) == [6, 7, 8, 9, 10]


@pytest.mark.parametrize(("pressure", "removed"), [(1, 0), (0.9, 0), (0.5, 41), (0.05, 86)])
@pytest.mark.asyncio
async def test_pressure_goes_before_the_horizon(pressure: float, removed: int) -> None:
    """Just enough, the oldest first; 1 is never."""
    made = await broker(90)
    assert await janitor(made, replay_horizon_s=WEEK_S, janitor_pressure=pressure).tidy() == removed
    assert left(made) == list(range(removed + 1, 91))


@pytest.mark.asyncio
async def test_pressure_takes_nothing_that_is_not_acknowledged() -> None:
    """However full it is."""
    made = await broker(90, acknowledged=3)
    assert await janitor(made, replay_horizon_s=WEEK_S, janitor_pressure=0.05).tidy() == 3


@pytest.mark.asyncio
async def test_small_steps_come_to_the_same_end() -> None:
    """A purge holds the stream's lock: one step at a time."""
    made = await broker(10)
    assert await janitor(made, janitor_step_messages=3).tidy() == 10
    assert left(made) == []


@pytest.mark.parametrize(("silent_s", "removed"), [(0, 4), (3_600, 10)])
@pytest.mark.asyncio
async def test_a_replay_under_way_is_waited_for(silent_s: float, removed: int) -> None:
    """Until it was silent for so long that nobody works on it."""
    made = await broker(10)
    now = dt.datetime.now(dt.UTC)
    await (await open_control(made)).save(  # type: ignore[arg-type]
        ReplayState(
            generation=1,
            choice=Choice(since=now, until=now),
            rate=1,
            first_seq=1,
            next_seq=5,
            end_seq=11,
            total=10,
            updated_at=now - dt.timedelta(seconds=silent_s),
        )
    )
    assert await janitor(made).tidy() == removed


@pytest.mark.asyncio
async def test_fill_and_age_are_told() -> None:
    """Two alarms ring on them."""
    made = await broker(90, age_s=7_200)
    await janitor(made, replay_horizon_s=WEEK_S).plan()
    assert value("axonpush_janitor_raw_fill") == pytest.approx(0.9)
    age_s = value("axonpush_janitor_raw_oldest_seconds")
    assert age_s is not None
    assert 7_200 <= age_s < 7_200 + 600
    await janitor(made).tidy()
    await janitor(made).plan()
    assert value("axonpush_janitor_raw_fill") == 0
    assert value("axonpush_janitor_raw_oldest_seconds") == 0


@pytest.mark.asyncio
async def test_what_went_is_counted_by_why() -> None:
    """Acknowledged, by the horizon, or under pressure."""
    before = {why: value("axonpush_janitor_trimmed_total", why=why) or 0 for why in ("acknowledged", "pressure")}
    await janitor(await broker(10, acknowledged=4)).tidy()
    await janitor(await broker(90), replay_horizon_s=WEEK_S, janitor_pressure=0.5).tidy()
    assert value("axonpush_janitor_trimmed_total", why="acknowledged") == before["acknowledged"] + 4
    assert value("axonpush_janitor_trimmed_total", why="pressure") == before["pressure"] + 41
