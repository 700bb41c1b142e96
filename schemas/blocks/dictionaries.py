"""Pieces of ClickHouse's Native format that several columns are written with: lengths, offsets, dictionaries."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

_U64: Final = struct.Struct("<Q")
CONTINUES: Final = 0x80
# A dictionary of LowCardinality: its version; then for each part of a column that it has keys of its own, and how many
# bytes an index takes (0 to 3: one, two, four, eight).
DICTIONARY_VERSION: Final = _U64.pack(1)
_OWN_KEYS: Final = 1 << 9 | 1 << 10
BYTE_VALUES: Final = 256


def length_of(size: int) -> bytes:
    """A length as a varint."""
    encoded = bytearray()
    while size >= CONTINUES:
        encoded.append(size & 0x7F | CONTINUES)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def text_bytes(text: str) -> bytes:
    """A String: its length and its bytes."""
    raw = text.encode()
    return length_of(len(raw)) + raw


def write_dictionary(words: Sequence[str], indexes: bytes, size: int, out: bytearray) -> None:
    """A part of a LowCardinality column: its own keys, and an index of `size` bytes for each value."""
    if not indexes:
        return
    out += _U64.pack(_OWN_KEYS | size.bit_length() - 1)
    out += _U64.pack(len(words)) + b"".join(map(text_bytes, words))
    out += _U64.pack(len(indexes) // size) + indexes


def index_bytes(words: int) -> int:
    return 1 if words <= BYTE_VALUES else 2 if words <= BYTE_VALUES**2 else 4


def table_of(keys: Sequence[str], places: dict[str, int]) -> list[int]:
    """Where each of a block's keys stands among those of all blocks."""
    return [places.setdefault(key, len(places)) for key in keys]


def translated(indexes: bytes, table: Sequence[int], size: int) -> bytes:
    """Indexes of one byte as indexes of `size` bytes of another table: one pass in C for each byte."""
    translation = bytearray(size * len(indexes))
    for byte in range(size):
        row = bytes([place >> 8 * byte & 0xFF for place in table])
        translation[byte::size] = indexes.translate(row + bytes(BYTE_VALUES - len(row)))
    return bytes(translation)


def offsets(counts: bytes) -> bytes:
    """The end of each row's entries, counted from the beginning of the column."""
    if not counts.strip(b"\0"):
        return bytes(8 * len(counts))
    return array_bytes("Q", accumulate(counts))


def array_bytes(letter: str, values: Iterable[int]) -> bytes:
    packed = array(letter, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
