"""Columns of few words: a block holds one byte for each row, and which words the bytes stand for is known elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from schemas.blocks.columns import DICTIONARY, ColumnBytes
from schemas.blocks.dictionaries import (
    DICTIONARY_VERSION,
    index_bytes,
    offsets,
    table_of,
    translated,
    write_dictionary,
)


@dataclass(frozen=True, slots=True)
class Words:
    """One of a few words: the block has its index."""

    name: str
    part: int
    words: tuple[str, ...]
    type: str = DICTIONARY

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += DICTIONARY_VERSION
        write_dictionary(self.words, b"".join([block.parts[self.part] for block in blocks]), 1, out)

    def values(self, block: ColumnBytes) -> list[Any]:
        return [self.words[index] for index in block.parts[self.part]]


@dataclass(frozen=True, slots=True)
class BlockWords:
    """One of a few words: the block has its index among the block's own words."""

    name: str
    part: int
    type: str = DICTIONARY

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += DICTIONARY_VERSION
        places: dict[str, int] = {}
        tables = [table_of(block.words, places) for block in blocks]
        size = index_bytes(len(places))
        block_indexes = map(translated, [block.parts[self.part] for block in blocks], tables, repeat(size))
        write_dictionary(tuple(places), b"".join(block_indexes), size, out)

    def values(self, block: ColumnBytes) -> list[Any]:
        return [block.words[index] for index in block.parts[self.part]]


@dataclass(frozen=True, slots=True)
class WordLists:
    """One of a few lists of words: the block has its index. All words together are at most 256."""

    name: str
    part: int
    lists: tuple[tuple[str, ...], ...]
    type: str

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += DICTIONARY_VERSION
        indexes = b"".join([block.parts[self.part] for block in blocks])
        out += offsets(indexes.translate(bytes(map(len, self.lists)).ljust(256, b"\0")))
        places: dict[str, int] = {}
        listed = [bytes(places.setdefault(word, len(places)) for word in words) for words in self.lists]
        write_dictionary(tuple(places), b"".join([listed[index] for index in indexes]), 1, out)

    def values(self, block: ColumnBytes) -> list[Any]:
        return [list(self.lists[index]) for index in block.parts[self.part]]
