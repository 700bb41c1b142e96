"""What the processes that answer HTTP share: a port, a server, a connection to NATS, and an end by a signal."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from ops.runtime.failures import Failed
from ops.runtime.nats_options import Role, nats_options
from ops.runtime.process.nats_errors import NatsErrorLog
from ops.runtime.process.start_errors import port_failure
from ops.runtime.tasks import end

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings

T = TypeVar("T")
MAX_HEADERS_BYTES: Final = 64 * 1024
CLOSE_S: Final = 5.0  # to close the connection to a broker that may not answer

log = structlog.get_logger()


def port_to_listen_on(host: str, port: int, host_variable: str, port_variable: str) -> int:
    """The port to listen on: `port`, or any free one for 0. Raises Failed when it cannot be had.

    The server shares its port with whoever else asks (SO_REUSEPORT), so a second process would silently take half of
    the first one's connections.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise Failed(
                f"expected {host_variable} to be an address of this machine, found {host!r}: correct it"
            ) from error
        raise port_failure(error, port, port_variable) from error


def http_server(
    app: Any, address: tuple[str, int], *, backlog: int, max_connections: int, header_deadline_s: float
) -> Any:
    """The HTTP server for an ASGI application; Any because granian's embedded server has no types."""
    return Server(
        app,
        address=address[0],
        port=address[1],
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=backlog,
        backpressure=max_connections,
        log_enabled=False,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(header_deadline_s * 1000), max_buffer_size=MAX_HEADERS_BYTES
        ),
    )


async def connect(
    client: Client,
    settings: Settings,
    identity: tuple[str, Role],
    *,
    reconnected: Callable[[], None],
    disconnected: Callable[[], None] = lambda: None,
) -> None:
    """Connects to NATS by a name and a role, and waits for it without a limit; when it goes and comes is logged."""

    async def on_disconnected() -> None:
        log.warning("nats_disconnected")
        disconnected()

    async def on_reconnected() -> None:
        log.info("nats_reconnected")
        reconnected()

    await client.connect(
        settings.nats_servers(),
        error_cb=NatsErrorLog(settings).report,
        disconnected_cb=on_disconnected,
        reconnected_cb=on_reconnected,
        **nats_options(settings, *identity),
    )


async def close(client: Client) -> None:
    """Closes a connection to NATS on which nothing is pending."""
    with suppress(Exception):  # the broker may be away
        async with asyncio.timeout(CLOSE_S):
            await client.close()


async def unless_stopped(stop: asyncio.Event, opening: Coroutine[Any, Any, T]) -> T | None:
    """The result of `opening`, None if the signal to stop comes first."""
    opened, stopped = asyncio.create_task(opening), asyncio.create_task(stop.wait())
    await asyncio.wait({opened, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await end(stopped)
    if opened.done():
        return opened.result()
    await end(opened)
    return None


async def until_stopped(stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
    """Returns when the signal comes. Raises OSError when the HTTP server ends before."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await end(stopped)
    if not stop.is_set():
        raise OSError("the HTTP server ended by itself") from serving.exception()


def log_failure(serving: asyncio.Task[None]) -> None:
    """One line when the HTTP server ended by an exception while it drained: requests may have had no answer."""
    error = serving.exception() if serving.done() and not serving.cancelled() else None
    if error is not None:
        log.error("http_server_failed_while_draining", error=f"{type(error).__name__}: {error}", exc_info=error)
