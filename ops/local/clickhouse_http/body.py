"""Content encodings of request and answer bodies, in pieces of limited size. Statements are read elsewhere.

Encodings are those of ClickHouse's HTTP interface, "Compression": gzip, deflate, br, zstd, lz4, xz, bz2.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import brotli
import lz4.frame

from ops.local.clickhouse_http.errors import (
    BROTLI_READ_FAILED,
    LZ4_DECODER_FAILED,
    LZMA_STREAM_DECODER_FAILED,
    QUERY_IS_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    ZLIB_INFLATE_FAILED,
    ZSTD_DECODER_FAILED,
    refusal,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Size of a piece: a 20 MB block has only twenty of them, and a decompression bomb grows in steps of 1 MiB.
PIECE_BYTES: Final = 1 << 20
# Above 64 MiB, a body may decompress to at most this many bytes per compressed byte; gzip cannot reach it.
FREE_INFLATED_BYTES: Final = 64 << 20
MAX_RATIO: Final = 1_100
# ClickHouse's own default (http_zlib_compression_level).
_ZLIB_LEVEL: Final = 3
_BROTLI_QUALITY: Final = 3


class _Zlib:
    """zlib with the interface of the other decoders; deflate bodies may lack the zlib header."""

    def __init__(self, window_bits: int) -> None:
        self._raw_allowed = window_bits == zlib.MAX_WBITS
        self._inner = zlib.decompressobj(window_bits)
        self._pending = b""
        self.eof = False
        self.needs_input = True
        self.unused_data: bytes | None = b""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """Returns at most `max_length` bytes."""
        data = self._pending + data
        try:
            out = self._inner.decompress(data, max_length)
        except zlib.error:
            if not self._raw_allowed:
                raise
            self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
            out = self._inner.decompress(data, max_length)
        self._raw_allowed = False
        self._pending = self._inner.unconsumed_tail
        self.eof, self.unused_data = self._inner.eof, self._inner.unused_data
        self.needs_input = not self._pending and len(out) < max_length
        return out


class _BrotliDecoder:
    """brotli with the interface of the other decoders."""

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.eof = False
        self.needs_input = True
        self.unused_data: bytes | None = b""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """Returns about `max_length` bytes at most."""
        out: bytes = self._inner.process(data, output_buffer_limit=max_length)
        self.eof = self._inner.is_finished()
        self.needs_input = self._inner.can_accept_more_data() and len(out) < max_length
        return out


# Each creates an object like bz2.BZ2Decompressor: decompress(data, max_length), needs_input, eof, unused_data.
_Failure = tuple[int, str]
_DECODERS: Final[dict[str, tuple[Callable[[], Any], _Failure]]] = {
    "gzip": (lambda: _Zlib(zlib.MAX_WBITS | 16), (ZLIB_INFLATE_FAILED, "ZLIB_INFLATE_FAILED")),
    "deflate": (lambda: _Zlib(zlib.MAX_WBITS), (ZLIB_INFLATE_FAILED, "ZLIB_INFLATE_FAILED")),
    "br": (_BrotliDecoder, (BROTLI_READ_FAILED, "BROTLI_READ_FAILED")),
    "zstd": (zstd.ZstdDecompressor, (ZSTD_DECODER_FAILED, "ZSTD_DECODER_FAILED")),
    "lz4": (lz4.frame.LZ4FrameDecompressor, (LZ4_DECODER_FAILED, "LZ4_DECODER_FAILED")),
    "xz": (lzma.LZMADecompressor, (LZMA_STREAM_DECODER_FAILED, "LZMA_STREAM_DECODER_FAILED")),
    "bz2": (bz2.BZ2Decompressor, (UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE")),
}


def check_encoding(encoding: str) -> str:
    """The plain name of the encoding, empty for none. Raises ServerError 779 (HTTP 415) for an unknown one."""
    name = encoding.strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return ""
    if name not in _DECODERS:
        text = f"Unknown Content-Encoding '{encoding}': expected one of identity, {', '.join(_DECODERS)}"
        raise refusal(UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", text)
    return name


def decode_body(encoding: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The decompressed body, in pieces of about PIECE_BYTES whatever the ratio. Raises ServerError."""
    if not encoding:
        yield from pieces
        return
    make, (code, name) = _DECODERS[encoding]
    try:
        yield from _inflate(make, pieces)
    except (zlib.error, brotli.error, zstd.ZstdError, lzma.LZMAError, OSError, RuntimeError, EOFError) as error:
        raise refusal(code, name, f"The body is not valid {encoding}: {error}") from error


def _inflate(make: Callable[[], Any], pieces: Iterator[bytes]) -> Iterator[bytes]:
    decoder: Any = None
    came = gave = 0
    for piece in pieces:
        data = piece
        came += len(piece)
        while data or (decoder is not None and not decoder.needs_input and not decoder.eof):
            if decoder is None or decoder.eof:  # gzip, zstd and lz4 bodies may consist of several frames
                decoder = make()
            out = decoder.decompress(data, max_length=PIECE_BYTES)
            data = (decoder.unused_data or b"") if decoder.eof else b""
            gave += len(out)
            if gave > FREE_INFLATED_BYTES and gave > came * MAX_RATIO:
                detail = f"expected at most {MAX_RATIO} bytes for each byte of the compressed body, found more"
                raise refusal(QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", detail)
            if out:
                yield out
    if decoder is not None and not decoder.eof:
        raise EOFError("it ends before its last frame does")


class Encoder(Protocol):
    """Compresses one answer."""

    def compress(self, data: bytes, /) -> bytes:
        """The next compressed bytes, possibly none yet."""
        ...

    def flush(self) -> bytes:
        """The last bytes."""
        ...


class _Lz4Encoder:
    """An lz4 frame needs its header written first; the others write it themselves."""

    def __init__(self) -> None:
        self._inner: Any = lz4.frame.LZ4FrameCompressor()
        self._header: bytes = self._inner.begin()

    def compress(self, data: bytes, /) -> bytes:
        """The header once, then blocks."""
        header, self._header = self._header, b""
        packed: bytes = self._inner.compress(data)
        return header + packed

    def flush(self) -> bytes:
        """The end mark."""
        header, self._header = self._header, b""
        packed: bytes = self._inner.flush()
        return header + packed


class _BrotliEncoder:
    """brotli, whose methods have other names."""

    def __init__(self) -> None:
        self._inner = brotli.Compressor(quality=_BROTLI_QUALITY)

    def compress(self, data: bytes, /) -> bytes:
        """The next compressed bytes."""
        packed: bytes = self._inner.process(data)
        return packed

    def flush(self) -> bytes:
        """The last bytes."""
        packed: bytes = self._inner.finish()
        return packed


# In order of preference: the cheap ones first, because answers go to the same machine or network.
_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "lz4": _Lz4Encoder,
    "zstd": zstd.ZstdCompressor,
    "gzip": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16),
    "br": _BrotliEncoder,
    "deflate": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS),
}


def accepted_encoding(accept: str) -> str:
    """The encoding to answer with for an Accept-Encoding header, empty for none (RFC 9110, 12.5.3)."""
    offered = set()
    for entry in accept.lower().split(","):
        name, _, weight = entry.replace(" ", "").partition(";q=")
        if weight not in ("0", "0.0", "0.00", "0.000"):
            offered.add(name)
    return next((name for name in _ENCODERS if name in offered), "")


def encoder(encoding: str) -> Encoder | None:
    """A new compressor; None for no encoding."""
    return _ENCODERS[encoding]() if encoding else None
