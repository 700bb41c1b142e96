"""Streams and durables as data: what they promise, and how a difference is found."""

from __future__ import annotations

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

from ops.migrate import differences, evolved
from ops.streams import Budgets, consumers, streams
from schemas.subjects import DEAD, ITEMS, RAW, SOURCES


def test_no_stream_ever_drops_old_messages() -> None:
    """A full stream refuses new data; nothing ages out; everything is on disk."""
    for stream in streams(Budgets(), 1):
        assert stream.discard == DiscardPolicy.NEW
        assert stream.max_age == 0
        assert stream.storage == StorageType.FILE
        assert (stream.max_bytes or 0) > 0


def test_only_items_are_a_work_queue() -> None:
    """Raw bodies and dead letters stay after the acknowledgement; unpacked items do not."""
    kept = {stream.name: stream.retention for stream in streams(Budgets(), 1)}
    assert kept[RAW] == kept[DEAD] == RetentionPolicy.LIMITS
    assert kept[ITEMS] == RetentionPolicy.WORK_QUEUE


def test_every_worker_has_a_durable_on_its_stream() -> None:
    """The list of workers and the list of durables are one list."""
    made = {(stream, one.durable_name, one.filter_subject) for stream, found in consumers().items() for one in found}
    assert made == {(source.stream, source.durable, source.subject) for source in SOURCES.values()}


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
    assert (change.field, change.found, change.wanted) == ("ack_wait", "5.0", "60.0")
    assert evolved(found, wanted).pause_until == found.pause_until
    assert not differences("durable", "x", evolved(found, wanted), wanted)
