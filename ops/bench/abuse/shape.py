"""What an abusive body is: its kind, where it goes, and the sizes from which its bytes follow. No body is made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# A body may have this many bytes, on the wire and inflated.
MOST_BYTES: Final = 6_000_000
_STANDARD_BYTES: Final = 400_000


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one body. The same Shape always makes the same bytes.

    `size_bytes` is about how long it is inflated, `text` the characters of one text, `width` how many members, keys or
    attributes one object has, `depth` how deep values nest.
    """

    size_bytes: int = _STANDARD_BYTES
    text: int = 40
    width: int = 8
    depth: int = 30


@dataclass(frozen=True, slots=True)
class AbuseKind:
    """One kind of abusive body. `route` and `content_type` are what the receiver would say about it."""

    name: str
    route: str
    content_type: str
    make: Callable[[Shape], bytes]
    # The shape it was first seen in, or the one that is thought to be its worst.
    shape: Shape = Shape()


def repeated(unit: bytes, size_bytes: int, between: bytes = b"") -> bytes:
    """`unit` as often as it fits, at least once."""
    return between.join([unit] * max(1, size_bytes // (len(unit) + len(between))))


def numbered(unit: Callable[[int], bytes], size_bytes: int, between: bytes = b"") -> bytes:
    """`unit` of 0, 1, 2, … as often as it fits, at least once: no two parts are the same."""
    length = len(unit(0)) + len(between)
    return between.join([unit(number) for number in range(max(1, size_bytes // length))])


def nested(opening: bytes, content: bytes, closing: bytes, depth: int) -> bytes:
    """`content` within `depth` pairs of opening and closing."""
    return opening * depth + content + closing * depth
