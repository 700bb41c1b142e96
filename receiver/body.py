"""Reads a request body within limits of size, time and memory, inflating it only to count. Nothing is parsed here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from receiver import metrics
from receiver.answers import Refused
from receiver.deadlines import Deadlines
from receiver.request import Receive, Request
from schemas.encodings import CorruptBody, Inflater, TooLarge, UnsupportedEncoding, inflate, normalise_encoding

# Enough of the inflated body for an envelope's first line, which may have 16 KiB.
HEAD_BYTES: Final = 20 * 1024
FIRST_SHARE_BYTES: Final = 64 * 1024
RETRY_AFTER_S: Final = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may be: `max_bytes` on the wire and inflated, `deadline_s` for all of it to arrive."""

    max_bytes: int
    deadline_s: float
    deadlines: Deadlines = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deadlines", Deadlines(self.deadline_s))


@dataclass(slots=True)
class Body:
    """A body as it came (`wire`, in coding `encoding`), the first `keep_bytes` of it inflated, its inflated size."""

    wire: bytes
    encoding: str
    head: bytes
    inflated_size_bytes: int


class Disconnected(Exception):
    """The sender went away before its body was complete: nothing is published, nobody hears an answer."""


class Budget:
    """Bytes of bodies that may be held at once. Never waits: what does not fit is refused."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        metrics.IN_FLIGHT_BYTES.set_function(lambda: self._held_bytes)

    def share(self, declared_bytes: int) -> Share:
        """A part for one request, which grows with what has really come; a context that gives it back.

        The declared length is believed up to FIRST_SHARE_BYTES: eleven senders that promise 6 MB and send nothing
        would else shut everybody out until their deadline. Raises Refused (503).
        """
        share = Share(self)
        share.grow_to(min(declared_bytes, FIRST_SHARE_BYTES))
        return share

    def _add(self, size_bytes: int) -> None:
        if size_bytes > 0 and self._held_bytes + size_bytes > self._limit_bytes:
            raise Refused(
                503, "the receiver holds as many bytes as it may; send the same again", retry_after_s=RETRY_AFTER_S
            )
        self._held_bytes += size_bytes


class Share:
    """One request's part of a Budget."""

    __slots__ = ("_budget", "held_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_error: object) -> None:
        self._budget._add(-self.held_bytes)

    def grow_to(self, size_bytes: int) -> None:
        """Holds at least `size_bytes`. Raises Refused (503)."""
        if size_bytes > self.held_bytes:
            self._budget._add(size_bytes - self.held_bytes)
            self.held_bytes = size_bytes


def encoding_of(request: Request) -> str:
    """The coding of the body. Raises Refused (415)."""
    try:
        return normalise_encoding(request.headers.get("content-encoding"))
    except UnsupportedEncoding as error:
        raise Refused(415, str(error)) from error


def check_declared(request: Request, limits: Limits) -> int:
    """The declared length in bytes, 0 if there is none. Raises Refused (413) before a byte is read."""
    declared = request.declared_length() or 0
    if declared > limits.max_bytes:
        raise _too_large(f"Content-Length: expected at most {limits.max_bytes} bytes, found {declared}")
    return declared


async def read(request: Request, encoding: str, limits: Limits, share: Share, keep_bytes: int = HEAD_BYTES) -> Body:
    """The whole body; `request.came_bytes` grows as it comes. Raises Refused (400, 408, 413, 503) and Disconnected."""
    reading = limits.deadlines.begin()
    try:
        return await _read(request, encoding, limits, share, keep_bytes)
    except asyncio.CancelledError as error:
        if not limits.deadlines.is_over(reading):
            raise
        raise _too_late(limits) from error
    except CorruptBody as error:
        raise Refused(400, str(error)) from error
    except TooLarge as error:
        request.came_bytes = max(request.came_bytes, limits.max_bytes)  # at least that much was inflated
        raise _too_large(str(error)) from error
    finally:
        limits.deadlines.end(reading)


def _too_late(limits: Limits) -> Refused:
    if limits.deadlines.are_cut:
        detail = "body: the receiver stops, and it is still arriving; send it again"
        return Refused(503, detail, retry_after_s=RETRY_AFTER_S)
    return Refused(
        408, f"body: expected all of it within {limits.deadline_s:g} s, found it still arriving; send it again"
    )


async def _read(request: Request, encoding: str, limits: Limits, share: Share, keep_bytes: int) -> Body:
    chunk, more = await _chunk(request.receive)
    # What was promised is here: to ask for the end that the server tells in a message of its own costs 20 us.
    more = more and len(chunk) != request.declared_length()
    request.came_bytes = len(chunk)
    if not more and len(chunk) <= FIRST_SHARE_BYTES:  # the usual body, at half the price of the way below
        _check_size(len(chunk), limits)
        share.grow_to(len(chunk))
        inflated = chunk if encoding == "identity" else inflate(chunk, encoding, limits.max_bytes)
        request.came_bytes = max(len(chunk), len(inflated))
        return Body(chunk, encoding, inflated[:keep_bytes], len(inflated))
    inflater = Inflater(encoding, limits.max_bytes)
    wire, head, size_bytes = [], [], 0
    while True:
        size_bytes += len(chunk)
        _check_size(size_bytes, limits)
        share.grow_to(size_bytes)
        wire.append(chunk)
        kept_bytes = inflater.size_bytes
        inflated = inflater.feed(chunk)
        request.came_bytes = max(size_bytes, inflater.size_bytes)
        if kept_bytes < keep_bytes:
            head.append(inflated[: keep_bytes - kept_bytes])
        if not more:
            break
        chunk, more = await _chunk(request.receive)
    inflater.finish()
    return Body(b"".join(wire), encoding, b"".join(head), inflater.size_bytes)


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    """What has come, and whether more will. Raises Disconnected."""
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _check_size(size_bytes: int, limits: Limits) -> None:
    if size_bytes > limits.max_bytes:
        raise _too_large(f"body: expected at most {limits.max_bytes} bytes, found at least {size_bytes}")


def _too_large(detail: str) -> Refused:
    return Refused(413, f"{detail}; this is final: send less in one request")
