"""What the embedded ClickHouse server reads from clients before the engine does: bodies in compressed blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ops.local.clickhouse_http.compression.blocks import (
    LZ4,
    MAX_BLOCK_BYTES,
    NONE,
    ZSTD,
    block,
    checksum_of,
    decode_blocks,
)
from ops.local.clickhouse_http.errors import ServerError
from tests.fuzz.target import Sample, Target

_CONTENT: Final = b"".join(b'{"id": %d, "name": "row"}\n' % number for number in range(200))
_PIECE_BYTES: Final = 100
_CHECKSUM_BYTES: Final = 16


def _bodies() -> list[Sample]:
    each = [Sample(block(_CONTENT, method), "bytes") for method in (NONE, LZ4, ZSTD)]
    mixed = block(b"SELECT ", LZ4) + block(b"1", NONE) + block(b"", ZSTD)
    return [*each, Sample(mixed, "bytes")]


def _read_body(data: bytes) -> bool:
    """However a body is cut, its data or its refusal is the same."""
    pieces = (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
    status, cut = _decoded(pieces)
    assert (status, cut) == _decoded(iter([data]))
    assert status in (200, 400, 413)
    return status == 200


def _decoded(pieces: Iterator[bytes]) -> tuple[int, list[bytes]]:
    """HTTP status and data of a body: each block is one piece of it."""
    found: list[bytes] = []
    try:
        found.extend(decode_blocks(pieces))
    except ServerError as error:
        return error.status, []
    assert all(len(piece) <= MAX_BLOCK_BYTES for piece in found)
    return 200, found


def _sealed() -> list[Sample]:
    return [Sample(sample.body[_CHECKSUM_BYTES:], "bytes") for sample in _bodies()[:3]]


def _read_sealed(data: bytes) -> bool:
    """A block whose checksum is right whatever it holds, so that a mutation reaches what decompresses."""
    return _read_body(block(data, NONE)) and _read_body(_with_checksum(data))


def _with_checksum(rest: bytes) -> bytes:
    return checksum_of(rest) + rest


TARGETS: Final = (
    Target("clickhouse-blocks", _bodies, _read_body),
    Target("clickhouse-sealed-block", _sealed, _read_sealed),
)
