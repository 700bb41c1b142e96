"""Both sides of the reconciliation, and what the janitor may take away: arithmetic, without a server."""

from __future__ import annotations

import datetime as dt

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, SequenceInfo

from ops.janitor.trimming import acknowledged, missing, under_pressure
from ops.runtime.ack_floor import acknowledged_up_to
from ops.runtime.stream_state import StreamState, as_time
from ops.status.reconciliation import ReconciledTotals, Waiting, reconcile
from schemas.subjects import RAW, SOURCES

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


def raw(last_seq: int, first_seq: int = 1, size_bytes: int = 0, max_bytes: int = 1000, **channels: int) -> StreamState:
    """RAW with so many bodies of channels c7, c8, …"""
    by_subject = {f"raw.sentry.envelope.{name[1:]}": number for name, number in channels.items()}
    messages = last_seq - first_seq + 1
    return StreamState(RAW, messages, size_bytes, max_bytes, first_seq, last_seq, NOW, by_subject)


def totals(**fields: dict[object, int]) -> ReconciledTotals:
    names = ("opened", "trimmed", "more", "stored", "rows", "outcomes")
    return ReconciledTotals(**{name: fields.get(name, {}) for name in names})  # type: ignore[arg-type]


def reader(name: str, floor_seq: int, pending: int = 0, in_hand: int = 0) -> ConsumerInfo:
    """A durable of RAW."""
    return ConsumerInfo(
        name=name,
        stream_name=RAW,
        config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT),
        created=NOW,
        ack_floor=SequenceInfo(consumer_seq=1, stream_seq=floor_seq),
        num_pending=pending,
        num_ack_pending=in_hand,
    )


def test_every_outcome_is_on_the_right_side() -> None:
    """Two bodies of five and one records, one of them trimmed since: nothing is left over, by channel and in total."""
    found = reconcile(
        raw(2, first_seq=2, c7=1),
        Waiting(0, {}),
        totals(
            opened={7: 1},
            trimmed={7: 1},
            more={7: 4},
            stored={7: 3},
            rows={7: 2},
            outcomes={(7, "rejected"): 1, (7, "dropped"): 1, (7, "dead"): 1},
        ),
    )
    (one,) = found.channels
    assert (one.received, one.rows, one.merged, one.difference) == (6, 2, 1, 0)
    assert (found.total.received, found.total.difference) == (6, 0)


@pytest.mark.parametrize(
    ("state", "told", "difference"),
    [
        (raw(1, c7=1), totals(), 1),  # acknowledged by nobody, opened by nobody: gone
        (
            raw(3, first_seq=3, c7=1),
            totals(opened={7: 1}, more={7: 0}, stored={7: 1}, rows={7: 1}),
            2,
        ),  # trimmed unbooked
        (raw(1, c7=1), totals(opened={7: 1}, more={7: 1}, stored={7: 1}, rows={7: 1}), 1),  # an item lost
        (raw(1, c7=1), totals(opened={7: 1}, stored={7: 2}, rows={7: 2}), -1),  # a row of nothing
    ],
)
def test_what_is_lost_is_a_difference(state: StreamState, told: ReconciledTotals, difference: int) -> None:
    """At each of the places where something could be lost."""
    assert reconcile(state, Waiting(0, {}), told).total.difference == difference


def test_what_waits_is_queued() -> None:
    """Bodies by what nobody has opened, items by channel; in total by what the broker says."""
    found = reconcile(raw(3, c7=2, c8=1), Waiting(2, {7: 1}), totals(opened={7: 1}))
    assert [(one.channel, one.queued) for one in found.channels] == [(7, 2), (8, 1)]
    assert found.total.queued == 3
    assert found.total.difference == 0


def test_a_reader_with_nothing_to_do_holds_nobody_up() -> None:
    """Its ack floor does not move while no message matches its filter."""
    assert acknowledged_up_to(100, reader("quiet-v1", 3)) == 100
    assert acknowledged_up_to(100, reader("slow-v1", 3, pending=1)) == 3
    assert acknowledged_up_to(100, reader("busy-v1", 3, in_hand=1)) == 3
    assert acknowledged(100, [reader("quiet-v1", 3), reader("slow-v1", 41, pending=5)]) == (41, "slow-v1")
    assert acknowledged(100, []) == (0, "nobody")


def test_readers_that_acknowledge_nothing_are_not_asked() -> None:
    """A replay's own reader; and every durable that workers need must be there."""
    passing = reader("passing", 0, pending=9)
    passing.config.ack_policy = AckPolicy.NONE
    needed = [reader(source.durable, 9) for source in SOURCES.values() if source.stream == RAW]
    assert acknowledged(10, [passing, *needed]) == (10, min(one.name for one in needed))
    assert missing([passing, *needed]) == []
    assert missing([passing, *needed[1:]]) == [needed[0].name]


def test_pressure_takes_what_is_above_the_fraction() -> None:
    """At most a step, never with 1, never below."""
    state = raw(10, size_bytes=950)
    assert under_pressure(state, 0.9, step=100) == 1
    assert under_pressure(state, 0.5, step=100) == 5
    assert under_pressure(state, 0.5, step=2) == 2
    assert under_pressure(state, 0.96, step=100) == 0
    assert under_pressure(state, 1, step=100) == 0


def test_times_of_the_broker_are_read_with_any_fraction() -> None:
    """Nanoseconds are cut; a whole second has none."""
    assert as_time("2026-11-21T00:00:00Z") == NOW
    assert as_time("2026-11-21T00:00:00.1234567Z").microsecond == 123456
