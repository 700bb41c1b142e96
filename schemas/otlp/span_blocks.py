"""The spans of a protobuf body as columns in the format of an insert, where they are usual: no object for a value.

`_span_blocks.c` makes them. Spans with anything unusual are read one by one, as everywhere else; where there are many
of those, or few spans at all, or no compiled code, there are no blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from schemas.compiled import readers as compiled
from schemas.otlp.protobuf_records import careful_span, record_of, spans
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.records import Record

# Fewer spans of a scope are rows sooner than a block of an insert is put together.
LEAST_SPANS: Final = 8
# Spans of one block: reading them is one call into C, of two milliseconds.
MOST_SPANS: Final = 1024
# Of so many spans one may be odd: who has more pays for two ways of reading.
SPANS_AN_ODD: Final = 4


class BlockRules(NamedTuple):
    """What a block's rows depend on besides the spans: what their ids begin with, the times they may have, and which
    keys of attributes make a span odd: 1 any value, 2 a text with an @ in it.
    """

    prefix: bytes
    earliest_ns: int
    latest_ns: int
    needs_care: Callable[[str], int]


class SpanBlock(Sequence[Record]):
    """Some spans of one scope: `parts` are columns of the usual ones, `odd` are the records of all others by index."""

    __slots__ = ("chunks", "keys", "odd", "parts", "seen")

    def __init__(self, chunks: list[bytes], made: tuple[Any, ...], seen: BodyTally) -> None:
        self.chunks = chunks
        self.seen = seen
        self.parts: tuple[bytes, ...] = made[0]
        self.keys: list[str] = made[1]
        self.odd: dict[int, Record] = {index: record_of(chunks[index], careful_span, seen) for index in made[2]}

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[Record]:
        return (self._at(index) for index in range(len(self.chunks)))

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index] if isinstance(index, slice) else self._at(range(len(self.chunks))[index])

    def _at(self, index: int) -> Record:
        """Of usual spans there is no record until somebody asks."""
        return self.odd.get(index) or careful_span(self.chunks[index], self.seen)


class SpanBlocks(Sequence[Record]):
    """The spans of one scope: blocks, and records where there is no block."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: Sequence[Sequence[Record]]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __iter__(self) -> Iterator[Record]:
        return (record for piece in self.pieces for record in piece)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def read_spans(rules: BlockRules, messages: Sequence[bytes], seen: BodyTally) -> Sequence[Record]:
    """One record per Span message, in blocks if possible. Raises TooMany when the allowance is used up."""
    if compiled.span_block is None or len(messages) < LEAST_SPANS or not all(messages):
        return spans(messages, seen)
    chunks = list(messages)
    pieces = [chunks[start : start + MOST_SPANS] for start in range(0, len(chunks), MOST_SPANS)]
    return SpanBlocks([_read_piece(rules, piece, seen) for piece in pieces])


def _read_piece(rules: BlockRules, chunks: list[bytes], seen: BodyTally) -> Sequence[Record]:
    assert compiled.span_block is not None
    made = compiled.span_block(chunks, *rules, orjson.dumps, len(chunks) // SPANS_AN_ODD)
    return spans(chunks, seen) if made is None else SpanBlock(chunks, made, seen)
