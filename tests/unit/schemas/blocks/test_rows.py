"""Rows in blocks: what they are as a sequence, and what an insert of them says to a reader of the Native format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.buffer import ResponseBuffer
from clickhouse_connect.driver.query import QueryContext
from clickhouse_connect.driver.transform import NativeTransform

from schemas.blocks import columns as native_columns
from schemas.blocks.columns import DICTIONARY, Column, Constant, Empty, Maps, Ordinals, Texts, write_block
from schemas.blocks.rows import Layout, MixedRows, RowBlock, join_rows
from schemas.rows import Row

LAYOUT = Layout("test", (Texts("text", 1), Ordinals("place", 0)), 1)


def block(first: int, texts: list[str], others: list[Row] | None = None, skipped: int = 0) -> RowBlock:
    """Rows of texts with places from `first` on; the first `skipped` places are left out."""
    places = b"".join((skipped + index).to_bytes(4, "little") for index in range(len(texts)))
    parts = (places, b"".join(map(native_columns.text_bytes, texts)))
    return RowBlock(LAYOUT, parts, [], (), first, len(texts), others or [])


def mixed() -> tuple[MixedRows, list[Row]]:
    """Blocks between rows, and the same as a list."""
    rows = MixedRows([[("a", 0), ("b", 1)], block(2, ["c", "d", "e"])])
    rows.append(("f", 5))
    rows.extend([("g", 6)])
    rows.add_block(block(7, ["i"], [("h", 7)], skipped=1))
    return rows, [(letter, place) for place, letter in enumerate("abcdefghi")]


def test_it_is_the_sequence_of_its_rows() -> None:
    """Length, order, every index and every slice, equality: as a list of all rows."""
    rows, expected = mixed()
    assert len(rows) == len(expected)
    assert list(rows) == expected == rows
    assert repr(rows) == repr(expected)
    assert [rows[index] for index in range(-9, 9)] == expected + expected
    for start in range(-10, 11):
        for end in range(-10, 11):
            assert rows[start:end] == expected[start:end]
    assert rows[::2] == expected[::2]
    for index in (-10, 9):
        with pytest.raises(IndexError):
            rows[index]


def test_only_a_block_that_is_cut_makes_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half of an insert keeps the blocks that are whole in it."""
    rows = MixedRows([block(100 * number, ["x"] * 100) for number in range(10)])
    made: list[int] = []
    usual = RowBlock.rows
    monkeypatch.setattr(RowBlock, "rows", lambda self: made.append(self.first) or usual(self))
    half = rows[150:950]
    assert made == [100, 900]
    assert [len(piece) for piece in half.pieces] == [50, *[100] * 7, 50]


def test_rows_of_messages_come_together_in_order() -> None:
    """Without a block they are a list, with one nothing is shared that the messages still have."""
    assert join_rows([[("a", 0)], [], [("b", 1)]]) == [("a", 0), ("b", 1)]
    rows, expected = mixed()
    found = join_rows([[("z", 9)], rows, [("y", 8)], rows])
    assert found == [("z", 9), *expected, ("y", 8), *expected]
    assert list(rows) == expected


def read(columns: tuple[Column, ...], blocks: list[RowBlock]) -> list[Any]:
    """What clickhouse-connect reads of the bytes."""
    out = bytearray()
    write_block(columns, blocks, out)

    class Source:
        def __init__(self) -> None:
            self.gen = iter([bytes(out)])

        def close(self) -> None:
            pass

    result = NativeTransform().parse_response(ResponseBuffer(Source()), QueryContext())
    assert result.column_names == tuple(column.name for column in columns)
    return list(result.result_rows)


def _with_keys(keys: list[str], counts: bytes) -> RowBlock:
    """Rows with so many entries, each under the next key; the value is the key's place."""
    places = bytes(number % len(keys) for number in range(sum(counts)))
    values = b"".join(place.to_bytes(8, "little") for place in places)
    return RowBlock(Layout("t", (), 0), (counts, places, values), keys, (), 0, len(counts))


@pytest.mark.parametrize("keys", [1, 200, 256, 257, 700])
def test_keys_of_several_blocks_share_one_dictionary(keys: int) -> None:
    """Indexes take one byte up to 256 keys, two above; each block's own indexes are translated."""
    names = [f"key {number}" for number in range(keys)]
    blocks = [_with_keys(names[start : start + 100], bytes([3, 0, 2])) for start in range(0, keys, 100)]
    blocks.append(_with_keys(names[::-1][:7], bytes([7])))
    columns = (Maps("m", 0, "Int64"),)
    expected = [(value,) for one in blocks for value in columns[0].values(one)]
    assert read(columns, blocks) == expected
    assert {key for (held,) in expected for key in held} <= set(names)


def test_no_entry_at_all_is_no_dictionary() -> None:
    """A map that is empty in all rows has offsets only."""
    assert read((Maps("m", 0, "Int64"),), [_with_keys(["k"], bytes(3))]) == [({},), ({},), ({},)]


CONSTANTS: list[tuple[str, Callable[[int], Any]]] = [
    ("UInt64", lambda number: 2**64 - 1 - number),
    ("Int64", lambda number: number),
    (DICTIONARY, lambda number: f"word {number}"),
    ("String", lambda number: "\u20ac" * number * 50),
    (f"Map({DICTIONARY}, String)", lambda number: {f"k{place}": "v" * place for place in range(number)}),
]


@pytest.mark.parametrize(("type_", "value"), CONSTANTS, ids=[type_ for type_, _ in CONSTANTS])
@pytest.mark.parametrize("blocks", [1, 3, 300])
def test_what_a_block_shares_is_there_in_each_row(type_: str, value: Callable[[int], Any], blocks: int) -> None:
    """So many times as it has rows; dictionaries grow beyond one byte."""
    made = [RowBlock(LAYOUT, (), [], (value(number),), 0, number % 3 + 1) for number in range(blocks)]
    expected = [(value(number),) for number in range(blocks) for _ in range(number % 3 + 1)]
    assert read((Constant("c", type_, 0),), made) == expected


def test_columns_without_anything_are_empty() -> None:
    """An empty text, zero, no words."""
    columns = (Empty("t", "String"), Empty("n", "UInt32"), Empty("w", f"Array({DICTIONARY})"))
    assert read(columns, [block(0, ["", ""])]) == [("", 0, []), ("", 0, [])]
    assert list(zip(*(column.values(block(0, ["", ""])) for column in columns), strict=True)) == [("", 0, [])] * 2


def test_a_value_that_fits_no_column_is_an_error_of_the_encoder() -> None:
    """The insert's classes of errors know these: the row is looked for."""
    for type_, value in (("UInt64", -1), ("UInt64", 2**64), ("String", "\ud800")):
        made = replace(block(0, ["x"]), constants=(value,))
        with pytest.raises((OverflowError, UnicodeError)):
            Constant("c", type_, 0).write([made], bytearray())
