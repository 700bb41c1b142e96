"""Streams and durables as data: what they promise, and how a difference is found."""

from __future__ import annotations

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

from ops.provisioning.stream_changes import differences, evolved
from ops.provisioning.streams import ACK_WAIT_S, Budgets, consumers, streams
from schemas.subjects import (
    ALL_SOURCES,
    DEAD,
    IDEMPOTENCY_BUCKET,
    ITEMS,
    PUBLIC_IDEMPOTENCY_BUCKET,
    RAW,
    REFUSED,
    REFUSED_FIRST_SEQ,
    REPLAY,
)

FORGETFUL = {f"KV_{IDEMPOTENCY_BUCKET}", f"KV_{PUBLIC_IDEMPOTENCY_BUCKET}"}


def test_no_stream_ever_drops_old_messages() -> None:
    """A full stream refuses new data; nothing ages out; everything is on disk."""
    for stream in streams(Budgets(), 1):
        assert stream.storage == StorageType.FILE
        assert (stream.max_bytes or 0) > 0
        if stream.name not in {*FORGETFUL, REFUSED}:
            assert stream.discard == DiscardPolicy.NEW
            assert stream.max_age == 0


def test_idempotency_keys_are_forgotten_after_a_day_or_oldest_first() -> None:
    """The buckets that forget: a key that is gone may double one event, a full bucket must not refuse any."""
    buckets = [stream for stream in streams(Budgets(), 1) if stream.name in FORGETFUL]
    assert len(buckets) == 2
    for one in buckets:
        assert (one.discard, one.max_age, one.max_msgs_per_subject) == (DiscardPolicy.OLD, 24 * 3600, 1)


def test_both_buckets_together_are_within_the_budget() -> None:
    """What `total_bytes` promises the disk."""
    found = streams(Budgets(), 1)
    assert sum(stream.max_bytes or 0 for stream in found) <= Budgets().total_bytes()


def test_invalid_bodies_go_oldest_first() -> None:
    """Nothing can fill the stream so that anybody waits; its numbers are told from those of DEAD."""
    (found,) = (stream for stream in streams(Budgets(), 1) if stream.name == REFUSED)
    assert (found.discard, found.first_seq) == (DiscardPolicy.OLD, REFUSED_FIRST_SEQ)
    assert 0 < (found.max_msgs_per_subject or 0) < 10_000


def test_only_passing_messages_are_a_work_queue() -> None:
    """Raw bodies and dead letters stay after the acknowledgement; items and replayed messages do not."""
    kept = {stream.name: stream.retention for stream in streams(Budgets(), 1)}
    assert kept[RAW] == kept[DEAD] == RetentionPolicy.LIMITS
    assert kept[ITEMS] == kept[REPLAY] == RetentionPolicy.WORK_QUEUE


def test_raw_bodies_cannot_be_deleted_one_by_one() -> None:
    """Only the janitor makes room there; a dead letter goes when a person retries or drops it."""
    denied = {stream.name: stream.deny_delete for stream in streams(Budgets(), 1)}
    assert denied[RAW] is True
    assert denied[DEAD] is False


def test_every_worker_has_a_durable_on_its_stream() -> None:
    """The list of workers and the list of durables are one list; whoever may be replayed has a second durable."""
    wanted = ALL_SOURCES
    made = {(stream, one.durable_name, one.filter_subject) for stream, found in consumers().items() for one in found}
    assert made == {(source.stream, source.durable, source.subject) for source in wanted}


def test_durables_never_strand_a_message() -> None:
    """max_deliver is off: a message that reaches it would be lost without a trace."""
    assert all(one.max_deliver == -1 for found in consumers().values() for one in found)


def test_replicas_reach_every_stream() -> None:
    """The registry's bucket included."""
    assert {stream.num_replicas for stream in streams(Budgets(), 3)} == {3}


def test_a_difference_names_the_field_and_both_values() -> None:
    """And what our data does not name is left alone."""
    wanted = consumers()[ITEMS][0]
    found = wanted.evolve(ack_wait=5.0, description="somebody's note", pause_until="2030-01-01T00:00:00Z")
    (change,) = differences("durable", "x", found, wanted)
    assert (change.field, change.found, change.wanted) == ("ack_wait", "5.0", str(ACK_WAIT_S))
    assert evolved(found, wanted).pause_until == found.pause_until
    assert not differences("durable", "x", evolved(found, wanted), wanted)
