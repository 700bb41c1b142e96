"""Content encodings of request and answer bodies."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable
from functools import partial

import brotli
import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.clickhouse_http import body
from ops.local.clickhouse_http.errors import ServerError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_RAW: Callable[[bytes], bytes] = lambda data: zlib.compress(data)[2:-4]  # noqa: E731
PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", _RAW),
    ("br", partial(brotli.compress, quality=4)),
    ("zstd", zstd.compress),
    ("lz4", lz4.frame.compress),
    ("xz", lzma.compress),
    ("bz2", bz2.compress),
]


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_a_body_decodes_however_it_is_cut(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Every encoding gives the content back from pieces of any size."""
    content = b"".join(b"%d," % number for number in range(50_000))
    packed = pack(content)
    for size in (7, 1000, 1 << 20):
        assert b"".join(body.decode_body(encoding, iter(_cut(packed, size)))) == content


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_a_bomb_inflates_in_bounded_pieces(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A thousandfold ratio never makes a piece much larger than PIECE_BYTES."""
    packed = pack(bytes(64 << 20))
    sizes = [len(piece) for piece in body.decode_body(encoding, iter([packed]))]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 2 * body.PIECE_BYTES


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_a_truncated_body_is_an_error(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Half a body is never taken for a whole one."""
    packed = pack(b"0123456789" * 1000)
    with pytest.raises(ServerError) as caught:
        list(body.decode_body(encoding, iter([packed[: len(packed) // 2]])))
    assert encoding in caught.value.text


@pytest.mark.parametrize("encoding", [name for name, _ in PACKERS])
@given(junk=st.binary(min_size=1, max_size=200))
def test_junk_is_an_error_or_decodes(encoding: str, junk: bytes) -> None:
    """No bytes raise anything but a ServerError."""
    with contextlib.suppress(ServerError):
        list(body.decode_body(encoding, iter([junk])))


def test_frames_in_a_row_are_one_body() -> None:
    """Concatenated members decode as their contents in a row."""
    assert b"".join(body.decode_body("gzip", iter([gzip.compress(b"a") + gzip.compress(b"b")]))) == b"ab"
    assert b"".join(body.decode_body("zstd", iter([zstd.compress(b"a"), zstd.compress(b"b")]))) == b"ab"


def test_an_unknown_encoding_is_refused() -> None:
    """415 with the list of what is read."""
    with pytest.raises(ServerError) as caught:
        body.check_encoding("compress")
    assert caught.value.status == 415
    assert body.check_encoding(" GZIP ") == "gzip"
    assert body.check_encoding("identity") == ""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", ""),
        ("gzip, deflate", "gzip"),
        ("br;q=0, deflate", "deflate"),
        ("zstd,lz4", "lz4"),
        ("identity", ""),
        ("*", ""),
    ],
)
def test_the_answer_takes_the_cheapest_accepted_encoding(accept: str, expected: str) -> None:
    """Order of preference is ours; a weight of zero refuses."""
    assert body.accepted_encoding(accept) == expected


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "br", "deflate"])
def test_what_is_encoded_decodes_again(encoding: str) -> None:
    """Each encoder's output is what the decoder of that name reads."""
    packer = body.encoder(encoding)
    assert packer is not None
    packed = packer.compress(b"abc" * 1000) + packer.compress(b"def") + packer.flush()
    assert b"".join(body.decode_body(encoding, iter([packed]))) == b"abc" * 1000 + b"def"


def test_a_body_inflates_no_further_than_honest_ones() -> None:
    """After 64 MiB, which are free, 1,100 bytes for each byte that came; counted in pieces."""
    bomb = zstd.compress(b"x" * (80 << 20))
    sizes: list[int] = []
    with pytest.raises(ServerError) as refused:
        sizes.extend(map(len, body.decode_body("zstd", iter((bomb,)))))
    assert refused.value.code == 229
    assert sum(sizes) <= body.FREE_INFLATED_BYTES
    honest = gzip.compress(b"x" * (80 << 20))
    assert sum(map(len, body.decode_body("gzip", iter((honest,))))) == 80 << 20
