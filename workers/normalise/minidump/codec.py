"""A dump as it was uploaded, perhaps compressed: told by its first bytes, undone within a limit."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from schemas.key_masking import mask_keys
from workers.normalise.minidump.file import MAGICS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Ten times what compresses into a body; the streams that say what crashed stand before the memory.
MAX_DUMP_BYTES: Final = 32 * 1024 * 1024
# Dumps become a tenth to a fiftieth. A body may hold 500 of them, and bombs of a hundred bytes would keep a worker busy
# for minutes and make 500 rows of a megabyte.
MAX_RATIO: Final = 100
MIN_LIMIT_BYTES: Final = 256 * 1024
# What `xz -9` needs to be undone is 65 MiB.
_XZ_MEMORY_BYTES: Final = 80 * 1024 * 1024
_ZSTD_WINDOW_LOG: Final = 25

# (content, limit in bytes) -> (what came out, whether that was all)
_Decode = Callable[[bytes, int], tuple[bytes, bool]]


class CorruptDump(ValueError):
    """The compressed bytes are not what their first bytes promise."""


class Inflated(NamedTuple):
    """The dump's bytes, how they were compressed ('' if not), whether some are missing at the end."""

    content: bytes
    coding: str
    is_cut: bool


def inflate_dump(content: bytes | memoryview, limit_bytes: int = MAX_DUMP_BYTES) -> Inflated:
    """The dump without its compression, at most `limit_bytes` of it, and no more than a dump becomes by compression.

    The memory of a program that sends events holds its key, which is masked here. Raises CorruptDump.
    """
    data = bytes(content)
    for magic, (coding, decode) in _CODINGS.items():
        if data.startswith(magic):
            try:
                inflated, is_whole = decode(data, min(limit_bytes, max(MIN_LIMIT_BYTES, MAX_RATIO * len(data))))
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError, zstd.ZstdError) as error:
                raise CorruptDump(f"expected a {coding} stream, found {str(error)[:80]!a}") from error
            return Inflated(mask_keys(inflated), coding, not is_whole)
    return Inflated(mask_keys(data[:limit_bytes]), "", len(data) > limit_bytes)


def is_dump(content: bytes) -> bool:
    """Whether the bytes begin as a minidump does, once inflated. Looks at no more than that beginning."""
    try:
        return inflate_dump(content, 4).content in MAGICS
    except CorruptDump:
        return False


def _gzip(content: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    return decoder.decompress(content, limit_bytes), decoder.eof


def _xz(content: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    return decoder.decompress(content, limit_bytes), decoder.eof


def _bzip2(content: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    decoder = bz2.BZ2Decompressor()
    return decoder.decompress(content, limit_bytes), decoder.eof


def _zstd(content: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    decoder = zstd.ZstdDecompressor(options=options)
    return decoder.decompress(content, limit_bytes), decoder.eof


_CODINGS: Final[dict[bytes, tuple[str, _Decode]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"\xfd7zXZ\x00": ("xz", _xz),
    b"BZh": ("bzip2", _bzip2),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
# The endings under which compressed dumps are uploaded.
SUFFIXES: Final = (".gz", ".xz", ".bz2", ".zst")
