"""Inserts of blocks: their bytes, sent once or again, and where a refused row is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.transform import NativeTransform

from schemas.blocks.columns import Ordinals, Texts, text_bytes
from schemas.blocks.rows import Layout, MixedRows, RowBlock
from schemas.rows import Row
from tests.unit.worker_fakes import FakeClock
from workers.store import block_insert
from workers.store.block_insert import BlockInsertContext, grouped
from workers.store.clickhouse_errors import BadData
from workers.store.insert import Inserter

LAYOUT = Layout("test", (Texts("text", 1), Ordinals("place", 0)), 1)
OTHER = Layout("other", (Texts("text", 1), Ordinals("place", 0)), 1)
COLUMNS = ("text", "place")
TYPES = [get_from_name("String"), get_from_name("UInt32")]


def block(first: int, texts: list[str], others: list[Row] | None = None, layout: Layout = LAYOUT) -> RowBlock:
    places = b"".join(index.to_bytes(4, "little") for index in range(len(texts)))
    return RowBlock(layout, (places, b"".join(map(text_bytes, texts))), [], (), first, len(texts), others or [])


def body(context: BlockInsertContext) -> bytes:
    return b"".join(NativeTransform.build_insert(context))


def test_an_insert_has_the_statement_once_and_each_row_once() -> None:
    """Blocks first, then the rows beside them as the client encodes them."""
    rows = MixedRows([[("a", 0)], block(1, ["b", "c"], [("d", 3)])])
    context = BlockInsertContext("event_rows", COLUMNS, TYPES, rows)
    names = (b"\x04text\x06String", b"\x05place\x06UInt32")
    assert body(context) == b"".join(
        (
            b"INSERT INTO event_rows (`text`, `place`) FORMAT Native\n",
            b"\x02\x02" + names[0] + b"\x01b\x01c" + names[1] + b"\1\0\0\0\2\0\0\0",
            b"\x02\x02" + names[0] + b"\x01a\x01d" + names[1] + b"\0\0\0\0\3\0\0\0",
        )
    )


@pytest.mark.parametrize(
    "rows",
    [
        MixedRows([block(0, ["a"])]),
        MixedRows([block(0, ["a"]), [("b", 1)]]),
        MixedRows([block(0, [], [("a", 0)]), [("b", 1)]]),
    ],
    ids=["blocks", "both", "rows"],
)
def test_a_repeated_insert_is_the_same(rows: MixedRows) -> None:
    """The client starts again when a connection is lost; then it must not begin behind the statement."""
    context = BlockInsertContext("event_rows", COLUMNS, TYPES, rows)
    assert not context.empty
    first = body(context)
    assert first.count(b"INSERT INTO") == 1
    context.current_row = context.current_block = 0
    assert body(context) == first


def test_nothing_is_kept_behind_an_insert() -> None:
    """The client's context stays in memory until cycles are collected."""
    rows = MixedRows([block(0, ["a"]), [("b", 1)]])
    context = BlockInsertContext("event_rows", COLUMNS, TYPES, rows)
    context.forget()
    kept = [value for value in vars(context).values() if isinstance(value, list) and value]
    assert not [value for value in kept if isinstance(value[0], tuple | RowBlock)]
    assert list(rows) == [("a", 0), ("b", 1)]


def test_blocks_are_joined_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only of one layout, and not those in which nothing is usual: what is joined is in memory twice."""
    monkeypatch.setattr(block_insert, "JOINED_BYTES", 20)
    blocks = [block(0, ["x" * 5]), block(1, ["x" * 5]), block(2, ["x"]), block(3, []), block(4, ["y"], layout=OTHER)]
    groups = [(layout.kind, [one.first for one in group]) for layout, group in grouped(blocks)]
    assert groups == [("test", [0, 1]), ("test", [2]), ("other", [4])]


class Refusing:
    """A writer that refuses some texts for ever."""

    def __init__(self, bad: Sequence[str]) -> None:
        self.bad = set(bad)
        self.stored: list[Any] = []

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        if any(row[0] in self.bad for row in rows):
            raise BadData("text is not a number", "Cannot parse", 72)
        self.stored += rows


@pytest.mark.parametrize("bad", [[0], [7], [8], [15], [16], [3, 11, 12]])
@pytest.mark.asyncio
async def test_a_refused_row_is_found_in_whatever_it_is(bad: list[int]) -> None:
    """In a block or beside it; all others are stored once."""
    texts = [f"r{place}" for place in range(17)]
    last = block(12, texts[12:16], [(texts[16], 16)])
    rows = MixedRows([[(texts[place], place) for place in range(4)], block(4, texts[4:12]), last])
    writer = Refusing([texts[place] for place in bad])
    refused = await Inserter(writer, FakeClock()).insert("event_rows", COLUMNS, rows)
    assert [one.index for one in refused] == bad
    assert sorted(writer.stored, key=lambda row: int(row[1])) == [
        (texts[place], place) for place in range(17) if place not in bad
    ]
