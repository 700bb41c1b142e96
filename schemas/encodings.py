"""Decompresses bodies within a limit: gzip, deflate, br, zstd. The content is parsed elsewhere.

The receiver turns the sender's header into one of ENCODINGS by `normalise_encoding`; messages carry that
name. Names follow RFC 9110 (Content-Encoding), the zstd window limit RFC 9659. Memory is bounded by the limit for any
input.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol, cast

import brotli
from zlib_ng import zlib_ng

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUPPORTED: Final = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")

_ALIASES: Final = {"x-gzip": "gzip"}
_ZlibNgError: Final = cast(type[Exception], zlib_ng.error)  # its type stub confuses class and instance
ENCODINGS: Final = ("gzip", "deflate", "br", "zstd", "identity")
# Old Ruby and Java SDKs send an empty value or a character set; neither is an encoding.
_NOTHING: Final = frozenset({"", "utf-8", "identity"})

# After a gzip member or zstd frame a decoder returns a copy of the rest. Input is fed in slices of this size, and
# members are counted, so that many tiny members cannot make these copies quadratic.
_SLICE_BYTES: Final = 64 * 1024
_MAX_MEMBERS: Final = 1000
# Maximum output that a decoder keeps while it is open.
WINDOW_BYTES: Final = {"gzip": 32 * 1024, "deflate": 32 * 1024, "br": 16 * 1024 * 1024, "zstd": 8 * 1024 * 1024}
# brotli's own limit is soft (google/brotli#1396): one call may return this much and one growth of its buffer more.
_BROTLI_STEP_BYTES: Final = 128 * 1024
_ZSTD_WINDOW_LOG: Final = 23  # 8 MiB, the maximum in RFC 9659
_ZSTD_WINDOW_LOG_MAX: Final = 27


class UnsupportedEncoding(ValueError):
    """A Content-Encoding that is not supported: answer 415."""


class CorruptBody(ValueError):
    """The bytes do not match their Content-Encoding, end too early, or continue after the end: answer 400."""

    def __init__(self, expected: str, actual: str) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(f"compressed body: expected {expected}, found {actual}; send the body as it was compressed")


class TooLarge(ValueError):
    """The decompressed body is larger than allowed, or decompressing needs too much memory: answer 413."""

    def __init__(self, expected: str, actual: str) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(f"inflated body: expected {expected}, found {actual}; send less in one request")


def normalise_encoding(header_value: str | None) -> str:
    """The encoding that a sender's header names, one of ENCODINGS. Raises UnsupportedEncoding.

    `identity` beside another encoding is ignored; two real encodings are refused, in any order.
    """
    if not header_value:
        return "identity"
    if header_value in ENCODINGS:
        return header_value
    names = [_ALIASES.get(name, name) for part in header_value.split(",") if (name := part.strip().lower())]
    codings = [name for name in names if name not in _NOTHING]
    if not codings:
        return "identity"
    if len(codings) > 1:
        raise UnsupportedEncoding(f"Content-Encoding: expected one coding, found {len(codings)}; compress once")
    if codings[0] not in SUPPORTED:
        raise _unsupported(codings[0])
    return codings[0]


def _unsupported(name: str) -> UnsupportedEncoding:
    return UnsupportedEncoding(
        f"Content-Encoding: expected one of {', '.join(SUPPORTED)}, found {name[:40]!a}; use gzip"
    )


def inflate(body: bytes | memoryview, encoding: str, limit_bytes: int) -> bytes:
    """The whole decompressed body, of at most `limit_bytes`. Zero bytes give zero bytes with any encoding.

    `encoding` is one of ENCODINGS, or '' for a message without that header. Raises UnsupportedEncoding,
    CorruptBody, TooLarge.
    """
    if encoding == "gzip" and len(body) <= _SLICE_BYTES:
        inflated = _one_gzip_member(body, limit_bytes)
        if inflated is not None:
            return inflated
    inflater = Inflater(encoding, limit_bytes)
    inflated = inflater.feed(body)
    inflater.finish()
    return inflated


def _one_gzip_member(body: bytes | memoryview, limit_bytes: int) -> bytes | None:
    """Fast path for a single gzip member within the limit; None for anything else, including errors."""
    decoder = zlib_ng.decompressobj(zlib.MAX_WBITS | 16)
    try:
        inflated: bytes = decoder.decompress(body, limit_bytes + 1)
    except _ZlibNgError:
        return None
    is_whole = decoder.eof and not decoder.unused_data and len(inflated) <= limit_bytes
    return inflated if is_whole else None


class Inflater:
    """Decompresses one body chunk by chunk; `size_bytes` is the output so far.

    `feed` raises TooLarge as soon as the output exceeds `limit_bytes`, and CorruptBody; `finish` raises CorruptBody if
    the stream did not end. After an exception an Inflater cannot be used. Its memory is at most twice the limit (the
    pieces and their sum) plus the decoder's window (32 KiB; br 16 MiB, zstd the larger of 8 MiB and the limit).
    """

    __slots__ = ("_decoder", "_encoding", "_limit_bytes", "_members", "_open", "size_bytes", "stop_bytes")

    def __init__(self, encoding: str, limit_bytes: int) -> None:
        if encoding and encoding not in _OPENERS:
            raise _unsupported(encoding)
        self._encoding = encoding or "identity"
        self._open = _OPENERS[self._encoding]
        self._limit_bytes = limit_bytes
        self._decoder: _Decoder | None = None
        self._members = 0
        self.size_bytes = 0
        # A temporary limit, which may be below the limit of the whole body.
        self.stop_bytes = limit_bytes

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """The output of this chunk, which may be empty."""
        parts = (chunk,) if self._encoding == "identity" else _slices(chunk)
        pieces = [piece for part in parts for piece in self._inflated(part)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Raises CorruptBody for a stream that has not ended; `feed` keeps no output back."""
        if self._decoder is not None and self._encoding != "identity":
            raise CorruptBody(f"the end of the {self._encoding} stream", f"{self._so_far()}, then no more bytes")

    def _inflated(self, data: bytes | memoryview) -> Iterator[bytes]:
        while data:
            if self._decoder is None:
                data = self._between_members(data)
                if not data:
                    return
                self._decoder = self._next_decoder()
            yield self._decoded(self._decoder, data)
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data
                self._decoder = None

    def _decoded(self, decoder: _Decoder, data: bytes | memoryview) -> bytes:
        inflated = self._decompressed(decoder, data)
        if self.size_bytes > self.stop_bytes:
            raise TooLarge(f"at most {self.stop_bytes} bytes", f"at least {self.stop_bytes + 1}")
        return inflated

    def _decompressed(self, decoder: _Decoder, data: bytes | memoryview) -> bytes:
        """The output of `data`, at most one byte above the limit; anything shorter is all of the output."""
        try:
            inflated = decoder.decompress(data, self.stop_bytes - self.size_bytes + 1)
        except (zlib.error, brotli.error, zstd.ZstdError) as error:
            raise self._failed(error) from None
        self.size_bytes += len(inflated)
        return inflated

    def _between_members(self, data: bytes | memoryview) -> bytes | memoryview:
        """Handles bytes after an ended member: gzip may be padded with zero bytes, as gzip(1) allows."""
        return bytes(data).lstrip(b"\0") if self._members and self._encoding == "gzip" else data

    def _next_decoder(self) -> _Decoder:
        if self._members and self._encoding not in ("gzip", "zstd"):
            raise CorruptBody(f"nothing after the {self._encoding} stream", f"more bytes after {self._so_far()}")
        if self._members == _MAX_MEMBERS:
            raise CorruptBody(f"at most {_MAX_MEMBERS} {self._encoding} streams in a row", "one more")
        self._members += 1
        return self._open(self._limit_bytes)

    def _failed(self, error: Exception) -> CorruptBody | TooLarge:
        if "too much memory" in str(error):
            return TooLarge(f"a zstd window of at most {1 << _window_log(self._limit_bytes)} bytes", "a larger one")
        return CorruptBody(f"a {self._encoding} stream", f"{self._so_far()}, then {str(error)[:120]!r}")

    def _so_far(self) -> str:
        return f"{self.size_bytes} inflated bytes"


class HeadInflater(Inflater):
    """Decompresses the start of a body: about `limit_bytes`, and ignores the rest."""

    __slots__ = ()

    def _decoded(self, decoder: _Decoder, data: bytes | memoryview) -> bytes:
        return b"" if self.size_bytes > self.stop_bytes else self._decompressed(decoder, data)


class _Decoder(Protocol):
    """Shared by the zlib and zstd decoders. Output shorter than `max_length` is all there was."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


class _Identity:
    """No encoding: never ends by itself."""

    eof = False
    unused_data = b""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        return bytes(data[:max_length])


class _Deflate:
    """RFC 9110 defines deflate as zlib; some senders send raw deflate. The first two bytes tell."""

    def __init__(self) -> None:
        self._first = b""
        self._decoder: _Decoder | None = None

    @property
    def eof(self) -> bool:
        return self._decoder is not None and self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data if self._decoder else b""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        if self._decoder is None:
            data = self._first + data
            if len(data) < 2:
                self._first = data
                return b""
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        return self._decoder.decompress(data, max_length)


class _BoundedBrotli:
    """brotli in small steps, because one call may exceed its limit. brotli itself refuses bytes after its end."""

    unused_data = b""

    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._decoder.is_finished())

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        step = min(max_length, _BROTLI_STEP_BYTES)
        piece: bytes = self._decoder.process(data, output_buffer_limit=step)
        pieces, size_bytes = [piece], len(piece)
        while size_bytes < max_length and self._holds_output(piece, step):
            piece = self._decoder.process(b"", output_buffer_limit=step)
            pieces.append(piece)
            size_bytes += len(piece)
        return piece if len(pieces) == 1 else b"".join(pieces)

    def _holds_output(self, piece: bytes, step: int) -> bool:
        """Whether there may be more output: after a full piece brotli does not say so itself."""
        if self._decoder.is_finished():
            return False
        return len(piece) >= step or not self._decoder.can_accept_more_data()


def _open_gzip(_limit_bytes: int) -> _Decoder:
    # Not isal, although it is faster: fed a gzip header in two chunks, it fails on optional header fields and refuses a
    # valid body.
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _open_zstd(limit_bytes: int) -> _Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _window_log(limit_bytes)})


def _window_log(limit_bytes: int) -> int:
    """A single-segment frame has a window as large as its content, so the body limit may raise the window's limit."""
    return min(max(_ZSTD_WINDOW_LOG, (limit_bytes - 1).bit_length()), _ZSTD_WINDOW_LOG_MAX)


def _is_zlib(data: bytes | memoryview) -> bool:
    """Whether the two header bytes match RFC 1950: method 8 and a checksum that is a multiple of 31."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _slices(data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    if len(data) <= _SLICE_BYTES:
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(view), _SLICE_BYTES):
        yield view[start : start + _SLICE_BYTES]


_OPENERS: Final[dict[str, Callable[[int], _Decoder]]] = {
    "identity": lambda _limit_bytes: _Identity(),
    "gzip": _open_gzip,
    "deflate": lambda _limit_bytes: _Deflate(),
    "br": lambda _limit_bytes: _BoundedBrotli(),
    "zstd": _open_zstd,
}
