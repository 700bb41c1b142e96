"""Answers: reads the result from the pipe, and writes headers, compressed body, and errors in mid-stream."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Coroutine
from functools import partial
from typing import IO, Final

import orjson
from aiohttp import web

from ops.local.clickhouse_http.body import PIECE_BYTES, Encoder, accepted_encoding, encoder
from ops.local.clickhouse_http.compression.blocks import BY_NAME, BlockEncoder
from ops.local.clickhouse_http.disk_space import spool_bytes
from ops.local.clickhouse_http.engine import Engine, StatementCounts
from ops.local.clickhouse_http.errors import SOCKET_TIMEOUT, TIMEOUT_EXCEEDED, ServerError, refusal
from ops.local.clickhouse_http.execute import Run, StatementOutcome
from ops.local.clickhouse_http.request import Call
from ops.local.clickhouse_http.watchdog import WatchedCall

# A result up to this size is buffered, so that an error gets its status code and a small answer its summary.
BUFFER_BYTES: Final = PIECE_BYTES
# A client that reads nothing for this long counts as gone; meanwhile a thread of the pool waits for it.
SEND_TIMEOUT_S: Final = 300.0
# Larger pieces are compressed in a thread, so that the event loop is not blocked for more than 2 ms.
_COMPRESS_INLINE_BYTES: Final = 64 * 1024
_F_SETPIPE_SZ: Final = 1031


class Pipe:
    """The reading end of a result's pipe; the engine has the writing end."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        with contextlib.suppress(OSError):  # a larger pipe causes fewer wake-ups; not every system has it
            fcntl.fcntl(self.writer, _F_SETPIPE_SZ, PIECE_BYTES)

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while True:
            try:
                return os.read(self.reader, PIECE_BYTES)
            except BlockingIOError:
                await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.reader, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self.reader)

    async def gather(self, limit_bytes: int) -> tuple[bytes, bool]:
        """Reads to the end or up to `limit_bytes`; also returns whether it was the end."""
        parts: list[bytes] = []
        size = 0
        while size < limit_bytes:
            piece = await self.read()
            if not piece:
                return b"".join(parts), True
            parts.append(piece)
            size += len(piece)
        return b"".join(parts), False

    async def spool(self, start: bytes, file: IO[bytes], limit_bytes: int) -> bool:
        """Copies into `file` to the end or up to `limit_bytes`, and rewinds it; returns whether it was the end."""
        size, piece = 0, start
        while piece and size < limit_bytes:
            file.write(piece)
            size += len(piece)
            piece = await self.read()
        file.write(piece)
        file.seek(0)
        return not piece

    async def pieces(self, start: IO[bytes]) -> AsyncIterator[bytes]:
        """Yields `start`, then the rest of the pipe."""
        while piece := await asyncio.to_thread(start.read, PIECE_BYTES):
            yield piece
        while piece := await self.read():
            yield piece

    def close(self) -> None:
        """Close the reading end."""
        os.close(self.reader)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Reply:
    """One answer: applies the request's options, writes headers and body."""

    def __init__(self, engine: Engine, request: web.BaseRequest, call: Call) -> None:
        self._engine = engine
        self._request = request
        self._tag = secrets.token_urlsafe(12)
        self._begun = False
        self.folder = engine.path
        self._block_method = BY_NAME[call.block_method] if call.answer_in_blocks else None
        self._encoding = accepted_encoding(request.headers.get("Accept-Encoding", "")) if call.compress else ""
        self.headers = {
            "X-ClickHouse-Query-Id": call.query_id,
            "X-ClickHouse-Server-Display-Name": engine.host_name,
            "X-ClickHouse-Timezone": engine.timezone,
            "X-ClickHouse-Exception-Tag": self._tag,
            "Content-Type": "text/plain; charset=UTF-8",
        }

    def describe(self, format_name: str, counts: StatementCounts) -> None:
        """Adds headers about the result: its format, if any, and the counts so far."""
        if format_name:
            name, content_type = self._engine.content_types[format_name.lower()]
            self.headers |= {"X-ClickHouse-Format": name, "Content-Type": content_type}
        self.headers["X-ClickHouse-Summary"] = summary(counts)

    async def whole(self, body: bytes) -> web.Response:
        """A complete answer."""
        if body and (packer := self._packer()) is not None:
            body = await _pack(packer, body) + packer.flush()
        return web.Response(body=body, headers=self.headers)

    async def stream(self, pieces: AsyncIterator[bytes], finished: Awaitable[object]) -> web.StreamResponse:
        """Sends an answer while the engine writes it. A later error is written into the body, which then ends early."""
        response, packer = await self._begin()
        async for piece in pieces:
            await self._write(response, packer, piece)
        try:
            await finished
        except ServerError as error:
            await self._write(response, packer, self._exception_block(error))
            await self._end(response, packer, eof=False)
            response.force_close()
            if self._request.transport is not None:  # no final chunk: other clients see a broken answer
                self._request.transport.close()
            return response
        await self._end(response, packer)
        return response

    def cut_off(self) -> None:
        """Ends a started answer so that the client sees it as broken; does nothing before the start."""
        if self._begun and self._request.transport is not None:
            self._request.transport.abort()

    def _packer(self) -> Encoder | None:
        """What compresses this answer's body, with the header that says so; None for a plain one."""
        if self._encoding:
            self.headers["Content-Encoding"] = self._encoding
        packer = encoder(self._encoding)
        return packer if self._block_method is None else BlockEncoder(packer, self._block_method)

    async def _begin(self) -> tuple[web.StreamResponse, Encoder | None]:
        packer = self._packer()
        response = web.StreamResponse(headers=self.headers)
        self._begun = True
        await response.prepare(self._request)
        return response, packer

    async def _write(self, response: web.StreamResponse, packer: Encoder | None, piece: bytes) -> None:
        if packer is not None:
            piece = await _pack(packer, piece)
        if not piece:
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await response.write(piece)
        except TimeoutError as error:
            text = f"The client read nothing for {SEND_TIMEOUT_S:.0f} s"
            raise refusal(SOCKET_TIMEOUT, "SOCKET_TIMEOUT", text) from error

    async def _end(self, response: web.StreamResponse, packer: Encoder | None, *, eof: bool = True) -> None:
        if packer is not None:
            await response.write(packer.flush())
        if eof:
            await response.write_eof()

    def _exception_block(self, error: ServerError) -> bytes:
        """`__exception__`, tag, message, its length, tag, `__exception__`: the form in which clients find an error in a
        body.
        """
        message = error.body(self._engine.version).encode()
        tag = self._tag.encode()
        size = str(len(message)).encode()
        return b"\r\n__exception__\r\n%b\r\n%b%b %b\r\n__exception__\r\n" % (tag, message, size, tag)


async def _pack(packer: Encoder, piece: bytes) -> bytes:
    if len(piece) <= _COMPRESS_INLINE_BYTES:
        return packer.compress(piece)
    return await asyncio.to_thread(packer.compress, piece)


def summary(counts: StatementCounts) -> str:
    """The X-ClickHouse-Summary header: a JSON object of decimal strings."""
    return orjson.dumps(
        {
            "read_rows": str(counts.read_rows),
            "read_bytes": str(counts.read_bytes),
            "written_rows": str(counts.written_rows),
            "written_bytes": str(counts.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(counts.written_rows or counts.result_rows),
            "result_bytes": str(counts.written_bytes),
            "elapsed_ns": str(int(counts.elapsed_s * 1e9)),
        }
    ).decode()


async def answer_in_time(
    watched: WatchedCall, reply: Reply, answering: Coroutine[None, None, web.StreamResponse]
) -> web.StreamResponse:
    """The answer, unless the watchdog says that the query is overdue: then error 159, or a cut connection."""
    try:
        async with asyncio.timeout(None) as limit:
            watched.stop = partial(limit.reschedule, 0.0)
            try:
                return await answering
            finally:
                watched.stop = _nothing
    except TimeoutError as error:
        if not limit.expired():
            raise
        reply.cut_off()
        text = "The query ran longer than its max_execution_time and was stopped"
        raise refusal(TIMEOUT_EXCEEDED, "TIMEOUT_EXCEEDED", text) from error


def _nothing() -> None:
    """Used when the answer is complete: there is nothing to stop."""


async def answer(
    reply: Reply, run: Run, call: Call, pipe: Pipe, finished: asyncio.Future[StatementOutcome]
) -> web.StreamResponse:
    """Buffers up to BUFFER_BYTES (spool_bytes if the client waits for the end), then sends."""
    start, ended = await pipe.gather(BUFFER_BYTES)
    if ended:
        outcome = await asyncio.shield(finished)
        reply.describe(outcome.format, outcome.counts)
        return await reply.whole(start or outcome.body)
    if not call.wait_end:
        reply.describe(run.format, StatementCounts())
        return await reply.stream(pipe.pieces(io.BytesIO(start)), finished)
    with tempfile.TemporaryFile(dir=reply.folder) as spooled:
        ended = await pipe.spool(start, spooled, spool_bytes(reply.folder))
        counts = (await asyncio.shield(finished)).counts if ended else StatementCounts()
        reply.describe(run.format, counts)
        return await reply.stream(pipe.pieces(spooled), finished)
