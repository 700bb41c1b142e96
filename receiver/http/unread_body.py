"""Reads and discards the rest of a refused body, so that the sender receives the answer.

A connection that is closed while its sender still writes is reset, and the answer with it: Go's net/http sees `broken
pipe` in most tries and sends the whole body again, for ever. So the answer goes out first, then a bounded part of the
rest is read without being kept. RFC 9112, section 9.6.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from receiver import metrics
from receiver.http.request import Request

MAX_BYTES: Final = 16_000_000
# Longer than an answer needs to arrive.
MAX_S: Final = 3.0
# Refused bodies that are read at the same time. Further ones wait unread, which costs nothing and is enough for senders
# that read while they write. Above MAX_WAITING, connections are closed at once.
MAX_BODIES: Final = 256
MAX_BODIES_OF_ADDRESS: Final = 64
MAX_WAITING: Final = 1024
WAIT_S: Final = 0.5
# A rest of this size is read and the connection kept; for a larger one the answer asks the sender to close.
KEPT_BYTES: Final = 64 * 1024


class UnreadBodies:
    """Reads the rest of refused bodies, counts the bytes and keeps none."""

    def __init__(self, max_s: float = MAX_S, wait_s: float = WAIT_S) -> None:
        self._max_s = max_s
        self._wait_s = wait_s
        self._reading = 0
        self._waiting = 0
        self._of_address: Counter[str] = Counter()

    @property
    def addresses(self) -> int:
        """How many addresses have a body that is read at this moment."""
        return len(self._of_address)

    def is_due(self, request: Request, status: int) -> bool:
        """Whether bytes of a refused body may still come. A sender that waits for `100 Continue` sends none."""
        waits = "expect" in request.headers and not request.is_begun
        return status >= 400 and request.has_body() and not waits

    def closes(self, request: Request) -> bool:
        """Whether the answer should ask the sender to stop and to close."""
        declared = request.declared_length()
        return declared is None or declared > KEPT_BYTES

    async def drain(self, request: Request, network: str) -> None:
        """Returns when the body has ended, the sender is gone, or one of the bounds is reached."""
        if self._reading >= MAX_BODIES or self._of_address[network] >= MAX_BODIES_OF_ADDRESS:
            await self._wait()
            return
        self._reading += 1
        self._of_address[network] += 1
        try:
            async with asyncio.timeout(self._max_s):
                await _read_on(request)
        except TimeoutError:
            pass
        finally:
            self._reading -= 1
            self._of_address -= Counter((network,))  # forgets who has none

    async def _wait(self) -> None:
        if self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                await asyncio.sleep(self._wait_s)
            finally:
                self._waiting -= 1


async def _read_on(request: Request) -> None:
    drained_bytes, more = 0, True
    while more and drained_bytes < MAX_BYTES:
        message = await request.receive()
        size_bytes = len(message.get("body", b""))
        drained_bytes += size_bytes
        metrics.DRAINED_BYTES.inc(size_bytes)
        more = message["type"] == "http.request" and message.get("more_body", False)
