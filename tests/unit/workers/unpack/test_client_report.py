"""Client reports: what SDKs lost becomes counts, and a report that says nothing readable costs nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import CLIENT_PREFIX, OUTCOME_COLUMNS
from schemas.rows import OUTCOMES_TABLE
from tests.unit.workers.unpack.test_handler import TWO_ITEMS, accept, split_envelope
from workers.unpack import client_report
from workers.unpack.client_report import MalformedReport

# As sentry_sdk sends it.
REPORT = {
    "timestamp": 1_795_272_366.25,
    "discarded_events": [
        {"reason": "ratelimit_backoff", "category": "error", "quantity": 3},
        {"reason": "ratelimit_backoff", "category": "default", "quantity": 2},
        {"reason": "before_send", "category": "transaction", "quantity": 1},
        {"reason": "queue_overflow", "category": "log_item", "quantity": 7},
        {"reason": "queue_overflow", "category": "log_byte", "quantity": 7_000},
    ],
}


def item(report: Any) -> bytes:
    payload = report if isinstance(report, bytes) else orjson.dumps(report)
    return b'{"type":"client_report","length":%d}\n%b\n' % (len(payload), payload)


async def outcomes(body: bytes) -> tuple[list[tuple[Any, ...]], list[str], list[Any]]:
    """(outcome, reason, type, quantity) of each row, the reasons the sender hears, and the rows' ids."""
    bench, _, told = await accept(body)
    assert told == ["ack"]
    rows = [dict(zip(OUTCOME_COLUMNS, row, strict=True)) for row in bench.writer.stored.get(OUTCOMES_TABLE, [])]
    found = [(row["outcome"], row["reason"], row["item_type"], row["quantity"]) for row in rows]
    [reply] = bench.replies
    assert reply.rejected == sum(row["quantity"] for row in rows if not row["outcome"].startswith(CLIENT_PREFIX))
    return found, reply.reasons, [row["source_id"] for row in rows]


@pytest.mark.asyncio
async def test_a_report_feeds_outcomes_and_is_counted_itself() -> None:
    """One row per reason and type, `default` and `error` both being events, bytes apart from counts; no item of it."""
    found, reasons, ids = await outcomes(TWO_ITEMS + item(REPORT))
    assert found == [
        ("dropped", "counted_in_outcomes:client_report", "client_report", 1),
        ("client_discarded", "ratelimit_backoff", "event", 5),
        ("client_discarded", "before_send", "transaction", 1),
        ("client_discarded", "queue_overflow", "log", 7),
        ("client_discarded", "queue_overflow", "log_byte", 7_000),
    ]
    assert reasons == ["counted_in_outcomes:client_report"]
    assert ids == (await outcomes(TWO_ITEMS + item(REPORT)))[2]


@pytest.mark.asyncio
async def test_reports_of_one_body_add_up() -> None:
    """Two reports of the same loss are one row of both, or one of them would replace the other."""
    found, *_ = await outcomes(b"{}\n" + item(REPORT) + item(REPORT))
    assert found[0][3] == 2
    assert found[1] == ("client_discarded", "ratelimit_backoff", "event", 10)


def test_every_list_of_a_report_is_an_outcome() -> None:
    """What the SDK threw away, what a limit held back, what a filter of the SDK's own took."""
    entry = [{"reason": "r", "category": "monitor", "quantity": 1}]
    names = ("discarded_events", "rate_limited_events", "filtered_events", "filtered_sampling_events")
    assert set(client_report.read(orjson.dumps(dict.fromkeys(names, entry)))[0]) == {
        ("client_discarded", "r", "check_in"),
        ("client_rate_limited", "r", "check_in"),
        ("client_filtered", "r", "check_in"),
        ("client_filtered_sampling", "r", "check_in"),
    }


@pytest.mark.parametrize("report", [b"", b"{", b"[]", b"7", {"discarded_events": {}}, {"rate_limited_events": "x"}])
@pytest.mark.asyncio
async def test_a_malformed_report_is_a_counted_drop(report: Any) -> None:
    """Named, and the other items go on."""
    found, reasons, _ = await outcomes(TWO_ITEMS + item(report))
    assert found == [("dropped", "malformed:client_report", "client_report", 1)]
    assert reasons == ["malformed:client_report"]


@pytest.mark.parametrize("quantity", [-5, True, 1.5, "x", "1_0", None])
def test_entries_that_cannot_be_read_are_left_out_and_said(quantity: Any) -> None:
    """A count is a whole number; a report with another one is counted as partly malformed."""
    report = {"discarded_events": [{"reason": "r", "category": "error", "quantity": quantity}]}
    assert client_report.read(orjson.dumps(report)) == ({}, True)


@pytest.mark.parametrize("entry", [None, 7, {}, {"reason": "r", "quantity": 1}])
def test_entries_of_another_shape_are_said(entry: Any) -> None:
    """As those with a wrong number are."""
    assert client_report.read(orjson.dumps({"discarded_events": [entry]})) == ({}, True)


@pytest.mark.parametrize(("quantity", "counted"), [(0, 0), ("3", 3), (3.0, 3), ("1e3", 1000)])
def test_a_quantity_is_read_in_every_form(quantity: Any, counted: int) -> None:
    """None at all is no loss, and no fault of the report."""
    report = {"discarded_events": [{"reason": "r", "category": "error", "quantity": quantity}]}
    lost, is_partly_malformed = client_report.read(orjson.dumps(report))
    assert (lost["client_discarded", "r", "event"], is_partly_malformed) == (counted, False)


def test_what_a_long_list_says_is_added_up() -> None:
    """Entries are told apart up to a limit; none is dropped."""
    entry = {"reason": "r", "category": "error", "quantity": 2}
    lost, _ = client_report.read(orjson.dumps({"discarded_events": [entry] * (client_report.MAX_ENTRIES + 7)}))
    assert lost == {("client_discarded", "r", "event"): 1_000, ("client_discarded", "other", "other"): 14}


@pytest.mark.asyncio
async def test_a_report_cannot_flood_the_outcomes() -> None:
    """Entries, words and quantities are bounded."""
    entries = [{"reason": f"é{number}" * 50, "category": "x y", "quantity": 2**63} for number in range(9_999)]
    found, _ = client_report.read(orjson.dumps({"discarded_events": entries}))
    del found["client_discarded", "other", "other"]
    assert len(found) == client_report.MAX_ENTRIES
    for (_, reason, item_type), quantity in found.items():
        assert (len(reason) <= 40, reason.isascii(), item_type, quantity) == (True, True, "x?y", 10**15)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
entries = st.fixed_dictionaries({"reason": anything, "category": anything, "quantity": anything})


@given(st.fixed_dictionaries({"discarded_events": st.lists(entries | anything, max_size=3) | anything}) | anything)
def test_any_json_is_a_report_or_malformed(report: Any) -> None:
    """Nothing else happens, and every count is one."""
    try:
        sent = orjson.dumps(report)
    except TypeError:  # an integer beyond 64 bits: no JSON that this test could send
        return
    try:
        found, _ = client_report.read(sent)
    except MalformedReport:
        listed = report.get("discarded_events") if isinstance(report, dict) else None
        assert not isinstance(report, dict) or not isinstance(listed, list | None)
        return
    assert isinstance(report, dict)
    assert all(quantity > 0 for quantity in found.values())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_malformed(payload: bytes) -> None:
    """Through the splitter too, which never fails for a report."""
    assert split_envelope(b"{}\n" + item(payload)).reports.total() == 1
