"""Bodies in compressed blocks: what `decompress=1` sends and `compress=1` asks for. JDBC and Go clients use them.

A block is a checksum of 16 bytes (CityHash128, version 1.0.2), then one byte for the method, the size of the block
without its checksum, the size of the data, both in four bytes, little-endian, and the compressed data.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from ops.local.clickhouse_http.body import FREE_INFLATED_BYTES, MAX_RATIO, Encoder
from ops.local.clickhouse_http.errors import (
    CANNOT_DECOMPRESS,
    CANNOT_READ_ALL_DATA,
    CHECKSUM_DOESNT_MATCH,
    QUERY_IS_TOO_LARGE,
    TOO_LARGE_SIZE_COMPRESSED,
    UNKNOWN_COMPRESSION_METHOD,
    ServerError,
    refusal,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NONE: Final = 0x02
LZ4: Final = 0x82
ZSTD: Final = 0x90
BY_NAME: Final = {"NONE": NONE, "LZ4": LZ4, "ZSTD": ZSTD}
# Clients send blocks of 1 to 10 MiB. ClickHouse takes 1 GiB; here a block is in memory, for each of 64 requests.
MAX_BLOCK_BYTES: Final = 32 << 20
# ClickHouse's max_compress_block_size.
ANSWER_BLOCK_BYTES: Final = 1 << 20
# LZ4 makes at most 255 bytes of one; a few more for short blocks.
_LZ4_RATIO: Final = 256

_CHECKSUM: Final = struct.Struct("<QQ")
_HEADER: Final = struct.Struct("<BII")
_HEAD_BYTES: Final = _CHECKSUM.size + _HEADER.size
_HALF: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class _Head:
    """What stands before the data of a block."""

    checksum: bytes
    method: int
    packed_bytes: int
    data_bytes: int


def decode_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The data of a body's blocks, at most MAX_BLOCK_BYTES at a time. Raises ServerError, HTTP status 400 or 413."""
    waiting = bytearray()
    received = given = 0
    for piece in pieces:
        waiting += piece
        received += len(piece)
        at = 0
        while (end := _end_of_block(waiting, at, offset=received - len(waiting))) is not None:
            data = _data(bytes(waiting[at:end]), received - len(waiting) + at)
            at = end
            given += len(data)
            if given > FREE_INFLATED_BYTES and given > received * MAX_RATIO:
                text = f"expected at most {MAX_RATIO} bytes of data for each byte of the compressed body, found more"
                raise refusal(QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", text)
            if data:
                yield data
        del waiting[:at]
    if waiting:
        text = f"decompress=1: the body ends inside of a block, after {len(waiting)} of its bytes"
        raise _block_error(CANNOT_READ_ALL_DATA, "CANNOT_READ_ALL_DATA", text)


def _end_of_block(waiting: bytearray, at: int, *, offset: int) -> int | None:
    """Where the block that begins at `at` ends; None if it is not there yet."""
    if len(waiting) - at < _HEAD_BYTES:
        return None
    head = _head(waiting[at : at + _HEAD_BYTES])
    _check_sizes(head, offset + at)
    end = at + _CHECKSUM.size + head.packed_bytes
    return end if end <= len(waiting) else None


def _head(block: bytes | bytearray) -> _Head:
    method, packed_bytes, data_bytes = _HEADER.unpack_from(block, _CHECKSUM.size)
    return _Head(bytes(block[: _CHECKSUM.size]), method, packed_bytes, data_bytes)


def _check_sizes(head: _Head, offset: int) -> None:
    """Checks a block before its data is awaited and before memory is taken for what it says it holds."""
    where = f"decompress=1: block at byte {offset}"
    if head.method not in _UNPACK:
        text = f"{where}: expected compression LZ4 (0x82), ZSTD (0x90) or none (0x02), found {head.method:#04x}"
        raise _block_error(UNKNOWN_COMPRESSION_METHOD, "UNKNOWN_COMPRESSION_METHOD", text)
    if max(head.packed_bytes, head.data_bytes) > MAX_BLOCK_BYTES:
        text = (
            f"{where}: expected at most {MAX_BLOCK_BYTES} bytes, found {head.packed_bytes} compressed and "
            f"{head.data_bytes} of data: send smaller blocks"
        )
        error = _block_error(TOO_LARGE_SIZE_COMPRESSED, "TOO_LARGE_SIZE_COMPRESSED", text)
        error.status = 413
        raise error
    inner = head.packed_bytes - _HEADER.size
    possible = {NONE: head.data_bytes == inner, LZ4: head.data_bytes <= inner * _LZ4_RATIO}.get(head.method, True)
    if inner < 0 or not possible:
        text = f"{where}: {head.packed_bytes} compressed bytes cannot hold {head.data_bytes} bytes of data"
        raise _block_error(CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", text)


def _data(block: bytes, offset: int) -> bytes:
    head = _head(block)
    if checksum_of(block[_CHECKSUM.size :]) != head.checksum:
        text = (
            f"decompress=1: block at byte {offset}: its checksum does not match: expected CityHash128 1.0.2 of the rest"
        )
        raise _block_error(CHECKSUM_DOESNT_MATCH, "CHECKSUM_DOESNT_MATCH", text)
    try:
        data = _UNPACK[head.method](block[_HEAD_BYTES:], head.data_bytes)
    except (lz4.block.LZ4BlockError, zstd.ZstdError, ValueError, EOFError) as error:
        text = f"decompress=1: block at byte {offset}: {error}"
        raise _block_error(CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", text) from error
    if len(data) != head.data_bytes:
        text = f"decompress=1: block at byte {offset}: expected {head.data_bytes} bytes of data, found {len(data)}"
        raise _block_error(CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", text)
    return data


def _block_error(code: int, name: str, text: str) -> ServerError:
    """An error with one of ClickHouse's codes for damaged blocks. Its status there is 500; here it is 400, because the
    sender has to change the body.
    """
    error = refusal(code, name, text)
    error.status = 400
    return error


def checksum_of(packed: bytes) -> bytes:
    """The checksum of a block: CityHash128 of all that follows it."""
    number: int = CityHash128(packed)
    return _CHECKSUM.pack(number >> 64, number & _HALF)


def _copy(packed: bytes, _size: int) -> bytes:
    return packed


def _from_lz4(packed: bytes, size: int) -> bytes:
    data: bytes = lz4.block.decompress(packed, uncompressed_size=size)
    return data


def _from_zstd(packed: bytes, size: int) -> bytes:
    """One byte more than it says is enough to see that it holds more."""
    return zstd.ZstdDecompressor().decompress(packed, max_length=size + 1)


_UNPACK: Final = {NONE: _copy, LZ4: _from_lz4, ZSTD: _from_zstd}


def block(data: bytes, method: int = LZ4) -> bytes:
    """One block of data."""
    packed = {NONE: _copy, LZ4: _to_lz4, ZSTD: _to_zstd}[method](data, len(data))
    rest = _HEADER.pack(method, _HEADER.size + len(packed), len(data)) + packed
    return checksum_of(rest) + rest


def _to_lz4(data: bytes, _size: int) -> bytes:
    packed: bytes = lz4.block.compress(data, store_size=False)
    return packed


def _to_zstd(data: bytes, _size: int) -> bytes:
    return zstd.compress(data)


class BlockEncoder:
    """Answers in blocks, with LZ4 as ClickHouse does. `outer` compresses the blocks again, if HTTP asks for it."""

    def __init__(self, outer: Encoder | None, method: int = LZ4) -> None:
        self._outer = outer
        self._method = method

    def compress(self, data: bytes, /) -> bytes:
        """The blocks of these bytes."""
        starts = range(0, len(data), ANSWER_BLOCK_BYTES)
        blocks = b"".join(block(data[start : start + ANSWER_BLOCK_BYTES], self._method) for start in starts)
        return self._outer.compress(blocks) if self._outer else blocks

    def flush(self) -> bytes:
        """Blocks need no end."""
        return self._outer.flush() if self._outer else b""
