"""Columns of rows in ClickHouse's Native format: as bytes that an insert is put together from, and as values.

A block (rows.RowBlock) holds bytes of each column of its own rows. `write` joins those of several blocks to one
column of an insert, without looking at a value; `values` are Python's, for the few rows that are looked at one by one.
https://clickhouse.com/docs/interfaces/formats/Native
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, Protocol

from schemas.blocks.dictionaries import (
    CONTINUES,
    DICTIONARY_VERSION,
    array_bytes,
    index_bytes,
    length_of,
    offsets,
    table_of,
    text_bytes,
    translated,
    write_dictionary,
)

_HALVES: Final = struct.Struct("<QQ")
# Fixed sizes of values: the type in ClickHouse, the letter of `array`.
_LETTERS: Final = {"UInt8": "B", "Bool": "B", "UInt32": "I", "UInt64": "Q", "Int64": "q", "Float64": "d"}
_SIZES: Final = {"UInt8": 1, "UInt32": 4, "UInt64": 8}
DATE_TIME: Final = "DateTime64(9, 'UTC')"
TEXT: Final = "String"
DICTIONARY: Final = "LowCardinality(String)"


class ColumnBytes(Protocol):
    """What a column reads of a block: bytes of its rows, its keys and words, the values that all its rows share."""

    @property
    def parts(self) -> Sequence[bytes]: ...

    @property
    def keys(self) -> Sequence[str]: ...

    @property
    def words(self) -> Sequence[str]: ...

    @property
    def constants(self) -> Sequence[Any]: ...

    @property
    def first(self) -> int: ...

    @property
    def count(self) -> int: ...


class Column(Protocol):
    """One column of the table: how it is written for several blocks, and its values of one."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        """Appends the rows of all blocks to `out`."""

    def values(self, block: ColumnBytes) -> list[Any]:
        """One value for each row of a block."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of one size, which stand in the block as the insert has them."""

    name: str
    type: str
    part: int

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += b"".join([block.parts[self.part] for block in blocks])

    def values(self, block: ColumnBytes) -> list[Any]:
        return _numbers("q" if self.type == DATE_TIME else _LETTERS[self.type], block.parts[self.part])


@dataclass(frozen=True, slots=True)
class Ordinals:
    """The place of each row among all records of its body: `first` and its index."""

    name: str
    part: int
    type: str = "UInt32"

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        for block in blocks:
            out += array_bytes("I", self.values(block)) if block.first else block.parts[self.part]

    def values(self, block: ColumnBytes) -> list[Any]:
        return [block.first + index for index in _numbers("I", block.parts[self.part])]


@dataclass(frozen=True, slots=True)
class Ids:
    """UUIDs, in Python numbers of 128 bits."""

    name: str
    part: int
    type: str = "UUID"

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += b"".join([block.parts[self.part] for block in blocks])

    def values(self, block: ColumnBytes) -> list[Any]:
        return [high << 64 | low for high, low in _HALVES.iter_unpack(block.parts[self.part])]


@dataclass(frozen=True, slots=True)
class Texts:
    """Strings, each after its length."""

    name: str
    part: int
    type: str = TEXT

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += b"".join([block.parts[self.part] for block in blocks])

    def values(self, block: ColumnBytes) -> list[Any]:
        return _strings(block.parts[self.part])


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps from keys to values of one type. Three parts: how many entries each row has, the index of each key in the
    block's keys, the values.
    """

    name: str
    part: int
    value_type: str

    @property
    def type(self) -> str:
        return f"Map({DICTIONARY}, {self.value_type})"

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        out += DICTIONARY_VERSION
        out += offsets(b"".join([block.parts[self.part] for block in blocks]))
        places: dict[str, int] = {}
        tables = [table_of(block.keys, places) for block in blocks]
        indexes = [block.parts[self.part + 1] for block in blocks]
        if any(indexes):
            size = index_bytes(len(places))
            block_indexes = b"".join(map(translated, indexes, tables, repeat(size)))
            write_dictionary(tuple(places), block_indexes, size, out)
        out += b"".join([block.parts[self.part + 2] for block in blocks])

    def values(self, block: ColumnBytes) -> list[Any]:
        counts, indexes, raw = block.parts[self.part : self.part + 3]
        values = _strings(raw) if self.value_type == TEXT else _numbers(_LETTERS[self.value_type], raw)
        if self.value_type == "Bool":
            values = list(map(bool, values))
        entries = zip([block.keys[index] for index in indexes], values, strict=True)
        return [dict(next(entries) for _ in range(count)) for count in counts]


@dataclass(frozen=True, slots=True)
class Constant:
    """What all rows of a block share: `place` is that of its value among the block's constants."""

    name: str
    type: str
    place: int

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        values = [(block.constants[self.place], block.count) for block in blocks]
        if self.type == DICTIONARY:
            out += DICTIONARY_VERSION
            _write_words(values, out)
        elif self.type.startswith("Map("):
            out += DICTIONARY_VERSION
            _write_maps(values, out)
        else:
            out += b"".join([_encoded(self.type, value) * count for value, count in values])

    def values(self, block: ColumnBytes) -> list[Any]:
        return [block.constants[self.place]] * block.count


@dataclass(frozen=True, slots=True)
class Empty:
    """A column in which no row has anything: an empty text, a zero, an empty list of words."""

    name: str
    type: str

    def write(self, blocks: Sequence[ColumnBytes], out: bytearray) -> None:
        count = sum(block.count for block in blocks)
        if self.type.startswith("Array("):
            out += DICTIONARY_VERSION + bytes(8 * count)
        else:
            out += bytes(_SIZES.get(self.type, 1) * count)

    def values(self, block: ColumnBytes) -> list[Any]:
        if self.type.startswith("Array("):
            return [[] for _ in range(block.count)]
        return ["" if self.type == TEXT else 0] * block.count


def _encoded(type_: str, value: Any) -> bytes:
    if type_ == TEXT:
        return text_bytes(value)
    number: int = value
    return number.to_bytes(_SIZES.get(type_, 8), "little", signed=type_ == DATE_TIME)


def _write_words(values: Iterable[tuple[str, int]], out: bytearray) -> None:
    """One of a few words for each block, so many times."""
    places: dict[str, int] = {}
    counted = [(places.setdefault(word, len(places)), count) for word, count in values]
    size = index_bytes(len(places))
    write_dictionary(
        tuple(places), b"".join(place.to_bytes(size, "little") * count for place, count in counted), size, out
    )


def _write_maps(values: Sequence[tuple[dict[str, str], int]], out: bytearray) -> None:
    """One map of text for each block, so many times."""
    total = 0
    places: dict[str, int] = {}
    for attributes, count in values:
        entries = len(attributes)
        ends = range(total + entries, total + entries * count + 1, entries) if entries else repeat(total, count)
        out += array_bytes("Q", ends)
        total += entries * count
        for key in attributes:
            places.setdefault(key, len(places))
    if not total:
        return
    size = index_bytes(len(places))
    keys = (
        b"".join(places[key].to_bytes(size, "little") for key in attributes) * count for attributes, count in values
    )
    write_dictionary(tuple(places), b"".join(keys), size, out)
    for attributes, count in values:
        out += b"".join(map(text_bytes, attributes.values())) * count


def _numbers(letter: str, raw: bytes) -> list[Any]:
    numbers = array(letter)
    numbers.frombytes(raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _strings(raw: bytes) -> list[Any]:
    strings = []
    at = 0
    while at < len(raw):
        size = shift = 0
        while True:
            byte = raw[at]
            at += 1
            size |= (byte & 0x7F) << shift
            if byte < CONTINUES:
                break
            shift += 7
        strings.append(raw[at : at + size].decode())
        at += size
    return strings


def write_block(columns: Sequence[Column], blocks: Sequence[ColumnBytes], out: bytearray) -> None:
    """The rows of all blocks as one block of an insert in the Native format."""
    out += length_of(len(columns)) + length_of(sum(block.count for block in blocks))
    for column in columns:
        out += text_bytes(column.name) + text_bytes(column.type)
        column.write(blocks, out)
