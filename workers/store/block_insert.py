"""Inserts of rows that are in blocks already, and of rows with different columns; clickhouse-connect sends both.

One insert has blocks of the Native format one after another; the server puts them together again. Compression, retries
and the reading of the answer are the client's and insert_answer's, as for any other insert.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

from clickhouse_connect.driver.insert import InsertBlock, InsertContext

from schemas.blocks.columns import Column
from schemas.blocks.rows import Layout, MixedRows, RowBlock

# So many bytes of rows become one block of the insert: what is joined at once, and in memory twice meanwhile.
JOINED_BYTES: Final = 4_000_000


class JoinedColumn:
    """One column of several blocks; build_insert takes it for a type of clickhouse-connect's."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self.name = self.insert_name = column.type

    def write_column(self, blocks: Sequence[RowBlock], out: bytearray, _context: InsertContext) -> None:
        self._column.write(blocks, out)


class BlockInsertContext(InsertContext):
    """An insert of MixedRows. The rows in no block follow the blocks, as the client encodes them."""

    def __init__(self, table: str, columns: Sequence[str], types: Sequence[Any], rows: MixedRows, **about: Any) -> None:
        self._blocks = rows.blocks()
        self._loose = rows.loose()
        super().__init__(table, columns, types, self._loose, **about)

    @property
    def empty(self) -> bool:
        return not self._blocks and super().empty

    def next_block(self) -> Generator[InsertBlock, None, None]:
        """The blocks of the insert; the first one begins with the statement."""
        for layout, blocks in grouped(self._blocks):
            yield self._joined(layout, blocks)
        if not super().empty:
            yield from super().next_block()

    def _joined(self, layout: Layout, blocks: Sequence[RowBlock]) -> InsertBlock:
        names = [column.name for column in layout.columns]
        prefix = b""
        if self.current_block == 0:
            quoted = ", ".join(f"`{name}`" for name in names)
            prefix = f"INSERT INTO {self.table} ({quoted}) FORMAT Native\n".encode()
        self.current_block += 1
        types: Any = [JoinedColumn(column) for column in layout.columns]
        rows = sum(block.count for block in blocks)
        return InsertBlock(prefix, len(names), rows, names, types, [blocks] * len(names))

    def forget(self) -> None:
        """Lets go of the rows: the context is part of a reference cycle."""
        self._blocks = []
        self._loose.clear()


class PartsInsertContext(InsertContext):
    """One insert of several parts, each with columns of its own. What a part has not takes the table's DEFAULT."""

    def __init__(self, table: str, parts: Sequence[InsertContext], **about: Any) -> None:
        self._parts = parts
        types = {
            name: type_ for part in parts for name, type_ in zip(part.column_names, part.column_types, strict=True)
        }
        super().__init__(table, tuple(types), tuple(types.values()), **about)

    @property
    def empty(self) -> bool:
        return all(part.empty for part in self._parts)

    def next_block(self) -> Generator[InsertBlock, None, None]:
        """The blocks of all parts; the first one begins with the statement, which names the columns of all parts."""
        quoted = ", ".join(f"`{name}`" for name in self.column_names)
        prefix = f"INSERT INTO {self.table} ({quoted}) FORMAT Native\n".encode()
        for part in self._parts:
            part.current_block = part.current_row = 0
            for block in part.next_block():
                yield block._replace(prefix=prefix)
                prefix = b""


def grouped(blocks: Sequence[RowBlock]) -> Iterator[tuple[Layout, list[RowBlock]]]:
    """Blocks of one layout, as many as are joined at once. Blocks without rows of their own are left out."""
    group: list[RowBlock] = []
    size_bytes = 0
    for block in blocks:
        if not block.count:
            continue
        if group and (size_bytes >= JOINED_BYTES or block.layout is not group[0].layout):
            yield group[0].layout, group
            group, size_bytes = [], 0
        group.append(block)
        size_bytes += block.size_bytes()
    if group:
        yield group[0].layout, group
