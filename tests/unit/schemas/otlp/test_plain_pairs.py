"""The fast way through an attribute in protobuf says what the careful way says, or leaves it to the careful way."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from schemas.otlp import protobuf_records
from schemas.otlp.protobuf_values import BodyTally, Notes, odd_pair, plain_pair
from schemas.otlp.protobuf_wire import WireError, length_field, varint_bytes
from schemas.otlp.records import Allowance, Value

# Around every length at which a length needs one more byte.
LENGTHS = (0, 1, 2, 123, 124, 125, 126, 127, 128, 129, 130, 16_380, 16_383, 16_384, 16_385)
SCALARS = (b"\x10\x00", b"\x10\x01", b"\x10\x02", b"\x18\x00", b"\x18\x7f", b"\x18\xff\x01")
BIG_NUMBERS = tuple(b"\x18" + varint_bytes(number) for number in (2**63 - 1, 2**63, 2**64 - 1))
DOUBLES = tuple(b"\x21" + struct.pack("<d", number) for number in (0.0, -1.5, 1e308, float("nan"), float("-inf")))


def tally() -> BodyTally:
    return BodyTally(Allowance(10**9))


def careful(raw: bytes) -> tuple[tuple[str, Value], list[str]] | None:
    """The pair and its flaws; None for bytes that are no KeyValue."""
    flaws = Notes(Allowance(10**9))
    try:
        return odd_pair(raw, {}, flaws), list(flaws)
    except (WireError, IndexError, struct.error):
        return None


def assert_agrees(raw: bytes) -> None:
    """With a key that is new, and with one that was seen before."""
    seen = tally()
    for _ in range(2):
        found = plain_pair(raw, seen)
        if found is not None:
            assert (found, []) == careful(raw)
            assert repr(found) == repr(careful(raw)[0])  # type: ignore[index]  # 1, 1.0 and True are equal
            assert seen.pairs == {raw: found}


def texts() -> Iterator[bytes]:
    """KeyValues of text whose lengths are around the limits."""
    for length in LENGTHS:
        yield length_field(1, b"k") + length_field(2, length_field(1, b"v" * length))
        yield length_field(1, b"k" * length) + length_field(2, length_field(1, b"v"))


@pytest.mark.parametrize("raw", list(texts()), ids=lambda raw: f"{len(raw)} bytes")
def test_text_of_any_length_is_plain(raw: bytes) -> None:
    """But for keys longer than 127 bytes, which no SDK sends."""
    sent = KeyValue.FromString(raw)
    found = plain_pair(raw, tally())
    assert found == ((sent.key, sent.value.string_value) if len(sent.key) <= 127 else None)
    assert_agrees(raw)


@pytest.mark.parametrize("value", SCALARS + BIG_NUMBERS + DOUBLES[:3], ids=lambda value: value.hex())
def test_numbers_and_booleans_are_plain(value: bytes) -> None:
    """As google's decoder reads them."""
    sent = AnyValue.FromString(value)
    found = plain_pair(length_field(1, b"k") + length_field(2, value), tally())
    assert found is not None
    expected = getattr(sent, str(sent.WhichOneof("value")))
    assert (found[1], type(found[1])) == (expected, type(expected))


def changed() -> Iterator[bytes]:
    """KeyValues with one byte changed by one, a byte less, or a byte more; and two values of one."""
    values = [length_field(1, b"v" * length) for length in (0, 1, 125, 126, 127, 128, 200)]
    for value in [*values, *SCALARS, *BIG_NUMBERS, *DOUBLES]:
        raw = length_field(1, b"key") + length_field(2, value)
        yield from (raw[:-1], raw + b"\x00", raw + b"\x18", raw + length_field(2, value))
        yield length_field(1, b"key") + length_field(2, value + b"\x00")
        yield length_field(1, b"key") + length_field(2, value + value)
        for place in range(min(len(raw), 14)):
            for by in (-1, 1, 0x7F, 0x80):
                yield raw[:place] + bytes([(raw[place] + by) % 256]) + raw[place + 1 :]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x80\x01" + b"k" * 127 + b"\x12\x03\x0a\x01v",
        b"\x0a\x01k\x12\x80\x0a\x7e" + b"v" * 0x7E,
    ],
    ids=["of the key", "of the value"],
)
def test_a_length_of_two_bytes_is_not_taken_for_one_of_one(raw: bytes) -> None:
    """Its first byte says 128, and as many follow."""
    assert careful(raw) is None
    assert_agrees(raw)
    seen = tally()
    plain_pair(b"\x0a\x01k\x12\x02\x10\x01", seen)
    assert plain_pair(raw, seen) is None


def test_what_is_not_quite_a_pair_is_left_to_the_careful_way() -> None:
    """Lengths that are off by one, tags that are others, values that end early or late."""
    for raw in changed():
        assert_agrees(raw)


@given(st.binary(max_size=12).map(lambda end: b"\x0a\x01k\x12" + end))
@example(b"\x0a\x01k\x12\x80\x01\x0a\x7d")
def test_any_bytes_of_a_value_are_read_the_same(raw: bytes) -> None:
    """Whatever follows the key."""
    assert_agrees(raw)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x00",
        b"\x0a\x05short",
        b"\x0a\x04short",
        b"\x0a\x06short",
        b"\x0b\x05short",
        *(length_field(1, b"t" * length) for length in LENGTHS),
        # A length whose second byte is missing, in front of as many bytes as its first one says.
        b"\x0a\x80" + b"\x01" * 0x80,
        b"\x0a\x81" + b"\x01" * 0x81,
    ],
    ids=lambda body: f"{body[:3].hex()}, {len(body)} bytes",
)
def test_the_body_of_a_log_is_read_as_the_careful_way_reads_it(body: bytes) -> None:
    """Plain text up to 127 bytes takes the fast way; all others are the careful way's."""
    raw = LogRecord(time_unix_nano=1).SerializeToString() + length_field(5, body)
    [found] = protobuf_records.logs([raw], tally())
    assert found == protobuf_records.record_of(raw, protobuf_records.careful_log, tally())
