"""Bodies for measurements, made by the real SDKs; each request gets its own ids. Needs the extra `dev`.

Equal bodies would compress far better than real ones do, on the way and on disk. So there are VARIANTS of each, with
other words, frames, breadcrumbs, tags and span ids, all from a seed: every run sends the same.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from ops.bench.bodies import otlp, sentry
from ops.bench.bodies.words import ID

VARIANTS: Final = 32
T = TypeVar("T")

ENVELOPE_PATH: Final = "/api/{channel}/envelope/"
_PROTOBUF: Final = {"content-type": "application/x-protobuf", "x-axonpush-channel": "{channel}", "x-api-key": "{key}"}
_JSON: Final = _PROTOBUF | {"content-type": "application/json"}
_SENTRY: Final = {
    "content-type": "application/x-sentry-envelope",
    "user-agent": "sentry.python/2.75.0",
    "x-sentry-auth": "Sentry sentry_version=7, sentry_client=sentry.python/2.75.0, sentry_key={key}",
}


@dataclass(frozen=True, slots=True)
class BodyKind:
    """One kind of body: its path, its number of rows, and `make`, which builds it with a 16-byte id."""

    name: str
    path: str
    headers: dict[str, str]
    rows: int
    make: Callable[[bytes], bytes]


def by_name() -> dict[str, BodyKind]:
    """Every kind by name. Nothing is built before it is needed."""
    zipped = _SENTRY | {"content-encoding": "gzip"}
    kinds = (
        BodyKind("error", ENVELOPE_PATH, zipped, 1, _vary(sentry.error_parts, _gzip)),
        BodyKind("error-small", ENVELOPE_PATH, _SENTRY, 1, _vary(sentry.small_error, _digits)),
        BodyKind("tiny", ENVELOPE_PATH, _SENTRY, 1, lambda token: _digits(_TINY, token)),
        BodyKind("large", ENVELOPE_PATH, _SENTRY, 1, lambda token: _digits(sentry.large(), token)),
        BodyKind("transaction", ENVELOPE_PATH, _SENTRY, sentry.CHILD_SPANS + 1, _vary(sentry.transaction, _digits)),
        BodyKind("spans", "/v1/traces", _PROTOBUF, otlp.SPANS, _vary(otlp.spans_protobuf, _bytes)),
        BodyKind("spans-json", "/v1/traces", _JSON, otlp.SPANS, _vary(otlp.spans_json, _digits)),
        BodyKind("logs", "/v1/logs", _PROTOBUF, otlp.LOGS, _vary(otlp.logs_protobuf, _digits)),
    )
    return {kind.name: kind for kind in kinds}


def _vary(build: Callable[[int], T], with_id: Callable[[T, bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda token: with_id(build(token[-1] % VARIANTS), token)


def tokens(seed: int, count: int) -> list[bytes]:
    """`count` ids that no other seed gives."""
    rest = random.Random(seed)
    high = rest.getrandbits(64) | 1 << 63
    return [struct.pack(">QQ", high, number + 1) for number in range(count)]


# --- ids: a token's 32 digits replace the SDK's own ids


_TINY: Final = b'{"event_id":"%s"}\n{"type":"event"}\n{"event_id":"%s","message":"out of paper","level":"info"}\n' % (
    ID,
    ID,
)


def _digits(body: bytes, token: bytes) -> bytes:
    return body.replace(ID, token.hex().encode())


def _bytes(body: bytes, token: bytes) -> bytes:
    return body.replace(bytes.fromhex(ID.decode()), token)


def _gzip(parts: tuple[bytes, bytes, bytes], token: bytes) -> bytes:
    """One gzip member with a precompressed tail: much faster than compressing each body."""
    before, after, packed = parts
    start = before.replace(ID, token.hex().encode())
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    check = zlib.crc32(after, zlib.crc32(start))
    trailer = struct.pack("<II", check, len(start) + len(after))
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + first + packed + trailer
