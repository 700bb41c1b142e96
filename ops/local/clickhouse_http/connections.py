"""Limits the connections of the port: their number, and the time for sending the head of a request.

aiohttp has neither limit. A protocol in front of aiohttp's passes everything on. When there are too many connections,
those without a seen password are closed first, so that strangers cannot block workers.
"""

from __future__ import annotations

import asyncio
import math
import resource
import time
from collections.abc import Callable
from typing import Final, cast

from aiohttp import web

# The head must be complete this long after the connection, or after the first byte of the head.
HEAD_S: Final = 20.0
# Idle limit of a connection without a password. With one, clients may keep it (aiohttp: an hour).
IDLE_S: Final = 75.0
MAX_CONNECTIONS: Final = 1024
# Reserved descriptors: table files, pipes and the engine's own.
_SHARE_OF_DESCRIPTORS: Final = 4


def connections_of_machine() -> int:
    """The number of connections for which this process has descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // _SHARE_OF_DESCRIPTORS)


class Connection(asyncio.Protocol):
    """One connection, in front of aiohttp's protocol (`inner`), which parses its requests."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self.inner = inner
        self.known = False
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._handling = False
        self._deadline_s = connections.clock() + HEAD_S
        self._head_began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts the connection; another one may be closed for it."""
        self._transport = cast("asyncio.Transport", transport)
        self.inner.connection_made(transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Starts the time limit at the first bytes of a head."""
        if not self._handling and not self._head_began:
            self._head_began = True
            self._deadline_s = min(self._deadline_s, self._connections.clock() + HEAD_S)
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Passed on."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """Passed on."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Passed on."""
        self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops counting the connection."""
        self._connections.discard(self)
        self.inner.connection_lost(exc)

    def request_began(self) -> None:
        """The head is complete; body and answer have their own limits."""
        self._handling, self._head_began = True, False

    def request_ended(self) -> None:
        """Waits for the next head."""
        self._handling = False
        self._deadline_s = math.inf if self.known else self._connections.clock() + IDLE_S

    @property
    def is_waiting(self) -> bool:
        """Whether none of its requests is being handled."""
        return not self._handling

    def is_overdue(self) -> bool:
        """Whether its head should have arrived."""
        return self.is_waiting and self._connections.clock() > self._deadline_s

    def abort(self) -> None:
        """Closes it without an answer, because there is no request."""
        if self._transport is not None:
            self._transport.abort()


class Connections:
    """All connections; calling it creates the protocol of the next one. Call `look` about once a second."""

    def __init__(
        self, make: Callable[[], asyncio.Protocol], max_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._max_count = max_count
        self.clock = clock
        self._open: dict[asyncio.BaseProtocol, Connection] = {}  # by aiohttp's protocol, the oldest first

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self._make(), self)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Adds a connection. Above the limit, closes the one that waited longest, first those without a password."""
        if len(self._open) >= self._max_count:
            waiting = [candidate for candidate in self._open.values() if candidate.is_waiting]
            leaving = next((candidate for candidate in waiting if not candidate.known), next(iter(waiting), connection))
            self.discard(leaving)
            leaving.abort()
            if leaving is connection:
                return
        self._open[connection.inner] = connection

    def discard(self, connection: Connection) -> None:
        """Removes a closed connection."""
        self._open.pop(connection.inner, None)

    def of(self, inner: asyncio.BaseProtocol) -> Connection | None:
        """The connection of a request, by aiohttp's protocol."""
        return self._open.get(inner)

    def look(self) -> None:
        """Closes connections whose head is overdue."""
        for connection in [candidate for candidate in self._open.values() if candidate.is_overdue()]:
            self.discard(connection)
            connection.abort()


class BoundedSite(web.BaseSite):
    """A port with a limit of connections; otherwise like aiohttp's TCPSite."""

    __slots__ = ("_connections", "_host", "_port")

    def __init__(self, runner: web.AppRunner, connections: Connections, host: str, port: int, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._connections = connections
        self._host = host
        self._port = port

    @property
    def name(self) -> str:
        """Its address."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connections, self._host, self._port, backlog=self._backlog)
