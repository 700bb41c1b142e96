"""Reads a request body within limits of size, time and memory, inflating it only to count. Nothing is parsed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn

from receiver.http.answers import Refused
from receiver.http.budget import RETRY_AFTER_S, Share
from receiver.http.deadlines import Deadlines
from receiver.http.request import Receive, Request
from schemas.encodings import (
    WINDOW_BYTES,
    CorruptBody,
    HeadInflater,
    Inflater,
    TooLarge,
    UnsupportedEncoding,
    inflate,
    normalise_encoding,
)

# Enough of the inflated body for an envelope's first line, which may have 16 KiB.
HEAD_BYTES: Final = 20 * 1024
# The usual body arrives whole and inflates to less than ONE_STEP_BYTES: it is read in one step.
USUAL_BYTES: Final = 64 * 1024
ONE_STEP_BYTES: Final = 1024 * 1024
# Every body may inflate to this size, however small it is: repetitive batches compress well. 51 bytes can then be
# 10,000 rows.
FREE_BYTES: Final = 128 * 1024
# Compressed bytes are inflated in steps of this size, so that the same body is refused however it is cut into packets.
STEP_BYTES: Final = 1024
# Other requests get a turn after this many inflated bytes, which take one millisecond.
YIELD_BYTES: Final = 256 * 1024
# Most bytes to read for a body's start: zstd may need a whole block before it can decompress one byte.
MAX_HEAD_WIRE_BYTES: Final = 256 * 1024
# A chunk costs 20 us however small it is.
MAX_CHUNKS: Final = 20_000

Enough = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits of a body: `max_bytes` on the wire and inflated, `deadline_s` for all of it to arrive.

    `max_ratio`: inflated bytes for each byte on the wire, beyond FREE_BYTES. `min_bytes_per_s`: 0 for any speed.
    """

    max_bytes: int
    deadline_s: float
    max_ratio: int = 500
    min_bytes_per_s: int = 0
    deadlines: Deadlines = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deadlines", Deadlines(self.deadline_s, self.min_bytes_per_s))

    def inflated_bytes(self, wire_bytes: int) -> int:
        """The most bytes that `wire_bytes` may inflate to."""
        return min(self.max_bytes, max(FREE_BYTES, self.max_ratio * wire_bytes))


@dataclass(slots=True)
class Body:
    """A body as it came (`wire`, in coding `encoding`), the first `keep_bytes` of it inflated, its inflated size."""

    wire: bytes
    encoding: str
    head: bytes
    inflated_size_bytes: int


class _BodyRead(NamedTuple):
    """The reading of one body: the request, and its limits."""

    request: Request
    encoding: str
    limits: BodyLimits
    share: Share
    keep_bytes: int


class Disconnected(Exception):
    """The sender closed the connection before its body was complete: nothing is published, no answer is sent."""


def encoding_of(request: Request) -> str:
    """The coding of the body. Raises Refused (415)."""
    try:
        return normalise_encoding(request.headers.get("content-encoding"))
    except UnsupportedEncoding as error:
        raise Refused(415, str(error), reason="unknown_coding") from error


def check_declared(request: Request, limits: BodyLimits) -> None:
    """Raises Refused (413) before a byte is read. A smaller declared length reserves nothing."""
    declared = request.declared_length() or 0
    if declared > limits.max_bytes:
        raise _too_large(f"Content-Length: expected at most {limits.max_bytes} bytes, found {declared}")


async def read(request: Request, encoding: str, limits: BodyLimits, share: Share, keep_bytes: int = HEAD_BYTES) -> Body:
    """The whole body. Raises Refused (400, 408, 413, 503) and Disconnected."""
    task = limits.deadlines.begin()
    try:
        return await _read(_BodyRead(request, encoding, limits, share, keep_bytes), task)
    except (asyncio.CancelledError, CorruptBody, TooLarge) as error:
        raise _as_refused(error, limits, task) from error
    finally:
        limits.deadlines.end(task)


async def read_head(request: Request, encoding: str, limits: BodyLimits, share: Share, is_enough: Enough) -> bytes:
    """The beginning of the body, inflated: until `is_enough`, HEAD_BYTES or its end. `read` returns it again.

    Raises as `read` does.
    """
    task = limits.deadlines.begin()
    try:
        return await _read_head(_BodyRead(request, encoding, limits, share, HEAD_BYTES), is_enough, task)
    except (asyncio.CancelledError, CorruptBody, TooLarge) as error:
        raise _as_refused(error, limits, task) from error
    finally:
        limits.deadlines.end(task)


def _as_refused(error: BaseException, limits: BodyLimits, task: asyncio.Task[object]) -> BaseException:
    """The refusal for an error while reading. A cancellation that the deadlines did not cause stays a cancellation."""
    if isinstance(error, CorruptBody):
        return Refused(400, str(error))
    if isinstance(error, TooLarge):
        return _too_large(str(error))
    is_slow = limits.deadlines.is_slow(task)
    return _too_late(limits, is_slow=is_slow) if limits.deadlines.is_over(task) else asyncio.CancelledError()


def _too_late(limits: BodyLimits, *, is_slow: bool) -> Refused:
    if limits.deadlines.are_cut:
        detail = "body: the receiver stops, and it is still arriving; send it again"
        return Refused(503, detail, retry_after_s=RETRY_AFTER_S)
    expected, actual = f"all of it within {limits.deadline_s:g} s", "it still arriving"
    if is_slow:
        expected = f"at least {limits.min_bytes_per_s} bytes a second"
        actual = f"fewer in the last {limits.deadlines.window_s:g} s"
    return Refused(408, f"body: expected {expected}, found {actual}; send it again")


async def _read(body_read: _BodyRead, task: asyncio.Task[object]) -> Body:
    request, encoding, limits, share, keep_bytes = body_read
    chunk, more = await _chunk(request)
    # All declared bytes are here. The server sends the end as a message of its own; waiting for it would cost 20 us.
    more = more and len(chunk) != request.declared_length()
    request.is_read = not more
    request.inflated_bytes = len(chunk)
    if not more and len(chunk) <= USUAL_BYTES:  # the usual body, at half the cost of the code below
        _check_size(len(chunk), limits)
        share.grow_to(len(chunk))
        body = _read_usual(chunk, encoding, limits, keep_bytes)
        if body is not None:
            if keep_bytes > HEAD_BYTES:
                share.grow_to(len(chunk) + len(body.head))
            request.inflated_bytes = max(len(chunk), body.inflated_size_bytes)
            return body
    collected = _Collected(body_read)
    while True:
        await collected.add(chunk)
        limits.deadlines.came(task, len(chunk))
        if not more:
            break
        chunk, more = await _chunk(request)
        more = more and collected.size_bytes + len(chunk) != request.declared_length()
        request.is_read = not more
    return collected.finish()


def _read_usual(chunk: bytes, encoding: str, limits: BodyLimits, keep_bytes: int) -> Body | None:
    """The body, or None if it inflates to more than ONE_STEP_BYTES."""
    if encoding == "identity":
        return Body(chunk, encoding, chunk[:keep_bytes], len(chunk))
    try:
        inflated = inflate(chunk, encoding, min(limits.inflated_bytes(len(chunk)), ONE_STEP_BYTES))
    except TooLarge:
        return None
    return Body(chunk, encoding, inflated[:keep_bytes], len(inflated))


class _Collected:
    """A body that comes in pieces. Its share of the budget is its bytes in memory and those of its decoder."""

    def __init__(self, body_read: _BodyRead) -> None:
        self._request, self._encoding, self._limits, self._share, self._keep_bytes = body_read
        self._inflater = (
            None if body_read.encoding == "identity" else Inflater(body_read.encoding, body_read.limits.max_bytes)
        )
        self._wire = bytearray()  # a list of small pieces would hold twenty times their size
        self._head = bytearray()
        self._chunks = 0
        self._since_yield_bytes = 0
        self.size_bytes = 0

    async def add(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        self._chunks += 1
        _check_size(self.size_bytes, self._limits)
        if self._chunks > MAX_CHUNKS:
            raise _too_large(f"body: expected at most {MAX_CHUNKS} chunks, found more; send larger ones")
        self._share.grow_to(self._held_bytes())
        start = len(self._wire)
        self._wire += chunk
        if self._inflater is None:
            self._request.inflated_bytes = self.size_bytes
            return
        while start < self.size_bytes:
            end = min(start - start % STEP_BYTES + STEP_BYTES, self.size_bytes)
            await self._inflate(self._inflater, bytes(self._wire[start:end]), end)
            start = end
        self._share.grow_to(self._held_bytes())

    async def _inflate(self, inflater: Inflater, piece: bytes, end: int) -> None:
        """Raises TooLarge and Refused (413) as soon as too much has come out."""
        inflater.stop_bytes = self._limits.inflated_bytes(-(-end // STEP_BYTES) * STEP_BYTES)
        try:
            inflated = inflater.feed(piece)
        except TooLarge:
            self._request.inflated_bytes = max(self.size_bytes, inflater.size_bytes)
            if inflater.stop_bytes < self._limits.max_bytes and inflater.size_bytes > inflater.stop_bytes:
                self._refuse_ratio(inflater.size_bytes, end)
            raise
        self._request.inflated_bytes = max(self.size_bytes, inflater.size_bytes)
        room = self._keep_bytes - len(self._head)
        if room > 0:
            self._head += inflated[:room]
        self._since_yield_bytes += len(inflated)
        if self._since_yield_bytes >= YIELD_BYTES:
            self._since_yield_bytes = 0
            await asyncio.sleep(0)

    def finish(self) -> Body:
        wire = bytes(self._wire)
        if self._inflater is None:
            return Body(wire, self._encoding, wire[: self._keep_bytes], len(wire))
        self._inflater.finish()
        if self._inflater.size_bytes > self._limits.inflated_bytes(len(wire)):
            self._refuse_ratio(self._inflater.size_bytes, len(wire))
        return Body(wire, self._encoding, bytes(self._head), self._inflater.size_bytes)

    def _refuse_ratio(self, inflated_bytes: int, wire_bytes: int) -> NoReturn:
        allowed = self._limits.inflated_bytes(wire_bytes)
        raise _too_large(
            f"inflated body: expected at most {self._limits.max_ratio} times the {wire_bytes} bytes sent, or "
            f"{FREE_BYTES} bytes if that is more, so {allowed} here, found at least {inflated_bytes}, "
            f"{inflated_bytes // wire_bytes} times (AXONPUSH_MAX_INFLATION_RATIO)"
        )

    def _held_bytes(self) -> int:
        if self._inflater is None:
            return self.size_bytes
        window_bytes = min(self._inflater.size_bytes, WINDOW_BYTES[self._encoding])
        return self.size_bytes + window_bytes + len(self._head)


async def _read_head(body_read: _BodyRead, is_enough: Enough, task: asyncio.Task[object]) -> bytes:
    request, encoding, limits, share, _ = body_read
    inflater = HeadInflater(encoding, HEAD_BYTES)
    wire, head = bytearray(), bytearray()
    asked_bytes = 0
    more = True
    while more and len(head) < HEAD_BYTES and len(wire) <= MAX_HEAD_WIRE_BYTES:
        chunk, more = await _chunk(request)
        limits.deadlines.came(task, len(chunk))
        share.grow_to(len(wire) + len(chunk) + HEAD_BYTES)
        wire += chunk
        _check_size(len(wire), limits)
        more = more and len(wire) != request.declared_length()
        head += inflater.feed(chunk)
        if len(head) >= 2 * asked_bytes:  # is_enough is called a few times, however slowly the bytes come
            asked_bytes = len(head)
            if is_enough(bytes(head)):
                break
    request.is_read = not more
    request.receive = _Again(bytes(wire), request.receive, more=more)
    return bytes(head[:HEAD_BYTES])


class _Again:
    """A request's `receive` that first returns the bytes that were read already."""

    def __init__(self, wire: bytes, receive: Receive, *, more: bool) -> None:
        self._first: dict[str, Any] | None = {"type": "http.request", "body": wire, "more_body": more}
        self._receive = receive

    async def __call__(self) -> Mapping[str, Any]:
        first, self._first = self._first, None
        return first if first is not None else await self._receive()


async def _chunk(request: Request) -> tuple[bytes, bool]:
    """The next bytes, and whether more will come. Raises Disconnected."""
    request.is_begun = True
    message = await request.receive()
    if message["type"] != "http.request":
        request.is_read = True
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _check_size(size_bytes: int, limits: BodyLimits) -> None:
    if size_bytes > limits.max_bytes:
        raise _too_large(f"body: expected at most {limits.max_bytes} bytes, found at least {size_bytes}")


def _too_large(detail: str) -> Refused:
    return Refused(413, f"{detail}; this is final: send less in one request")
