"""Probes: ask whether a server or process is ready. Every probe is quick, answers yes or no, and never raises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ops.cli.servers import open_nats
from schemas.subjects import SOURCES

if TYPE_CHECKING:
    from ops.runtime.settings import Settings

TIMEOUT_S: Final = 2.0


async def nats_answers(host: str, port: int) -> bool:
    """Whether a NATS server sends its INFO on that port. It listens only after it has recovered its streams."""
    return (await _exchange(host, port, b"")).startswith(b"INFO ")


async def http_ok(url: str) -> bool:
    """Whether GET on a plain http URL returns 200."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    status_line = await _exchange(host, port, request.encode())
    return status_line.split(b" ")[1:2] == [b"200"]


async def workers_listen(settings: Settings) -> bool:
    """Whether every durable has a waiting worker."""
    try:
        async with asyncio.timeout(TIMEOUT_S), open_nats(settings, "up-probe") as client:
            js = client.jetstream()
            infos = [await js.consumer_info(source.stream, source.durable) for source in SOURCES.values()]
    except Exception:  # any error means no
        return False
    return all(info.num_waiting for info in infos)


async def _exchange(host: str, port: int, request: bytes) -> bytes:
    """The first line of the reply; empty if there is none."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return b""
