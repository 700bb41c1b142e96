"""Bodies in ClickHouse's own compressed blocks, in both directions."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.clickhouse_http.body import encoder
from ops.local.clickhouse_http.compression import blocks
from ops.local.clickhouse_http.compression.blocks import BlockEncoder, block, decode_blocks
from ops.local.clickhouse_http.errors import ServerError
from ops.local.clickhouse_http.request import check_native, parse_call

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METHODS = (blocks.NONE, blocks.LZ4, blocks.ZSTD)
CONTENT = b"".join(b"%d,\n" % number for number in range(8_000))


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return iter([data[at : at + size] for at in range(0, len(data), size)])


def _forged(method: int, packed: bytes, data_bytes: int, packed_bytes: int | None = None) -> bytes:
    """A block with a right checksum and any sizes."""
    rest = struct.pack("<BII", method, 9 + len(packed) if packed_bytes is None else packed_bytes, data_bytes) + packed
    return blocks.checksum_of(rest) + rest


def _refusal(body: bytes) -> ServerError:
    with pytest.raises(ServerError) as caught:
        list(decode_blocks(iter([body])))
    return caught.value


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_a_body_decodes_however_it_is_cut(method: int, size: int) -> None:
    """Four blocks, one of them empty, in pieces of any size."""
    parts = (CONTENT[:9], b"", CONTENT[9:20_000], CONTENT[20_000:])
    body = b"".join(block(part, method) for part in parts)
    assert b"".join(decode_blocks(_cut(body, size))) == CONTENT


def test_a_block_of_clickhouses_jdbc_driver_is_read() -> None:
    """Bytes that clickhouse-jdbc 0.10.0 sent: checksum, header and LZ4 as another implementation has them."""
    sent = bytes.fromhex(
        "0cd0cbd28d61bf27248e63b8d49fc15082200000002f000000df53454c45435420276f6e65272c07000a50276f6e6527"
    )
    statement = b"SELECT 'one', 'one', 'one', 'one', 'one', 'one'"
    assert list(decode_blocks(iter([sent]))) == [statement]
    assert sent[:16] == blocks.checksum_of(sent[16:])


def test_an_empty_body_has_no_data() -> None:
    """As a request without a body."""
    assert list(decode_blocks(iter([]))) == []
    assert list(decode_blocks(iter([b""]))) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_flipped_bit_is_noticed_wherever_it_is(method: int) -> None:
    """In checksum, header or data: never other data than was sent."""
    body = block(b"0123456789" * 5, method)
    for at in range(len(body)):
        broken = body[:at] + bytes([body[at] ^ 0x10]) + body[at + 1 :]
        assert _refusal(broken).status in (400, 413), at


@pytest.mark.parametrize("method", METHODS)
def test_a_truncated_body_is_an_error(method: int) -> None:
    """Half a block is never taken for a whole body."""
    body = block(CONTENT, method)
    for size in (1, 24, 25, len(body) - 1):
        error = _refusal(body[:size])
        assert (error.code, error.status) == (33, 400)
        assert f"after {size} of its bytes" in error.text


def test_a_broken_block_is_named_by_its_place() -> None:
    """So that a sender can find it."""
    good = block(b"good")
    assert f"block at byte {len(good)}: its checksum" in _refusal(good + block(b"bad")[:-1] + b"?").text


@pytest.mark.parametrize(
    ("body", "code", "status", "text"),
    [
        (_forged(0x91, b"x", 1), 89, 400, "found 0x91"),
        (_forged(blocks.LZ4, b"x", blocks.MAX_BLOCK_BYTES + 1), 270, 413, "send smaller blocks"),
        (_forged(blocks.LZ4, b"", 1, packed_bytes=0xFFFF_FFFF), 270, 413, "send smaller blocks"),
        (_forged(blocks.NONE, b"xx", 1), 271, 400, "cannot hold"),
        (_forged(blocks.LZ4, b"x" * 10, 1 << 20), 271, 400, "cannot hold"),
        (_forged(blocks.LZ4, b"", 0, packed_bytes=8), 271, 400, "cannot hold"),
        (_forged(blocks.LZ4, b"\xff" * 50, 100), 271, 400, "block at byte 0"),
        (_forged(blocks.ZSTD, b"no frame", 100), 271, 400, "block at byte 0"),
        (_forged(blocks.ZSTD, zstd.compress(b"x" * 99), 100), 271, 400, "expected 100 bytes of data, found 99"),
        (_forged(blocks.ZSTD, zstd.compress(b"x" * 5000), 100), 271, 400, "expected 100 bytes of data, found 101"),
        (_forged(blocks.ZSTD, zstd.compress(b"x" * 100)[:-3], 100), 271, 400, "block at byte 0"),
    ],
)
def test_a_hostile_block_is_refused_with_what_was_expected(body: bytes, code: int, status: int, text: str) -> None:
    """Before memory is taken for what it says it holds."""
    error = _refusal(body + b"\0" * 100)
    assert (error.code, error.status) == (code, status)
    assert text in error.text


def test_blocks_of_a_thousandfold_ratio_end_early() -> None:
    """A body of two kilobytes does not become two gigabytes on disk."""
    bomb = block(bytes(blocks.MAX_BLOCK_BYTES), blocks.ZSTD)
    given = []
    with pytest.raises(ServerError) as caught:
        given.extend(len(data) for data in decode_blocks(iter([bomb * 10])))
    assert caught.value.status == 413
    assert sum(given) <= 64 << 20


@given(st.binary(max_size=300))
def test_any_bytes_are_an_error_or_decode(junk: bytes) -> None:
    """No bytes raise anything but a ServerError with a 4xx status."""
    statuses = [200]
    try:
        list(decode_blocks(iter([junk])))
    except ServerError as error:
        statuses.append(error.status)
    assert statuses[-1] < 500


def test_a_long_answer_is_blocks_of_one_mebibyte() -> None:
    """Clients have a buffer for one block."""
    packer = BlockEncoder(None)
    content = CONTENT * 30
    packed = packer.compress(content) + packer.compress(b"end") + packer.flush()
    sizes = [len(data) for data in decode_blocks(iter([packed]))]
    assert b"".join(decode_blocks(iter([packed]))) == content + b"end"
    assert max(sizes) == 1 << 20


def test_http_may_compress_the_blocks_again() -> None:
    """Both options of one request hold, blocks inside."""
    packer = BlockEncoder(encoder("gzip"))
    packed = packer.compress(b"abc") + packer.flush()
    assert b"".join(decode_blocks(iter([zlib.decompress(packed, 31)]))) == b"abc"


def test_both_directions_are_read_from_the_url() -> None:
    """`compress` is of the answer, `decompress` of the request."""
    call = parse_call("POST", [("compress", "1"), ("decompress", "1")], {})
    assert (call.answer_in_blocks, call.body_in_blocks, call.compress) == (True, True, False)
    assert not parse_call("POST", [("compress", "0")], {}).answer_in_blocks


@pytest.mark.parametrize(("wanted", "method"), [("", 0x82), ("LZ4HC", 0x82), ("zstd", 0x90), ("none", 0x02)])
def test_a_client_chooses_how_its_blocks_are_compressed(wanted: str, method: int) -> None:
    """clickhouse-go names a method in every request."""
    call = parse_call("POST", [("compress", "1"), ("network_compression_method", wanted)], {})
    assert BlockEncoder(None, blocks.BY_NAME[call.block_method]).compress(b"a")[16] == method
    assert call.settings == {}


def test_an_unknown_method_is_a_400_that_names_the_known_ones() -> None:
    """The engine does not see this setting."""
    with pytest.raises(ServerError, match="expected one of LZ4, LZ4HC, ZSTD, NONE, found 'gzip'") as caught:
        parse_call("POST", [("network_compression_method", "gzip")], {})
    assert caught.value.status == 400


def _asked(version: str, format_name: str) -> Callable[[], None]:
    return lambda: check_native(parse_call("POST", [("client_protocol_version", version)], {}), format_name)


def test_newer_native_blocks_are_refused_in_a_sentence() -> None:
    """clickhouse-go shows the body of an answer that is not 200; blocks without a version it calls broken."""
    with pytest.raises(ServerError, match=r"client_protocol_version.*RowBinaryWithNamesAndTypes") as caught:
        _asked("54460", "Native")()
    assert (caught.value.code, caught.value.status) == (48, 501)
    _asked("54460", "JSONEachRow")()  # has no version
    _asked("54405", "Native")()  # what clickhouse-connect asks for
    _asked("", "Native")()


@pytest.mark.parametrize("version", ["x", "-1", "9" * 5000, "1.5"])
def test_a_protocol_version_is_a_number(version: str) -> None:
    """Anything else is a 400 that says so."""
    with pytest.raises(ServerError, match="expected a number") as caught:
        _asked(version, "Native")()
    assert caught.value.status == 400
