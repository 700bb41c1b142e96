"""Bodies are inflated right, within a limit of size and memory, and no bytes do more than be refused."""

from __future__ import annotations

import functools
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from schemas import encodings
from schemas.encodings import CorruptBody, Inflater, TooLarge, UnsupportedEncoding

LIMIT = 6_000_000
GIGABYTE = 1_000_000_000
REFUSALS = (CorruptBody, TooLarge)


def raw_deflate(body: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return coder.compress(body) + coder.flush()


def zstd_with_window(body: bytes, window_log: int) -> bytes:
    coder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    return coder.compress(body) + coder.flush()


COMPRESS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", functools.partial(gzip.compress, compresslevel=6)),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", functools.partial(brotli.compress, quality=3)),
    "zstd": ("zstd", zstd.compress),
    "identity": ("identity", bytes),
}
CODED = [name for name in COMPRESS if name != "identity"]


def _feed_and_finish(inflater: Inflater, data: bytes) -> None:
    inflater.feed(data)
    inflater.finish()


def coded(name: str, body: bytes) -> tuple[str, bytes]:
    encoding, compress = COMPRESS[name]
    return encoding, compress(body)


# --- names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "identity"), ("", "identity"), (" ", "identity"), ("utf-8", "identity"), ("UTF-8", "identity"),
        ("identity", "identity"), (",", "identity"), ("gzip", "gzip"), (" GZip ", "gzip"), ("x-gzip", "gzip"),
        ("deflate", "deflate"), ("br", "br"), ("zstd", "zstd"), ("identity, gzip", "gzip"), ("br,", "br"),
    ],
)  # fmt: skip
def test_a_coding_has_one_name(value: str | None, name: str) -> None:
    """Case, blanks, old aliases and values that are no coding at all do not matter."""
    assert encodings.normalise_encoding(value) == name


@pytest.mark.parametrize("value", ["gzip, br", "gzip, gzip", "compress", "lzma", "gzip;q=1", "gzip br", "*", "\xff\n"])
def test_other_codings_are_unsupported(value: str) -> None:
    """Two codings and unknown ones are refused by name, in ASCII."""
    with pytest.raises(UnsupportedEncoding, match="expected one") as caught:
        encodings.normalise_encoding(value)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@given(st.text())
def test_any_header_text_is_named_or_refused(value: str) -> None:
    """No text raises anything but UnsupportedEncoding."""
    try:
        assert encodings.normalise_encoding(value) in encodings.ENCODINGS
    except UnsupportedEncoding:
        return


@pytest.mark.parametrize("name", ["GZIP", " gzip", "x-gzip", "gzip, identity", "lzma"])
def test_a_header_is_normalised_once_at_the_edge(name: str) -> None:
    """Messages carry the names that `normalise_encoding` returns; a reader of messages knows no other."""
    with pytest.raises(UnsupportedEncoding, match=r"expected one of gzip.*found"):
        Inflater(name, LIMIT)
    with pytest.raises(UnsupportedEncoding):
        encodings.inflate(b"x", name, LIMIT)


def test_a_message_without_the_header_is_not_compressed() -> None:
    """Items and events without a Content-Encoding header are read as they are."""
    assert encodings.inflate(b"x", "", LIMIT) == b"x"


# --- whole bodies


@pytest.mark.parametrize("name", COMPRESS)
@given(body=st.binary(max_size=3000), repeat=st.sampled_from([1, 1, 100]), step=st.integers(1, 4000))
def test_a_body_comes_back_whole_and_in_pieces(name: str, body: bytes, repeat: int, step: int) -> None:
    """Each coding round-trips, however the bytes are cut; the count is the size."""
    body *= repeat
    encoding, wire = coded(name, body)
    assert encodings.inflate(wire, encoding, LIMIT) == body
    assert encodings.inflate(memoryview(wire), encoding, len(body)) == body
    inflater = Inflater(encoding, LIMIT)
    pieces = [inflater.feed(wire[start : start + step]) for start in range(0, len(wire), step)]
    inflater.finish()
    assert b"".join(pieces) == body
    assert inflater.size_bytes == len(body)


@pytest.mark.parametrize("name", COMPRESS)
def test_a_megabyte_that_does_not_compress_comes_back(name: str) -> None:
    """Bodies of many slices are put together right."""
    body = random.Random(7).randbytes(1_000_000)
    encoding, wire = coded(name, body)
    assert encodings.inflate(wire, encoding, LIMIT) == body


@pytest.mark.parametrize("name", COMPRESS)
def test_the_limit_is_exact(name: str) -> None:
    """A body of the limit passes, one byte more does not, and the error says both."""
    for size in (1, 30_000, 400_000):
        encoding, wire = coded(name, bytes(size))
        assert encodings.inflate(wire, encoding, size) == bytes(size)
        with pytest.raises(TooLarge, match=f"at most {size - 1} bytes, found at least {size}"):
            encodings.inflate(wire, encoding, size - 1)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate", "br", "zstd"])
def test_no_bytes_give_no_bytes(encoding: str) -> None:
    """An empty body is empty under any coding; that it is empty is for its reader to refuse."""
    assert encodings.inflate(b"", encoding, LIMIT) == b""


@pytest.mark.parametrize("name", CODED)
def test_a_cut_stream_is_corrupt(name: str) -> None:
    """Wherever it ends too early, it is not taken for the whole."""
    encoding, wire = coded(name, b"hello " * 50)
    for size in range(1, len(wire)):
        with pytest.raises(CorruptBody):
            encodings.inflate(wire[:size], encoding, LIMIT)


@pytest.mark.parametrize("name", CODED)
def test_bytes_after_the_end_are_corrupt(name: str) -> None:
    """In the same chunk or in a later one."""
    encoding, wire = coded(name, b"hello " * 50)
    for garbage in (b"garbage", b"\x01", wire[:5]):
        with pytest.raises(CorruptBody):
            encodings.inflate(wire + garbage, encoding, LIMIT)
        inflater = Inflater(encoding, LIMIT)
        inflater.feed(wire)
        with pytest.raises(CorruptBody):
            _feed_and_finish(inflater, garbage)


@pytest.mark.parametrize("name", CODED)
def test_what_is_not_compressed_is_corrupt(name: str) -> None:
    """A plain body under a coding's name says so."""
    encoding, _ = COMPRESS[name]
    with pytest.raises(CorruptBody, match=encoding):
        encodings.inflate(b'{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc"}\n', encoding, LIMIT)


@pytest.mark.parametrize("name", ["gzip", "zlib"])
def test_a_wrong_checksum_is_corrupt(name: str) -> None:
    """Damage that still inflates is found."""
    encoding, wire = coded(name, b"hello " * 50)
    at = -5 if name == "gzip" else -1
    damaged = bytearray(wire)
    damaged[at] ^= 1
    with pytest.raises(CorruptBody):
        encodings.inflate(bytes(damaged), encoding, LIMIT)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_follow_each_other(name: str) -> None:
    """Several gzip members or zstd frames are one body; too many of them are refused before they cost time."""
    encoding, wire = coded(name, b"ab")
    assert encodings.inflate(wire * 3, encoding, LIMIT) == b"ababab"
    assert encodings.inflate(wire * 1000, encoding, LIMIT) == b"ab" * 1000
    with pytest.raises(CorruptBody, match="at most 1000"):
        encodings.inflate(wire * 200_000, encoding, LIMIT)


def test_gzip_may_be_padded_with_zeros() -> None:
    """As gzip(1) has it, also between members and over chunks."""
    wire = gzip.compress(b"ab")
    assert encodings.inflate(wire + bytes(100_000), "gzip", LIMIT) == b"ab"
    assert encodings.inflate(wire + bytes(7) + wire, "gzip", LIMIT) == b"abab"
    with pytest.raises(CorruptBody):
        encodings.inflate(bytes(7) + wire, "gzip", LIMIT)


def test_gzip_headers_may_have_every_field_and_be_cut_anywhere() -> None:
    """File name, comment, extra field and header check, a byte at a time."""
    wire = gzip.compress(b"hello")
    header = b"\x1f\x8b\x08" + bytes([2 | 4 | 8 | 16]) + bytes(6) + b"\x04\0abcd" + b"name\0" + b"comment\0"
    wire = header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") + wire[10:]
    inflater = Inflater("gzip", LIMIT)
    assert b"".join(inflater.feed(bytes([byte])) for byte in wire) == b"hello"
    inflater.finish()


def test_a_zstd_window_may_be_8_mebibytes() -> None:
    """RFC 9659's limit; a larger one is refused as too large, since it is memory that it asks for."""
    assert encodings.inflate(zstd_with_window(b"hello", 23), "zstd", LIMIT) == b"hello"
    with pytest.raises(TooLarge, match="window of at most 8388608"):
        encodings.inflate(zstd_with_window(b"hello", 27), "zstd", LIMIT)


def test_a_larger_limit_allows_a_larger_zstd_window() -> None:
    """A body in one segment has a window of its own size, which the limit on bodies allows."""
    assert encodings.inflate(zstd_with_window(b"hello", 25), "zstd", 1 << 25) == b"hello"


def test_a_large_body_in_one_zstd_segment_is_too_large() -> None:
    """Its frame says its size, and that is what is answered."""
    with pytest.raises(TooLarge):
        encodings.inflate(zstd.compress(bytes(20_000_000)), "zstd", LIMIT)


def test_zstd_skippable_frames_are_skipped() -> None:
    """They are part of the format."""
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    assert encodings.inflate(skippable + zstd.compress(b"ab") + skippable, "zstd", LIMIT) == b"ab"


# --- bombs


def zlib_bomb(wbits: int) -> bytes:
    """10 GB in 10 MB: a full flush ends a block at a byte and forgets the window, so the block can be repeated."""
    coder = zlib.compressobj(9, zlib.DEFLATED, wbits)
    zeros = bytes(10_000_000)
    head = coder.compress(zeros) + coder.flush(zlib.Z_FULL_FLUSH)
    return head + (coder.compress(zeros) + coder.flush(zlib.Z_FULL_FLUSH)) * 999


def gzip_bomb() -> bytes:
    return zlib_bomb(31)


def deflate_bomb() -> bytes:
    return zlib_bomb(15)


def brotli_bomb() -> bytes:
    coder = brotli.Compressor(quality=1)
    zeros = bytes(10_000_000)
    pieces: list[bytes] = [coder.process(zeros) for _ in range(GIGABYTE // len(zeros))]
    return b"".join([*pieces, coder.finish()])


def zstd_bomb() -> bytes:
    coder = zstd.ZstdCompressor(level=1)
    zeros = bytes(10_000_000)
    return b"".join([coder.compress(zeros) for _ in range(GIGABYTE // len(zeros))]) + coder.flush()


@pytest.mark.parametrize("limit", [10_000, LIMIT])
@pytest.mark.parametrize(
    ("encoding", "bomb"), [("gzip", gzip_bomb), ("deflate", deflate_bomb), ("br", brotli_bomb), ("zstd", zstd_bomb)]
)
def test_a_bomb_is_refused_in_bounded_memory(encoding: str, bomb: Callable[[], bytes], limit: int) -> None:
    """A body of 1 to 10 GB costs twice the limit and a window at most."""
    wire = bomb()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            encodings.inflate(wire, encoding, limit)
        # Twice: pieces and their sum. The rest: a step too many, and what is small.
        assert tracemalloc.get_traced_memory()[1] < 2 * limit + 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_head_is_read_no_further_than_its_limit(encoding: str) -> None:
    """What comes after it is not decompressed at all, however much there is."""
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[encoding]
    wire = pack(b"".join(b"%d," % number for number in range(200_000)))
    head = encodings.HeadInflater(encoding, 1_000)
    pieces = [bytes(head.feed(wire[at : at + 100])) for at in range(0, len(wire), 100)]
    assert b"".join(pieces).startswith(b"0,1,2,")
    assert 1_000 <= len(b"".join(pieces)) <= 1_001
    assert pieces[-1] == b""


# --- bytes from anywhere


def check_words(error: ValueError) -> None:
    assert str(error).isprintable()
    assert str(error).isascii()


def survive(wire: bytes, encoding: str, limit: int) -> bool:
    """Inflated or refused. True if inflated."""
    try:
        body = encodings.inflate(wire, encoding, limit)
    except REFUSALS as error:
        check_words(error)
        return False
    assert len(body) <= limit
    return True


@given(st.binary(max_size=400), st.sampled_from(["gzip", "deflate", "br", "zstd", "identity"]), st.integers(0, 500))
def test_arbitrary_bytes_raise_nothing_but_refusals(wire: bytes, encoding: str, limit: int) -> None:
    """Any byte string is inflated or refused, under any coding and limit."""
    survive(wire, encoding, limit)


@pytest.mark.parametrize("name", CODED)
def test_5000_damaged_bodies_raise_nothing_but_refusals(name: str) -> None:
    """A seeded run over valid streams with a few bytes changed, cut or repeated."""
    rng = random.Random(20261121)
    encoding, good = coded(name, bytes(rng.choices(b'{"abcdef": 0123}\n', k=2000)))
    assert survive(good, encoding, LIMIT)
    for _ in range(5_000):
        wire = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(wire))
            wire[at : at + rng.choice((0, 1, 1, 1, 9))] = rng.choice((rng.randbytes(1), b"", bytes(wire[:30])))
        survive(bytes(wire), encoding, 1_000_000)
