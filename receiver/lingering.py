"""Reads on after a refusal, and throws away, so that the sender hears why it was refused.

A connection that is closed while its sender still writes is reset, and the answer with it: Go's net/http sees `broken
pipe` in most tries and sends the whole body again, for ever. So the answer goes out first, then a bounded part of the
rest is read without being kept. RFC 9112, section 9.6.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from receiver import metrics
from receiver.request import Request

MAX_BYTES: Final = 16_000_000
MAX_S: Final = 5.0
IDLE_S: Final = 2.0
# Refused bodies that are read on at once. A sender that is one too many has its connection closed, as all had before.
MAX_BODIES: Final = 256
MAX_BODIES_OF_ADDRESS: Final = 16
# A rest of this size is read and the connection kept; of a larger one the sender is asked to stop.
KEPT_BYTES: Final = 64 * 1024


class Lingering:
    """Reads the rest of refused bodies. Holds nothing of them, and counts the bytes."""

    def __init__(self, max_s: float = MAX_S, idle_s: float = IDLE_S) -> None:
        self._max_s = max_s
        self._idle_s = idle_s
        self._bodies: Counter[str] = Counter()

    def is_due(self, request: Request, status: int) -> bool:
        """Whether bytes of a refused body are on their way. Who waits for `100 Continue` sends none any more."""
        waits = "expect" in request.headers and not request.is_begun
        return status >= 400 and request.has_body() and not waits

    def closes(self, request: Request) -> bool:
        """Whether the answer should ask the sender to stop and to close."""
        declared = request.declared_length()
        return declared is None or declared > KEPT_BYTES

    async def drain(self, request: Request, network: str) -> None:
        """Returns when the body has ended, the sender is gone or silent, or one of the bounds is reached."""
        if self._bodies.total() >= MAX_BODIES or self._bodies[network] >= MAX_BODIES_OF_ADDRESS:
            return
        self._bodies[network] += 1
        try:
            async with asyncio.timeout(self._max_s):
                await self._drain(request)
        except TimeoutError:
            pass
        finally:
            self._bodies[network] -= 1
            if not self._bodies[network]:
                del self._bodies[network]

    async def _drain(self, request: Request) -> None:
        drained_bytes = 0
        while drained_bytes < MAX_BYTES:
            async with asyncio.timeout(self._idle_s):
                message = await request.receive()
            size_bytes = len(message.get("body", b""))
            drained_bytes += size_bytes
            metrics.DRAINED_BYTES.inc(size_bytes)
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
