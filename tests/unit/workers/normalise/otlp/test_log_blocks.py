"""Blocks of log records: as those of spans (test_span_blocks.py), and what only logs have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from tests.unit.log_bodies import UNUSUAL, body, messages, usual
from tests.unit.otlp_encoding import JSON, PROTOBUF, as_json, logs
from tests.unit.span_bodies import ATTRIBUTES
from workers.normalise.otlp.body import LOG_COLUMNS, normalise_logs
from workers.normalise.otlp.log_blocks import LAYOUT, MAX_PREFIX_BYTES, PARTS, needs_care, prefix_of, reader
from workers.normalise.otlp.values import window
from workers.normalise.verdict import Verdict

EVENT_ID = LOG_COLUMNS.index("event_id")
ORDINAL = LOG_COLUMNS.index("source_ordinal")
REPAIRS = LOG_COLUMNS.index("repairs")


@pytest.fixture(autouse=True)
def use_compiled(compiled: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("log_block", "record_ids", "text"):
        monkeypatch.setattr(readers, name, getattr(compiled, name))


def both(raw: bytes, origin: Origin = PROTOBUF) -> Verdict:
    """The verdict with blocks, which has to be the one without anything compiled."""
    found = normalise_logs(origin, raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "log_block", None)
        patch.setattr(readers, "text", None)
        expected = normalise_logs(origin, raw)
    assert not isinstance(expected.rows, MixedRows)
    assert repr(found) == repr(expected)
    return found


def test_a_layout_has_every_column() -> None:
    """In the order of the rows. A new column of a log's row is added to it, or nothing is imported."""
    assert tuple(column.name for column in LAYOUT.columns) == LOG_COLUMNS


def test_the_compiled_code_makes_these_parts() -> None:
    """As many as Python reads, each with one value for each row; the ids come behind."""
    make = reader(window(PROTOBUF, 30), prefix_of(PROTOBUF)).make
    assert make is not None
    made = make([usual(1).SerializeToString()], 0)
    assert made is not None
    assert len(made[0]) == len(PARTS) - 1


def test_whole_messages_have_the_same_rows() -> None:
    """Of all shapes; most of their rows are in blocks, and every repair that a block names is among them."""
    found = [both(raw, origin) for origin, raw in messages()]
    in_blocks = sum(block.count for one in found if isinstance(one.rows, MixedRows) for block in one.rows.blocks())
    assert in_blocks > 0.9 * sum(len(one.rows) for one in found)
    repaired = {tuple(row[REPAIRS]) for one in found for row in one.rows}  # type: ignore[arg-type]
    assert ("time_from_observed", "trace_id_invalid", "span_id_invalid", "severity_from_text") in repaired
    assert () in repaired


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("place", [0, 7, 15])
def test_an_unusual_record_is_left_to_python_alone(kind: str, place: int) -> None:
    """Those beside it stay in the block; its row, its ordinal, warnings: as without blocks."""
    records = [usual(number) for number in range(16)]
    UNUSUAL[kind](records[place])
    verdict = both(body(records))
    assert isinstance(verdict.rows, MixedRows)
    [block] = verdict.rows.blocks()
    assert (block.count, len(block.others)) == (15, 1)
    assert [row[ORDINAL] for row in verdict.rows] == list(range(16))


@pytest.mark.parametrize("unusual", [4, 5, 16])
def test_where_much_is_unusual_there_is_no_block(unusual: int) -> None:
    """Up to a quarter."""
    records = [usual(number) for number in range(16)]
    for one in records[:unusual]:
        UNUSUAL["no body"](one)
    assert isinstance(both(body(records)).rows, MixedRows) == (unusual == 4)


def test_few_records_are_rows_and_many_are_several_blocks() -> None:
    """As of spans; ids and ordinals go on over blocks, scopes and resources."""
    assert not isinstance(both(body([usual(n) for n in range(record_blocks.LEAST_RECORDS - 1)])).rows, MixedRows)
    request = logs(*[usual(number, {}) for number in range(record_blocks.MAX_BLOCK_RECORDS + 20)])
    for _ in range(3):
        request.resource_logs.add().scope_logs.add().log_records.extend(usual(number, {}) for number in range(12))
    request.resource_logs[1].scope_logs.add().log_records.extend([usual(1), usual(2)])
    verdict = both(request.SerializeToString())
    assert isinstance(verdict.rows, MixedRows)
    assert [block.count for block in verdict.rows.blocks()] == [record_blocks.MAX_BLOCK_RECORDS, 20, 12, 12, 12]
    for ordinal, row in enumerate(verdict.rows):
        assert (row[ORDINAL], row[EVENT_ID]) == (ordinal, row_id("otlp.log", 7, "origin-1", ordinal))


@pytest.mark.parametrize("size", [0, 40, 65, 66, MAX_PREFIX_BYTES, 300])
def test_ids_of_any_origin(size: int) -> None:
    """Of a length that C hashes at once, and of one that it does not."""
    origin = replace(PROTOBUF, origin_id="o" * size, channel_id=2**63 - 1)
    verdict = both(body([usual(number, {}) for number in range(9)]), origin)
    assert isinstance(verdict.rows, MixedRows) == (size <= 65)


def test_more_severities_than_a_block_has() -> None:
    """A block has 256 words, and looks at a few with equal hashes; then records are odd."""
    records = [usual(number, {}, severity_text=f"level {number}") for number in range(300)]
    verdict = both(body(records))
    assert isinstance(verdict.rows, MixedRows)
    [block] = verdict.rows.blocks()
    assert 200 < block.count <= 256


@pytest.mark.parametrize(
    ("key", "expected"), [("event.name", 1), ("http.route", 0), ("gen_ai.system", 1), ("url.full", 2)]
)
def test_keys_that_need_care(key: str, expected: int) -> None:
    """Those of a span, and the older name of an event, which is a column."""
    assert needs_care(key) == expected


_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
_values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | _text | st.lists(st.booleans(), max_size=1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.dictionaries(_text, _values, max_size=4), _text, _text, _text), max_size=12))
def test_any_records_have_the_same_rows_in_both_encodings(sent: list[Any]) -> None:
    """Attributes, bodies, severities, names of any characters, doubles of any digits."""
    records = [usual(number, {}) for number in range(9)]
    for number, (attributes, said, word, name) in enumerate(sent):
        one = usual(100 + number, attributes, severity_text=word, event_name=name)
        one.body.string_value = said
        records.append(one)
    both(body(records))
    both(as_json(logs(*records)), JSON)


def _changed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(old, new)


@pytest.mark.parametrize(
    "change",
    [
        _changed(b'"severityText":"Error "', b'"severityText":"Err\\u006fr\\ud83d\\ude00"'),
        _changed(b'"severityText":"Error "', b'"severityText":"\\ud83d"'),
        _changed(b'"severityText":"Error "', b'"severityText":7'),
        _changed(b'"severityText":"Error "', b'"severity_text":"Error"'),
        _changed(b'"logRecords":[', b'"logRecords":[{},'),
        _changed(b'"logRecords":[', b'"logRecords":[{"traceId":""},{"body":{}},{"body":null},'),
        _changed(b'"logRecords":[', b'"logRecords":[null,'),
        _changed(b'"logRecords":[', b'"logRecords":[' + b"{}," * 150),
        _changed(b'"stringValue":"out', b'"stringValue":"\xff'),
        _changed(b'"body":{"stringValue"', b'"body":{"bytesValue"'),
        _changed(b'"scopeLogs"', b'"instrumentationLibraryLogs"'),
        _changed(b'"timeUnixNano":"', b'"timeUnixNano":"-'),
        _changed(b'"severityNumber":', b'"severityNumber":"SEVERITY_NUMBER_INFO","severityNumber":'),
    ],
)
def test_odd_json_says_the_same(change: Callable[[bytes], bytes]) -> None:
    """A record that is not plain is read beside the plain ones, and costs none of them."""
    raw = as_json(logs(*[usual(number) for number in range(40)]))
    both(raw, JSON)
    assert change(raw) != raw
    both(change(raw), JSON)


def test_plain_json_is_in_blocks() -> None:
    """Else the tests above would compare the careful way with itself; the rows are those of protobuf, but for ids."""
    attributes = {key: value for key, value in ATTRIBUTES.items() if key != "least"}  # C takes one number less
    request = logs(*[usual(number, attributes) for number in range(40)])
    verdict = both(as_json(request), JSON)
    assert isinstance(verdict.rows, MixedRows)
    assert verdict.rows.blocks()[0].count == 40
    assert verdict.rows == both(request.SerializeToString()).rows
