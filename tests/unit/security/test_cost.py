"""What one body costs a worker: no more than twenty times a good one of its size, in time and in memory."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Final

import orjson
import pytest

from schemas import subjects
from schemas.compiled import readers
from tests.unit import hostile_bodies
from tests.unit.hostile_bodies import READ, Hostile, item, protobuf, resource_spans, several
from tests.unit.worker_fakes import RECEIVED_AT_NS, origin
from workers import memory
from workers.consume import counts
from workers.normalise.otlp import body as otlp
from workers.normalise.otlp.body import MAX_EMPTY_RECORDS
from workers.normalise.sentry import log
from workers.normalise.verdict import MAX_DESCRIBED, Invalid, Verdict
from workers.unpack.pieces import MAX_LOST, MAX_TYPES
from workers.unpack.readers import READERS

BAR: Final = 20
TRIES: Final = 6
# Of memory for each byte of a body while it is read: its JSON as Python's objects takes 40.
MAX_BYTES_FOR_ONE: Final = 150
GOOD: Final = hostile_bodies.good()
HOSTILE: Final = hostile_bodies.hostile()


@pytest.fixture(autouse=True, scope="module")
def collecting_what_is_made_here() -> Iterator[None]:
    """A collection walks what all other tests hold, else, and takes longer than most bodies."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def collecting_seldom() -> Iterator[None]:
    """As a worker collects garbage: Python's own way walks all objects of a body again and again while it is read."""
    before = gc.get_threshold()
    gc.set_threshold(*memory.THRESHOLDS)
    yield
    gc.set_threshold(*before)


def cost_s(worker: str, body: bytes) -> float:
    """Processor seconds of reading a body once."""
    began = time.process_time()
    with suppress(Invalid):
        READ[worker](body)
    return time.process_time() - began


@contextmanager
def read_in_python() -> Iterator[None]:
    """Without compiled parsers. They make good bodies up to three times cheaper and leave the others as they were."""
    with pytest.MonkeyPatch.context() as patch:
        blocks = ("span_block", "log_block", "record_ids", "sentry_span_block")
        for name in ("messages", "text", "may_hold_key", *blocks):
            patch.setattr(readers, name, None)
        yield


@cache
def good_s_for_one(worker: str) -> float:
    """Processor seconds for a byte of good data. Of an envelope and a legacy event those of its event belong to it."""
    body = GOOD[worker]
    times = max(1, hostile_bodies.SIZE // len(body))
    with read_in_python():
        best = min(sum(cost_s(worker, body) for _ in range(times)) for _ in range(3)) / (times * len(body))
    return best + good_s_for_one("event") if worker in {"envelope", "store"} else best


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_no_body_costs_twenty_times_a_good_one(hostile: Hostile) -> None:
    """Of the same inflated size, for the same worker; side by side, so that a busy machine is busy for both."""
    bar_s = BAR * good_s_for_one(hostile.worker) * len(hostile.body)
    best_s = cost_s(hostile.worker, hostile.body)
    for _ in range(TRIES):
        if best_s <= bar_s:
            break
        best_s = min(best_s, cost_s(hostile.worker, hostile.body))
    assert best_s <= bar_s, f"{best_s / bar_s * BAR:.0f} times good data"


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_no_body_takes_much_memory(hostile: Hostile) -> None:
    """One parameter of 3 MB in a thousand places was 3 GB."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = None
        with suppress(Invalid):
            kept = READ[hostile.worker](hostile.body)
        _, most = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    assert most < MAX_BYTES_FOR_ONE * len(hostile.body) + 4_000_000


@pytest.mark.parametrize("worker", sorted(GOOD))
def test_good_data_is_good(worker: str) -> None:
    """Or it would be no measure: rows, and nothing refused."""
    found = READ[worker](GOOD[worker])
    if isinstance(found, Verdict):
        assert found.rows
        assert found.rejections == []


def logs(*records: bytes) -> Verdict:
    body = resource_spans(b",".join(records), b"Logs")
    return otlp.normalise_logs(origin(content_type="application/json"), body)


SAID: Final = b'{"timeUnixNano":"%d","body":{"stringValue":"said"}}' % RECEIVED_AT_NS


def test_empty_records_are_refused_as_one() -> None:
    """All are counted, few are described; the others of the body are the rows they were, under the ids they had."""
    many = [b"{}"] * (MAX_EMPTY_RECORDS + 1)
    found = logs(SAID, *many, SAID)
    assert (found.accepted, len(found.rows), found.rejected()) == (2, 2, {"empty_record": len(many)})
    assert len(found.rejections) <= MAX_DESCRIBED
    named = [b'{"severityNumber":1}'] * len(many)
    alike = logs(SAID, *named, SAID)
    assert [found.rows[0], found.rows[1]] == [alike.rows[0], alike.rows[-1]]


def test_a_few_empty_records_are_rows() -> None:
    """No log is refused for what it lacks; a flood of nothing is."""
    assert logs(*[b"{}"] * MAX_EMPTY_RECORDS).accepted == MAX_EMPTY_RECORDS


def test_protobuf_and_json_count_empty_records_alike() -> None:
    """200,000 records of two bytes: what was accepted and what was rejected add up."""
    read = {
        "json": (otlp.normalise_logs, resource_spans(several(b"{}", 300_000, b"%s"), b"Logs")),
        "x-protobuf": (otlp.normalise_logs, protobuf(b"\x12\x00" * 100_000)),
    }
    for media, (normalise, body) in read.items():
        found = normalise(origin(content_type=f"application/{media}"), body)
        told = counts.of_verdict("otlp_log", found)
        assert (told.accepted, told.rejected) == (0, 100_000)
        assert told.reasons == [
            "empty_record: log record 0 of resource 0: expected at most 100 records without any content, found more "
            "(and 99999 more)"
        ]
        [row] = counts.rejected_rows(origin(), "otlp_log", found)
        assert row.quantity == 100_000


def test_spans_without_ids_are_counted_by_reason() -> None:
    """As before, each is refused; a hundred are described."""
    found = otlp.normalise_spans(origin(content_type="application/x-protobuf"), protobuf(b"\x12\x00" * 50_000))
    assert found.rejected() == {"invalid_trace_id": 50_000}
    assert len(found.rejections) == MAX_DESCRIBED


def test_what_is_no_record_is_counted_by_reason() -> None:
    """The first of each reason is described, wherever it stands; valid records among them are rows."""
    good_one = b'{"timestamp":1,"trace_id":"%s","level":"info","body":"x"}' % hostile_bodies.TRACE
    records = b",".join([b"0"] * 5_000 + [good_one] + [b"{}"] * 5_000 + [b'{"trace_id":1}'] * 3)
    found = log.normalise(origin(), item("log", b'{"items":[%s]}' % records))
    assert found.rejected() == {"invalid_log": 5_000, "invalid_trace_id": 5_003}
    assert {one.reason for one in found.rejections} == {"invalid_log", "invalid_trace_id"}
    assert (found.accepted, found.rows[0][log.COLUMNS.index("source_ordinal")]) == (1, 5_000)


@pytest.mark.parametrize(
    "body",
    [
        protobuf(b"\x12\x02\x2a\x00" * 50_000),
        length := b"".join(b"\x0a\x06\x12\x04\x12\x02\x10\x09" for _ in range(20_000)),
    ],
    ids=["records", "resources"],
)
def test_records_need_bytes(body: bytes) -> None:
    """A record that says anything takes twelve bytes, a resource with a record more than sixty."""
    with pytest.raises(Invalid, match=f"in one request of {len(body)} bytes, found more; send records with content"):
        otlp.normalise_logs(origin(content_type="application/x-protobuf"), body)


def test_reasons_of_client_reports_are_few() -> None:
    """Each is a row of outcomes; what is lost stays counted, beyond the first ones together."""
    entries = [{"reason": f"r{n}", "category": "error", "quantity": 2} for n in range(1_000)]
    reports = [orjson.dumps({"discarded_events": entries[n : n + 500]}) for n in (0, 500)]
    body = b"{}\n" + b"".join(b'{"type":"client_report","length":%d}\n%s\n' % (len(one), one) for one in reports)
    split = READERS[subjects.SENTRY_ENVELOPE](body, origin(), 6_000_000)
    assert len(split.lost) == MAX_LOST + 1
    assert split.lost.total() == 2_000
    assert split.lost["client_discarded", "other", "other"] == 2 * (1_000 - MAX_LOST)


def test_unknown_types_are_few() -> None:
    """So is each type without a worker."""
    body = b"{}\n" + b"".join(b'{"type":"x%d","length":0}\n\n' % n for n in range(500))
    split = READERS[subjects.SENTRY_ENVELOPE](body, origin(), 6_000_000)
    assert (len(split.dropped), split.dropped.total()) == (MAX_TYPES + 1, 500)


def test_a_long_header_does_not_go_with_every_item() -> None:
    """16 kB five hundred times were 8 MB out of one body; what normalisers read of it stays."""
    trace = {"trace_id": "a" * 32, "environment": "live", "more": "x" * 10_000}
    sent = {"event_id": "b" * 32, "sdk": {"name": "s", "version": "1", "packages": ["p" * 100] * 50}, "trace": trace}
    body = orjson.dumps(sent) + b"\n" + b'{"type":"log","length":2}\n{}\n' * 2
    split = READERS[subjects.SENTRY_ENVELOPE](body, origin(), 6_000_000)
    lines = [single.partition(b"\n")[0] for _, _, single in split.items]
    assert [orjson.loads(line) for line in lines] == [
        {
            "event_id": "b" * 32,
            "sdk": {"name": "s", "version": "1"},
            "trace": {"trace_id": "a" * 32, "environment": "live"},
        }
    ] * 2
