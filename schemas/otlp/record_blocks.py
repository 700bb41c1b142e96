"""The records of a scope as columns in the format of an insert, where they are usual: no object for a value.

`_span_blocks.c` and `_log_blocks.c` make them of protobuf messages; `_plain_json.c` makes messages of JSON. Records
with anything unusual are read one by one, as everywhere else; where there are many of those, or few records at all, or
no compiled code, there are no blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.otlp.protobuf_records import careful_log, careful_span, logs, record_of, spans
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.records import Record

# Fewer records of a scope are rows sooner than a block of an insert is put together.
LEAST_RECORDS: Final = 8
# Records of one block: reading them is one call into C, of two milliseconds.
MAX_BLOCK_RECORDS: Final = 1024
# Of so many records one may be odd: who has more pays for two ways of reading.
RECORDS_AN_ODD: Final = 4

# Columns, keys of attributes, indexes of odd records, and words: what a column of few values has.
BlockParts = tuple[tuple[bytes, ...], list[str], list[int], list[str]]


class RecordBlock(Sequence[Record]):
    """Some records of one scope: `parts` are columns of the usual ones, `odd` are all others by index."""

    __slots__ = ("chunks", "keys", "odd", "parts", "read_one", "seen", "words")

    def __init__(
        self,
        chunks: list[bytes],
        columns: BlockParts,
        read_one: Callable[[bytes, BodyTally], Record],
        seen: BodyTally,
        given: Mapping[int, Record],
    ) -> None:
        self.chunks = chunks
        self.seen = seen
        self.read_one = read_one
        self.parts, self.keys, odd, self.words = columns
        self.odd = {index: given.get(index) or record_of(chunks[index], read_one, seen) for index in odd}

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[Record]:
        return (self._at(index) for index in range(len(self.chunks)))

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index] if isinstance(index, slice) else self._at(range(len(self.chunks))[index])

    def _at(self, index: int) -> Record:
        """Of usual records there is none until somebody asks."""
        return self.odd.get(index) or self.read_one(self.chunks[index], self.seen)


class RecordBlocks(Sequence[Record]):
    """The records of one scope: blocks, and records where there is no block."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: Sequence[Sequence[Record]]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __iter__(self) -> Iterator[Record]:
        return (record for piece in self.pieces for record in piece)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads the messages of a scope: `make` makes blocks of them (None: there are none), given how many may be odd."""

    read_all: Callable[[Sequence[bytes], BodyTally], Sequence[Record]]
    read_one: Callable[[bytes, BodyTally], Record]
    make: Callable[[list[bytes], int], BlockParts | None] | None = None

    def __call__(
        self, messages: Sequence[bytes], seen: BodyTally, given: Mapping[int, Record] | None = None
    ) -> Sequence[Record]:
        """One record per message, in blocks if possible; those in `given` were read already, and have no bytes here.

        Raises TooMany when the allowance is used up.
        """
        chunks, given = list(messages), given or {}
        if self.make is None or len(chunks) < LEAST_RECORDS or chunks.count(b"") > len(given):
            return self._each(chunks, seen, given)
        if len(chunks) <= MAX_BLOCK_RECORDS:
            return RecordBlocks([self._piece(chunks, seen, given)])
        starts = range(0, len(chunks), MAX_BLOCK_RECORDS)
        return RecordBlocks(
            [self._piece(chunks[start : start + MAX_BLOCK_RECORDS], seen, _from(given, start)) for start in starts]
        )

    def _piece(self, chunks: list[bytes], seen: BodyTally, given: Mapping[int, Record]) -> Sequence[Record]:
        assert self.make is not None
        columns = self.make(chunks, len(chunks) // RECORDS_AN_ODD)
        if columns is None:
            return self._each(chunks, seen, given)
        return RecordBlock(chunks, columns, self.read_one, seen, given)

    def _each(self, chunks: list[bytes], seen: BodyTally, given: Mapping[int, Record]) -> Sequence[Record]:
        if not given:
            return self.read_all(chunks, seen)
        rest = iter(self.read_all([chunk for index, chunk in enumerate(chunks) if index not in given], seen))
        return [given.get(index) or next(rest) for index in range(len(chunks))]


def _from(given: Mapping[int, Record], start: int) -> dict[int, Record]:
    """Those of one piece, by their index in it."""
    return {index - start: record for index, record in given.items() if start <= index < start + MAX_BLOCK_RECORDS}


SPANS: Final = RecordReader(spans, careful_span)
LOGS: Final = RecordReader(logs, careful_log)
