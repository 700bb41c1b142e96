"""Describes a hostile body: its kind, its route, and the sizes that determine its bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# Maximum bytes of a body, compressed and decompressed.
MAX_BODY_BYTES: Final = 6_000_000
_STANDARD_BYTES: Final = 400_000


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one body. The same Shape always makes the same bytes.

    `size_bytes` is the approximate decompressed size, `text` the characters of one text, `width` the members, keys or
    attributes of one object, `depth` the nesting.
    """

    size_bytes: int = _STANDARD_BYTES
    text: int = 40
    width: int = 8
    depth: int = 30


@dataclass(frozen=True, slots=True)
class AbuseKind:
    """One kind of hostile body. `route` and `content_type` are those that the receiver would set."""

    name: str
    route: str
    content_type: str
    make: Callable[[Shape], bytes]
    # The shape in which it was found, or which is probably its worst.
    shape: Shape = Shape()


def repeat(unit: bytes, size_bytes: int, between: bytes = b"") -> bytes:
    """`unit` as often as it fits, at least once."""
    return between.join([unit] * max(1, size_bytes // (len(unit) + len(between))))


def repeat_numbered(unit: Callable[[int], bytes], size_bytes: int, between: bytes = b"") -> bytes:
    """`unit` with 0, 1, 2, … as often as it fits, at least once: all parts differ."""
    length = len(unit(0)) + len(between)
    return between.join([unit(number) for number in range(max(1, size_bytes // length))])


def nest(opening: bytes, content: bytes, closing: bytes, depth: int) -> bytes:
    """`content` inside `depth` pairs of opening and closing text."""
    return opening * depth + content + closing * depth
