"""Seeded mutation of inputs, by bytes and by structure. The same (sample, seed) always gives the same input."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from tests.fuzz.mutations_json import mutate_json
from tests.fuzz.mutations_protobuf import mutate_protobuf
from tests.fuzz.target import Sample, Shape

MAX_ROUNDS: Final = 4
MAX_INPUT_BYTES: Final = 200_000
# One input in so many is left as it is: what the samples themselves do must stay accepted.
_UNTOUCHED: Final = 64
_TOKENS: Final = (
    *(b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n", b'"', b"\\", b"{", b"}", b"[", b"]"),
    *(
        b"\\ud800",
        b"NaN",
        b"1e400",
        b"-1",
        b"18446744073709551616",
        b"null",
        b"%00",
        b"\x80" * 10,
        b"\xff" * 9 + b"\x01",
    ),
    *(b"A" * 300, b"[" * 2000, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 200),
)

Step = Callable[[Random, bytes], bytes]


def mutated(samples: Sequence[Sample], seed: str) -> bytes:
    """The input that `seed` makes of one of the samples, or of parts of two."""
    rng = Random(seed)
    sample = rng.choice(samples)
    if rng.randrange(_UNTOUCHED) == 0:
        return sample.body
    body = sample.body
    for _ in range(rng.randint(1, MAX_ROUNDS)):
        if rng.randrange(12) == 0:
            body = _spliced(rng, body, rng.choice(samples).body)
        else:
            body = mutate(rng, body, sample.shape)
    return body[:MAX_INPUT_BYTES]


def mutate(rng: Random, body: bytes, shape: Shape) -> bytes:
    """One mutation: by structure as often as by bytes, always by bytes where there is no structure left."""
    if rng.random() < 0.6 and (changed := _STRUCTURES[shape](rng, body)) is not None:
        return changed
    return rng.choice(_BYTE_STEPS)(rng, body)


def _flip(rng: Random, body: bytes) -> bytes:
    found = bytearray(body or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _overwrite(rng: Random, body: bytes) -> bytes:
    found = bytearray(body or b"\0")
    for _ in range(rng.choice((1, 1, 3))):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def _insert(rng: Random, body: bytes) -> bytes:
    at = rng.randint(0, len(body))
    return body[:at] + (rng.choice(_TOKENS) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 16))) + body[at:]


def _delete(rng: Random, body: bytes) -> bytes:
    start, end = _span(rng, body)
    return body[:start] + body[end:]


def _repeat(rng: Random, body: bytes) -> bytes:
    start, end = _span(rng, body)
    return body[:end] + body[start:end] * rng.choice((1, 2, 30)) + body[end:]


def _truncate(rng: Random, body: bytes) -> bytes:
    return body[: rng.randint(0, len(body))]


def _span(rng: Random, body: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(body))
    return start, min(len(body), start + rng.choice((1, 2, 4, 16, 64, 256)))


def _spliced(rng: Random, body: bytes, other: bytes) -> bytes:
    return body[: rng.randint(0, len(body))] + other[rng.randint(0, len(other)) :]


_BYTE_STEPS: Final[tuple[Step, ...]] = (_flip, _overwrite, _insert, _delete, _repeat, _truncate)


def mutate_lines(rng: Random, body: bytes) -> bytes | None:
    """Lines dropped, doubled, exchanged, or one of them changed as the JSON it may be."""
    lines = body.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    choice = rng.randrange(6)
    if choice == 0:
        del lines[at]
    elif choice == 1:
        lines.insert(at, lines[other])
    elif choice == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        changed = mutate_json(rng, lines[at])
        lines[at] = rng.choice(_BYTE_STEPS)(rng, lines[at]) if changed is None else changed
    return b"\n".join(lines)


def mutate_http(rng: Random, body: bytes) -> bytes | None:
    """The head line by line, or what follows it: by its media type, or packed and then broken."""
    head, blank, content = body.partition(b"\r\n\r\n")
    if rng.random() < 0.5:
        lines = head.split(b"\r\n")
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        choice = rng.randrange(4)
        if choice == 0 and at:
            del lines[at]
        elif choice == 1:
            lines.insert(at + 1, lines[other])
        else:
            lines[at] = rng.choice(_BYTE_STEPS)(rng, lines[at])
        return b"\r\n".join(lines) + blank + content
    if rng.random() < 0.15:
        coding, pack = rng.choice(((b"gzip", gzip.compress), (b"deflate", zlib.compress)))
        packed = rng.choice(_BYTE_STEPS)(rng, pack(content)) if rng.random() < 0.7 else pack(content)
        return head + b"\r\ncontent-encoding: " + coding + blank + packed
    shape: Shape = "json" if b"json" in head else "protobuf" if b"protobuf" in head else "lines"
    return head + blank + mutate(rng, content, shape)


_STRUCTURES: Final[dict[Shape, Callable[[Random, bytes], bytes | None]]] = {
    "json": mutate_json,
    "protobuf": mutate_protobuf,
    "lines": mutate_lines,
    "http": mutate_http,
    "bytes": lambda _rng, _body: None,
}
