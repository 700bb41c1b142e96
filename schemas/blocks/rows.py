"""Rows that were never Python objects: a block has the columns of many rows as bytes, and makes rows when asked to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, overload

from schemas.blocks.columns import Column
from schemas.rows import Row


@dataclass(frozen=True, slots=True)
class Layout:
    """What a block of one kind of rows holds: its columns in the order of the rows, and which of them is the ordinal.

    `kind` is the worker whose rows they are.
    """

    kind: str
    columns: tuple[Column, ...]
    ordinal: int


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows of one scope. `parts` are what compiled code made, `constants` what all rows share; `first` is the ordinal
    of the first record. `others` are rows of the same scope that Python made, because there was something unusual.
    `keys` are those of its maps, `words` those of a column of few words.
    """

    layout: Layout
    parts: tuple[bytes, ...]
    keys: list[str]
    constants: tuple[Any, ...]
    first: int
    count: int
    others: list[Row] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count + len(self.others)

    def rows(self) -> list[Row]:
        """All rows, in the order of their records."""
        block_rows: list[Row] = list(zip(*(column.values(self) for column in self.layout.columns), strict=True))
        return sorted(block_rows + self.others, key=self._ordinal) if self.others else block_rows

    def _ordinal(self, row: Row) -> int:
        ordinal = row[self.layout.ordinal]
        assert isinstance(ordinal, int)
        return ordinal

    def plain(self) -> tuple[Any, ...]:
        """As plain values, for another process; the name of its layout is the first."""
        own = (self.parts, self.keys, self.constants, self.first, self.count, self.others, self.words)
        return (self.layout.kind, *own)

    @classmethod
    def of(cls, layout: Layout, plain: tuple[Any, ...]) -> RowBlock:
        """The reverse of `plain`."""
        return cls(layout, *plain[1:])

    def size_bytes(self) -> int:
        """What its own rows weigh."""
        return sum(map(len, self.parts))


class MixedRows(Sequence[Row]):
    """Rows in order, some of them in blocks. Everything but their number is known only when a row is asked for."""

    __slots__ = ("_ends", "pieces")

    def __init__(self, pieces: Sequence[list[Row] | RowBlock] = ()) -> None:
        self.pieces: list[list[Row] | RowBlock] = list(pieces)
        self._ends: list[int] = list(accumulate(map(len, self.pieces)))

    def add_block(self, block: RowBlock) -> None:
        """Appends a block, with all its rows."""
        self.pieces.append(block)
        self._ends.append(len(self) + len(block))

    def add_pieces(self, rows: MixedRows) -> None:
        """Appends what another one has; its lists are not shared."""
        for piece in rows.pieces:
            if isinstance(piece, RowBlock):
                self.add_block(piece)
            else:
                self.extend(piece)

    def append(self, row: Row) -> None:
        """Appends a row."""
        self.extend((row,))

    def extend(self, rows: Iterable[Row]) -> None:
        """Appends rows."""
        last = self.pieces[-1] if self.pieces else None
        if not isinstance(last, list):
            last = []
            self.pieces.append(last)
            self._ends.append(len(self))
        before = len(last)
        last += rows
        self._ends[-1] += len(last) - before

    def blocks(self) -> list[RowBlock]:
        """The blocks."""
        return [piece for piece in self.pieces if isinstance(piece, RowBlock)]

    def loose(self) -> list[Row]:
        """All rows whose values are in no block."""
        return [row for piece in self.pieces for row in (piece.others if isinstance(piece, RowBlock) else piece)]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Row]:
        for piece in self.pieces:
            yield from piece.rows() if isinstance(piece, RowBlock) else piece

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> MixedRows: ...

    def __getitem__(self, index: int | slice) -> Row | MixedRows:
        if isinstance(index, slice):
            start, end, step = index.indices(len(self))
            return self._between(start, end) if step == 1 else MixedRows([list(self)[index]])
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"expected an index below {len(self)}, found {index}")
        return next(iter(self._between(place, place + 1)))

    def _between(self, start: int, end: int) -> MixedRows:
        """Some of the rows. Only a block of which a part is asked for has to make its rows."""
        pieces: list[list[Row] | RowBlock] = []
        begun = 0
        for piece, ended in zip(self.pieces, self._ends, strict=True):
            if start <= begun and ended <= end:
                pieces.append(piece)
            elif start < ended and begun < end:
                rows = piece.rows() if isinstance(piece, RowBlock) else piece
                pieces.append(rows[max(start - begun, 0) : end - begun])
            begun = ended
        return MixedRows(pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    __hash__ = None  # type: ignore[assignment]  # as of a list


Rows = list[Row] | MixedRows


def rows_in_blocks(rows: Rows) -> int:
    """How many of these rows are no Python objects."""
    return sum(block.count for block in rows.blocks()) if isinstance(rows, MixedRows) else 0


def join_rows(several: Iterable[Rows]) -> Rows:
    """All rows in order: a list if none of them is in a block."""
    joined: Rows = []
    for rows in several:
        if not isinstance(rows, MixedRows):
            joined.extend(rows)
            continue
        if not isinstance(joined, MixedRows):
            joined = MixedRows([joined] if joined else [])
        joined.add_pieces(rows)
    return joined
