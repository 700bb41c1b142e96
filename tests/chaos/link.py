"""A wire between two rooms that a test can cut or slow: a TCP proxy on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024


class Link:
    """Passes bytes on to `target_port`. Cut, it drops what is open and refuses what comes; delayed, it waits first."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(lambda: asyncio.start_server(self._connected, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """From now on nothing passes; connections break as when a machine goes away with a reset."""
        self._do(self._cut)

    def heal(self) -> None:
        """Passes again, without delay."""
        self._is_cut, self._delay_s = False, 0.0

    def delay(self, seconds: float) -> None:
        """Every chunk towards the target waits this long."""
        self._delay_s = seconds

    def close(self) -> None:
        """Ends the thread and everything it holds."""
        self._do(self._cut)
        self._server.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _cut(self) -> None:
        self._is_cut = True
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if not self._is_cut:
                there_reader, there_writer = await asyncio.open_connection(HOST, self._target_port)
                await asyncio.gather(self._pass(reader, there_writer, slow=True), self._pass(there_reader, writer))
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool = False) -> None:
        self._open.add(writer)
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if slow and self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            writer.close()
