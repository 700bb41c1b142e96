"""Blocks of spans: what is usual is in a block, what is not is made by Python beside it, and the rows are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.blocks.rows import MixedRows
from schemas.compiled import readers
from schemas.headers import Origin
from schemas.otlp import record_blocks
from schemas.rows import row_id
from tests.fuzz.twins import Twins
from tests.unit.otlp_encoding import PROTOBUF, put
from tests.unit.span_bodies import UNUSUAL, body, messages, usual
from workers.normalise.otlp.block_columns import needs_care
from workers.normalise.otlp.body import SPAN_COLUMNS, normalise_spans
from workers.normalise.otlp.span_blocks import LAYOUT, PARTS, reader
from workers.normalise.otlp.values import window
from workers.normalise.verdict import Verdict

EVENT_ID = SPAN_COLUMNS.index("event_id")
ORDINAL = SPAN_COLUMNS.index("source_ordinal")


@pytest.fixture(autouse=True)
def use_compiled(compiled: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "messages", compiled.messages)
    monkeypatch.setattr(readers, "span_block", compiled.span_block)


def both(raw: bytes, origin: Origin = PROTOBUF) -> Verdict:
    """The verdict with blocks, which has to be the one without."""
    found = normalise_spans(origin, raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "span_block", None)
        expected = normalise_spans(origin, raw)
    assert not isinstance(expected.rows, MixedRows)
    assert repr(found) == repr(expected)
    return found


def test_a_layout_has_every_column() -> None:
    """In the order of the rows. A new column of a span's row is added to it, or nothing is imported."""
    assert tuple(column.name for column in LAYOUT.columns) == SPAN_COLUMNS


def test_the_compiled_code_makes_these_parts() -> None:
    """As many as Python reads, each with one value for each row."""
    make = reader(PROTOBUF, window(PROTOBUF, 30)).make
    assert make is not None
    made = make([usual(1).SerializeToString()], 0)
    assert made is not None
    assert len(made[0]) == len(PARTS)


def test_whole_messages_have_the_same_rows() -> None:
    """Of all shapes; and most of their rows are in blocks."""
    found = [both(raw, origin) for origin, raw in messages()]
    in_blocks = sum(block.count for one in found if isinstance(one.rows, MixedRows) for block in one.rows.blocks())
    assert in_blocks > 0.9 * sum(len(one.rows) for one in found)


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("place", [0, 7, 15])
def test_an_unusual_span_is_left_to_python_alone(kind: str, place: int) -> None:
    """Those beside it stay in the block; its row or refusal, its ordinal, warnings: as without blocks."""
    spans = [usual(number) for number in range(16)]
    UNUSUAL[kind](spans[place])
    verdict = both(body(spans))
    assert isinstance(verdict.rows, MixedRows)
    [block] = verdict.rows.blocks()
    assert block.count == 15
    assert len(block.others) + len(verdict.rejections) == 1
    ordinals = [row[ORDINAL] for row in verdict.rows]
    assert ordinals == [number for number in range(16) if number != place or not verdict.rejections]


@pytest.mark.parametrize("unusual", [4, 5, 16])
def test_where_much_is_unusual_there_is_no_block(unusual: int) -> None:
    """Up to a quarter; reading the others twice would cost more than a block saves."""
    spans = [usual(number) for number in range(16)]
    for one in spans[:unusual]:
        UNUSUAL["an event"](one)
    assert isinstance(both(body(spans)).rows, MixedRows) == (unusual == 4)


def test_a_few_spans_are_rows() -> None:
    """Less than a block costs."""
    for count in (1, record_blocks.LEAST_RECORDS - 1, record_blocks.LEAST_RECORDS):
        verdict = both(body([usual(number) for number in range(count)]))
        assert isinstance(verdict.rows, MixedRows) == (count == record_blocks.LEAST_RECORDS)


def test_a_long_scope_is_several_blocks() -> None:
    """So that one call into C takes no longer than another, whatever the body; ordinals go on."""
    verdict = both(body([usual(number, {}) for number in range(2 * record_blocks.MAX_BLOCK_RECORDS + 1)]))
    assert isinstance(verdict.rows, MixedRows)
    assert [block.count for block in verdict.rows.blocks()] == [
        record_blocks.MAX_BLOCK_RECORDS,
        record_blocks.MAX_BLOCK_RECORDS,
        1,
    ]


def test_a_resource_with_flaws_is_in_each_row() -> None:
    """Rows that inherit a repair are made one by one."""
    verdict = both(body([usual(number, {}) for number in range(16)], {f"k{place}": "v" * 9_000 for place in range(20)}))
    assert not isinstance(verdict.rows, MixedRows)
    assert verdict.rows[0][SPAN_COLUMNS.index("repairs")]


def test_ids_are_those_of_row_id() -> None:
    """For channels of any length, and whatever the ids are."""
    for channel_id in (1, 10**9, 2**63 - 1):
        origin = Origin("o", channel_id, "k", "e", False, PROTOBUF.received_at_ns, PROTOBUF.content_type, origin_seq=1)
        verdict = both(body([usual(number, {}) for number in range(9)]), origin)
        for number, row in enumerate(verdict.rows, 1):
            expected = row_id("otlp.span", channel_id, f"{number:032x}", f"{number:016x}")
            assert row[EVENT_ID] == expected


def test_many_keys_are_odd_and_cost_no_more(compiled: Twins) -> None:
    """A block has 256 keys; of those with hashes chosen to be equal it looks at a few. Then spans are odd."""
    spans = [usual(number, {f"{number}.{place}": place for place in range(20)}) for number in range(64)]
    both(body(spans))
    few = [usual(number, {}) for number in range(40)]
    for number, one in enumerate(few[:9]):
        put(one.attributes, {f"{number}.{place}": 1 for place in range(30)})
    verdict = both(body(few))
    assert isinstance(verdict.rows, MixedRows)
    assert verdict.rows.blocks()[0].count == 39


def _fnv(text: str) -> int:
    found = 2166136261
    for byte in text.encode():
        found = (found ^ byte) * 16777619 & 0xFFFFFFFF
    return found


def test_keys_of_one_slot_are_bounded() -> None:
    """Seventeen keys whose hashes end alike: the last one makes its span odd, and none is taken for another."""
    alike: list[str] = []
    number = 0
    while len(alike) < 17:
        if _fnv(f"k{number}") % 1024 == 5:
            alike.append(f"k{number}")
        number += 1
    verdict = both(body([usual(number, {key: number}) for number, key in enumerate(alike)]))
    assert isinstance(verdict.rows, MixedRows)
    [block] = verdict.rows.blocks()
    assert (block.count, len(block.others)) == (16, 1)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("http.request.method", 0),
        ("gen_ai.usage.input_tokens", 1),
        ("exception.type", 1),
        ("http.request.header.cookie", 1),
        ("http.request.header.accept", 0),
        ("request.headers", 1),
        ("rpc.grpc.request.metadata", 1),
        ("process.command_args", 1),
        ("url.full", 2),
    ],
)
def test_keys_that_need_care(key: str, expected: int) -> None:
    """Calls of models, exceptions, headers and commands with secrets; addresses, if a password may be in them."""
    assert needs_care(key) == expected


_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
_values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | _text | st.lists(st.booleans(), max_size=1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.dictionaries(_text, _values, max_size=4), _text, _text, st.booleans()), max_size=12))
def test_any_spans_have_the_same_rows(sent: list[Any]) -> None:
    """Attributes, names, messages of any characters, doubles of any digits."""
    spans = [usual(number, {}) for number in range(9)]
    for number, (attributes, name, message, is_odd) in enumerate(sent):
        one = usual(100 + number, attributes, name=name)
        one.status.message = message
        if is_odd:
            UNUSUAL["a link"](one)
        spans.append(one)
    both(body(spans))


def broken(change: Callable[[bytes], bytes]) -> bytes:
    """A body of sixteen spans, of which the seventh was changed on the wire."""
    spans = [usual(number, {"k": "value"}).SerializeToString() for number in range(16)]
    spans[7] = change(spans[7])
    scope = b"".join(b"\x12" + _sized(one) for one in spans)
    return b"\x0a" + _sized(b"\x12" + _sized(scope))


def _sized(raw: bytes) -> bytes:
    size = len(raw)
    found = bytearray()
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*found, size)) + raw


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"value", b"va\xffue"),
        lambda raw: raw.replace(b"value", b"va\xc3ue"),
        lambda raw: raw.replace(b"value", b"\xed\xa0\x80ue"),
        lambda raw: raw.replace(b"GET", b"G\xe2\x82"),
        lambda raw: raw[:-1],
        lambda raw: raw + b"\x4a\x7f",
        lambda raw: raw + b"\x82\x06\x01x",
        lambda raw: b"",
        lambda raw: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_broken_spans_cost_no_other(change: Callable[[bytes], bytes]) -> None:
    """Text that is not UTF-8, cut messages, fields that nobody knows: as without blocks."""
    assert len(both(broken(change)).rows) >= 15
