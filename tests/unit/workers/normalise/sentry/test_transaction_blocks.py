"""Spans of transactions in blocks: what is usual is in a block, all else is Python's, and the rows are the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.bench.bodies import sentry as sentry_bodies
from schemas.blocks.rows import MixedRows
from schemas.compiled import readers
from schemas.otlp import record_blocks
from tests.fuzz.twins import Twins
from tests.unit import normalised
from workers.normalise import trace_context
from workers.normalise.sentry import transaction
from workers.normalise.sentry.payload.user import ADDRESS_KEYS
from workers.normalise.sentry.span_row import SPAN_COLUMNS
from workers.normalise.sentry.transaction_blocks import LAYOUT, PARTS, blocks
from workers.normalise.verdict import Verdict

ORDINAL: Final = SPAN_COLUMNS.index("source_ordinal")
PAYLOAD: Final = SPAN_COLUMNS.index("payload")
ORIGIN: Final = normalised.origin(sender_ip="203.0.113.7")
START_S: Final = ORIGIN.received_at_ns // 10**9 - 10
START: Final = datetime.fromtimestamp(START_S, UTC).isoformat().removesuffix("+00:00")

# What makes a span unusual: members that replace its own.
UNUSUAL: Final[dict[str, dict[str, Any]]] = {
    "no trace id": {"trace_id": None},
    "a trace id in capitals": {"trace_id": "AB" * 16},
    "a trace id with hyphens": {"trace_id": "0af76519-16cd-43dd-8448-eb211c80319c"},
    "a span id of zeros": {"span_id": "0" * 16},
    "a long span id": {"span_id": "1" * 17},
    "a parent that is none": {"parent_span_id": "x"},
    "no start": {"start_timestamp": None},
    "a start in text without a zone": {"start_timestamp": "2025-11-21T04:39:50"},
    "an end that is missing": {"timestamp": None},
    "an end before the start": {"timestamp": START_S - 1},
    "a start of long ago": {"start_timestamp": 1_000_000_000},
    "an end ahead": {"timestamp": START_S + 10_000},
    "a start that was never set": {"start_timestamp": 0},
    "a time that is true": {"timestamp": True},
    "a status by number": {"status": 5},
    "a status nobody knows": {"status": "great"},
    "no op": {"op": None},
    "an op with blanks": {"op": " db "},
    "an op that is a number": {"op": 7},
    "an op that is default": {"op": "default", "description": None},
    "a long op": {"op": "o" * 129},
    "a call of a model by its op": {"op": "gen_ai.chat"},
    "a call of a model": {"data": {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": "7"}},
    "a description that is an object": {"description": {"a": 1}},
    "a long description": {"description": "d" * 2_001},
    "links": {"links": [{"trace_id": "ab" * 16, "span_id": "cd" * 8}]},
    "measurements": {"measurements": {"lcp": {"value": 1.5, "unit": "second"}}},
    "tags of sentry": {"sentry_tags": {"domain": "d"}},
    "tags as a list": {"tags": [["a", "b"]]},
    "a tag with blanks": {"tags": {"a tag": "b"}},
    "a tag in two lines": {"tags": {"a": "b\nc"}},
    "a long tag": {"tags": {"a": "b" * 201}},
    "a tag that is a number": {"tags": {"a": 7}},
    "data that is a list": {"data": [1]},
    "a key without a name": {"data": {"": 1}},
    "a long key": {"data": {"k" * 201: 1}},
    "a number beyond 64 bits": {"data": {"k": 2**64 - 1}},
    "an address to be filled in": {"data": {"client.address": "{{auto}}"}},
    "a kind of another name": {"data": {"sentry.kind": "client"}},
    "a kind that is none": {"data": {"otel.kind": "other"}},
    "a kind that is a number": {"data": {"otel.kind": 3}},
}
# What does not.
USUAL: Final[dict[str, dict[str, Any]]] = {
    "no parent": {"parent_span_id": None},
    "an empty parent": {"parent_span_id": ""},
    "no status": {"status": None},
    "an empty description": {"description": ""},
    "no description": {"description": None},
    "times in text": {"start_timestamp": f"{START}.853844Z", "timestamp": f"{START}.854Z"},
    "a time in text without a fraction": {"start_timestamp": f"{START}Z"},
    "times with fractions": {"start_timestamp": START_S + 0.1234567, "timestamp": START_S + 0.7654321},
    "tags": {"tags": {"a": "b", "c:d.e-f_G9": "", "n": None}},
    "an attribute of each type": {"data": {"s": "é", "i": -1, "d": 0.5, "t": True, "f": False, "n": None}},
    "objects and lists": {"data": {"o": {"a": [1, None]}, "l": ["x"], "e": []}},
    "a key that the span has, too": {"data": {"sentry.origin": "mine", "sentry.segment.name": "mine"}},
    "a tag and data of one name": {"tags": {"a": "tag"}, "data": {"a": 7}},
    "a kind": {"data": {"otel.kind": "SERVER"}},
    "an address": {"data": {"client.address": "10.0.0.1"}},
    "members nobody reads": {"hash": "h", "same_process_as_parent": True, "_meta": {"a": {}}},
    "a segment": {"is_segment": False, "segment_id": "ab" * 8, "profile_id": "cd" * 16, "exclusive_time": 3},
}


@pytest.fixture(autouse=True)
def use_compiled(compiled: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "sentry_span_block", compiled.sentry_span_block)


def span(number: int, **members: Any) -> dict[str, Any]:
    """A usual one."""
    return {
        "trace_id": "ab" * 16,
        "span_id": f"{number + 1:016x}",
        "parent_span_id": "cd" * 8,
        "op": ("db.query", "http.client", "cache.get")[number % 3],
        "description": f"SELECT {number}",
        "start_timestamp": START_S + number / 8,
        "timestamp": START_S + number / 8 + 0.25,
        "status": "ok",
        "origin": "auto.db",
        "data": {"db.system": "postgresql", "db.rows": number, "server.address": "db-1"},
    } | members


def body(spans: list[Any], **header: Any) -> bytes:
    trace = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "op": "http.server", "status": "ok"}
    payload = {
        "transaction": "GET /cart",
        "start_timestamp": START_S,
        "timestamp": START_S + 9,
        "contexts": {"trace": trace},
        "user": {"id": "u1"},
        "release": "shop@1",
        "spans": spans,
    }
    lines = ({"event_id": "9ec79c33ec9942ab8353589fcb2e04dc"} | header, {"type": "transaction"}, payload)
    return b"\n".join(map(orjson.dumps, lines))


def both(raw: bytes) -> Verdict:
    """The verdict with blocks, which has to be the one without."""
    found = transaction.normalise(ORIGIN, raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "sentry_span_block", None)
        expected = transaction.normalise(ORIGIN, raw)
    assert not isinstance(expected.rows, MixedRows)
    assert repr(found) == repr(expected)
    return found


def in_blocks(verdict: Verdict) -> list[int]:
    return [block.count for block in verdict.rows.blocks()] if isinstance(verdict.rows, MixedRows) else []


def test_a_layout_has_every_column() -> None:
    """In the order of the rows. A new column of a span's row is added to it, or nothing is imported."""
    assert tuple(column.name for column in LAYOUT.columns) == SPAN_COLUMNS


def test_the_compiled_code_makes_these_parts() -> None:
    """As many as Python reads, each with one value for each row."""
    found = transaction.normalise(ORIGIN, body([span(number) for number in range(9)]))
    assert isinstance(found.rows, MixedRows)
    [block] = found.rows.blocks()
    assert len(block.parts) == len(PARTS)


def test_transactions_of_the_sdk_are_in_blocks() -> None:
    """All their spans, in every variant that the bench sends."""
    for variant in range(4):
        document = orjson.loads(sentry_bodies.transaction(variant).split(b"\n")[2])
        document |= {"start_timestamp": START_S, "timestamp": START_S + 9}
        for one in document["spans"]:
            one |= {"start_timestamp": START_S, "timestamp": START_S + 1}
        raw = b"\n".join((b"{}", b'{"type":"transaction"}', orjson.dumps(document)))
        assert in_blocks(both(raw)) == [sentry_bodies.CHILD_SPANS]


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("place", [0, 15])
def test_an_unusual_span_is_left_to_python_alone(kind: str, place: int) -> None:
    """Those beside it stay in the block; its row or refusal, its ordinal: as without blocks."""
    spans = [span(number) for number in range(16)]
    spans[place] |= UNUSUAL[kind]
    verdict = both(body(spans))
    assert in_blocks(verdict) == [15]
    ordinals = [row[ORDINAL] for row in verdict.rows]
    refused = [place + 1] if verdict.rejections else []
    assert ordinals == [number for number in range(17) if number not in refused]


ODD: list[dict[str, Any]] = [
    *({"start_timestamp": time} for time in ("2024-02-29T23:59:59.999999Z", "2025-02-29T00:00:00Z", None, True, -1)),
    *({"timestamp": time} for time in ("2025-11-21T04:39:50.8538Z", "2025-11-21 04:39:50Z", "2025-11-21T24:00:00Z")),
    *({"start_timestamp": time} for time in ("1763699990", 1e300)),
    *({"status": status} for status in ("OK", "5", "\u00e9")),
    *({"tags": {key: "t"}} for key in ("", "\u00e9", "sentry.kind", "gen_ai.system", "k" * 201)),
    *({"data": {key: 1}} for key in ("", "sentry.kind", "gen_ai.system", "k" * 201)),
    {"data": {"k": 9223372036854775808}},
]


@pytest.mark.parametrize("fields", ODD, ids=repr)
def test_what_is_beyond_a_limit_makes_the_same_rows(fields: dict[str, Any]) -> None:
    """Times that no calendar has, keys that are too long or say something else, numbers that are too large."""
    spans = [span(number) for number in range(16)]
    spans[7] |= fields
    assert in_blocks(both(body(spans))) == [15]


@pytest.mark.parametrize("value", [7, None, "span", [], {}, [1]])
def test_what_is_no_span_is_refused_beside_a_block(value: Any) -> None:
    """With the same words."""
    verdict = both(body([*(span(number) for number in range(15)), value]))
    assert in_blocks(verdict) == [15]
    assert len(verdict.rejections) == 1


@pytest.mark.parametrize("kind", USUAL)
def test_what_sdks_send_every_day_is_usual(kind: str) -> None:
    """It is in the block, with equal rows."""
    spans = [span(number) for number in range(16)]
    spans[3] |= USUAL[kind]
    assert in_blocks(both(body(spans))) == [16]


@pytest.mark.parametrize("status", sorted({*trace_context._STATUS.values(), ""}))
def test_every_status_is_usual(status: str) -> None:
    """C has a list of its own."""
    assert in_blocks(both(body([span(number, status=status) for number in range(8)]))) == [8]


@pytest.mark.parametrize("key", ADDRESS_KEYS)
def test_every_address_may_be_a_placeholder(key: str) -> None:
    """In the place of any of them the sender's own is stored."""
    spans = [span(number) for number in range(16)]
    spans[5]["data"] = {key: " {{auto}} "}
    verdict = both(body(spans))
    assert in_blocks(verdict) == [15]
    assert ORIGIN.sender_ip in repr(list(verdict.rows)[6])


@pytest.mark.parametrize("unusual", [4, 5, 16])
def test_where_much_is_unusual_there_is_no_block(unusual: int) -> None:
    """Up to a quarter; reading the others twice would cost more than a block saves."""
    spans = [span(number, op=None if number < unusual else "db") for number in range(16)]
    assert bool(in_blocks(both(body(spans)))) == (unusual == 4)


def test_a_few_spans_are_rows() -> None:
    """Less than a block costs."""
    least = record_blocks.LEAST_RECORDS
    assert [in_blocks(both(body([span(number) for number in range(count)]))) for count in (0, 1, least - 1)] == [[]] * 3
    assert in_blocks(both(body([span(number) for number in range(least)]))) == [least]


def test_many_spans_are_several_blocks() -> None:
    """One call into C takes no longer than another; ordinals go on, and what is refused keeps its place."""
    most = record_blocks.MAX_BLOCK_RECORDS
    spans: list[Any] = [span(number, start_timestamp=START_S, timestamp=START_S) for number in range(2 * most + 1)]
    spans[most + 3] = 7
    verdict = both(body(spans))
    assert in_blocks(verdict) == [most, most - 1, 1]
    assert [one.index for one in verdict.rejections] == [most + 3]


def test_a_clock_that_is_wrong_is_pythons() -> None:
    """All times of the body are moved."""
    spans = [span(number) for number in range(16)]
    assert in_blocks(both(body(spans, sent_at="2024-01-01T00:00:00Z"))) == []
    assert (
        in_blocks(both(body(spans).replace(b'"timestamp":%d,' % (START_S + 9), b'"timestamp":%d,' % (START_S + 999))))
        == []
    )


def test_more_keys_than_a_block_holds() -> None:
    """A span with hundreds of attributes, and then those that have none of them: nothing is mixed up."""
    spans = [span(number) for number in range(16)]
    spans[15]["data"] = {f"k{number}": number for number in range(300)}
    assert in_blocks(both(body(spans))) == [15]
    for number, one in enumerate(spans):
        one["data"] = {f"k{number}.{place}": place for place in range(20)}
    assert in_blocks(both(body(spans))) in ([], [12])


def test_secrets_are_filtered_before() -> None:
    """Headers, commands, addresses with a password: no block has them."""
    spans = [span(number) for number in range(16)]
    spans[3]["data"] = {"http.request.header.authorization": "Bearer hidden-1"}
    spans[4]["data"] = {"url.full": "https://user:hidden-2@shop.example/"}
    spans[5] |= {"op": "subprocess", "description": "login --password hidden-3"}
    spans[6]["data"] = {"process.command_line": "mysql -phidden-4 --password=hidden-4"}
    verdict = both(body(spans))
    assert in_blocks(verdict) == [16]
    assert "hidden" not in repr([row for number, row in enumerate(verdict.rows) if number])


def test_a_long_retention_makes_no_long_spans() -> None:
    """A span of more than a year is a wrong clock, however long rows are kept."""
    spans = [span(number) for number in range(16)]
    spans[3]["start_timestamp"] = START_S - 400 * 86_400
    found = transaction.normalise(ORIGIN, body(spans), retention_days=3_000)
    assert in_blocks(found) == [15]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "sentry_span_block", None)
        assert repr(transaction.normalise(ORIGIN, body(spans), retention_days=3_000)) == repr(found)


def test_halves_of_surrogate_pairs_are_pythons() -> None:
    """JSON readers leave none, but nothing may break where one comes."""
    for members in ({"description": "\ud800"}, {"data": {"\ud800": 1}}, {"data": {"k": "\ud800"}}, {"op": "\ud800"}):
        spans = [span(number) for number in range(16)]
        spans[2] |= members
        shared = transaction.OfTransaction((), 1, "", {}, "", "", "")
        clock = transaction.SenderClock(ORIGIN.received_at_ns, None, 30)
        [block] = blocks(spans, clock, shared) or []
        assert block.odd == [2]


texts = st.text(max_size=12)
keys = texts | st.sampled_from(["otel.kind", "sentry.op", "user.ip", "sentry.origin"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
times = st.floats(START_S - 100, START_S + 100) | st.integers(START_S - 100, START_S + 100)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"start_timestamp": times, "timestamp": times, "description": texts | st.none()},
            optional={
                "op": texts,
                "status": st.sampled_from(["ok", "error", "not_found", "", "?"]),
                "data": st.dictionaries(
                    texts | st.sampled_from(["otel.kind", "sentry.op", "user.ip"]), values, max_size=4
                ),
                "tags": st.dictionaries(texts, values, max_size=2),
                "origin": values,
                "exclusive_time": values,
            },
        ),
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_members_there_are_the_rows_are_the_same(changed: list[dict[str, Any]]) -> None:
    """Of all types, in any place."""
    spans = [span(number) for number in range(12)]
    for place, members in enumerate(changed):
        spans[place * 3] |= members
    both(body(spans))
