"""The HTTP server: routes, limits, request bodies, cross-origin rules. Calls run in worker threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from aiohttp import ClientError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from ops.local.clickhouse_http import disk_space
from ops.local.clickhouse_http.access.browser_requests import refusal_reason
from ops.local.clickhouse_http.access.reader_turns import GIVEN_UP_AFTER_S, ReaderTurns, places_of
from ops.local.clickhouse_http.access.users import READER, authenticate
from ops.local.clickhouse_http.body import PIECE_BYTES, check_encoding, decode_body
from ops.local.clickhouse_http.compression.blocks import decode_blocks
from ops.local.clickhouse_http.connections import Connection, Connections
from ops.local.clickhouse_http.engine import Engine
from ops.local.clickhouse_http.errors import (
    ABORTED,
    ACCESS_DENIED,
    AUTHENTICATION_FAILED,
    NETWORK_ERROR,
    SOCKET_TIMEOUT,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ServerError,
    from_engine,
    refusal,
)
from ops.local.clickhouse_http.execute import Run, StatementOutcome
from ops.local.clickhouse_http.forced_ends import ForcedEnds
from ops.local.clickhouse_http.forms import FormBytes, Forms
from ops.local.clickhouse_http.pool import Pool
from ops.local.clickhouse_http.reply import Pipe, Reply, answer, answer_in_time
from ops.local.clickhouse_http.request import Call, parse_call
from ops.local.clickhouse_http.watchdog import Watchdog, WatchedCall
from ops.runtime.tasks import end

# ClickHouse's http_receive_timeout is 30 s. Ours is longer: a piece has 1 MiB and networks may be slow.
RECEIVE_TIMEOUT_S: Final = 120.0
# Maximum queries of readers, as in ops/deploy/clickhouse/users.d: they never use the last place, so a worker has one.
MAX_READERS: Final = 20
KILL_INTERVAL_S: Final = 0.2
# After the grace of a stop: how long cancelled queries may take to end.
CANCEL_S: Final = 1.5
CHECK_INTERVAL_S: Final = 1.0
_LOOPBACK_ORIGIN: Final = re.compile(r"https?://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)
_PREFLIGHT: Final = {
    "Access-Control-Allow-Headers": "origin, x-requested-with, x-clickhouse-format, x-clickhouse-user, "
    "x-clickhouse-key, x-clickhouse-database, authorization, content-type, content-encoding",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Max-Age": "86400",
}
_EXPOSED: Final = (
    "X-ClickHouse-Summary, X-ClickHouse-Query-Id, X-ClickHouse-Server-Display-Name, X-ClickHouse-Timezone, "
    "X-ClickHouse-Format, X-ClickHouse-Exception-Code, X-ClickHouse-Exception-Tag"
)
_CORS: Final = web.RequestKey("cors", dict[str, str])
_QUERY_ID: Final = web.RequestKey("query_id", str)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves one engine. At most `max_queries` run at once, each in a thread; more are refused with error 202."""

    def __init__(
        self, engine: Engine, passwords: Mapping[str, str], *, max_queries: int, origins: frozenset[str] = frozenset()
    ) -> None:
        self._engine = engine
        self._pool = Pool(engine)
        self._passwords = passwords
        self._max_queries = max_queries
        self._readers_running = 0
        self._turns = ReaderTurns(places_of(os.cpu_count() or 2))
        self._receiving = 0
        self._forms = Forms()
        self._watchdog = Watchdog()
        self._forced_ends = ForcedEnds(engine.path)
        self._origins = origins
        self._connections: Connections | None = None
        self._threads = ThreadPoolExecutor(max_queries, thread_name_prefix="query")
        self._killer = ThreadPoolExecutor(1, thread_name_prefix="kill")
        self._running: set[asyncio.Future[StatementOutcome]] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        self._stopping = False

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._mark_busy, self._handle_guarded])
        app.router.add_get("/ping", _ok)
        app.router.add_get("/replicas_status", _ok)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/", self._get)
        app.router.add_post("/", self._query)
        app.on_response_prepare.append(_add_cross_origin)
        app.cleanup_ctx.append(self._check_queries)
        app.router.add_route("*", "/{path:.*}", _elsewhere)
        return app

    def watch_connections(self, connections: Connections) -> None:
        """Limits the connections of the port of the application."""
        self._connections = connections

    async def stop(self, grace_s: float) -> bool:
        """Refuses new calls, lets running ones finish for `grace_s`, then stops them. True when none is left."""
        self._stopping = True
        if await self._wait_until_idle(grace_s):
            return True
        killing = asyncio.get_running_loop().run_in_executor(self._killer, self._engine.kill_all)
        with contextlib.suppress(ServerError, TimeoutError):  # KILL may wait for a query that does not stop
            await asyncio.wait_for(killing, CANCEL_S)
        return await self._wait_until_idle(CANCEL_S)

    async def _wait_until_idle(self, timeout_s: float) -> bool:
        if running := set(self._running):  # a copy: ending calls remove themselves from the set
            await asyncio.wait(running, timeout=timeout_s)
        return not self._running

    def close(self) -> None:
        """Closes the idle sessions; call it when nothing runs any more."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._killer.shutdown(wait=False, cancel_futures=True)

    @web.middleware
    async def _mark_busy(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Marks a request's connection as busy while the request is handled."""
        connection = self._connection_of(request)
        if connection is None:
            return await handler(request)
        connection.request_began()
        try:
            return await handler(request)
        finally:
            connection.request_ended()

    def _connection_of(self, request: web.Request) -> Connection | None:
        return self._connections.of(request.protocol) if self._connections is not None else None

    @web.middleware
    async def _handle_guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Applies cross-origin rules, then converts every failure to ClickHouse's form."""
        try:
            request[_CORS] = self._cross_origin(request.headers.get(hdrs.ORIGIN, ""))
            if not request[_CORS] and (
                reason := refusal_reason(request.host, request.headers.get("Sec-Fetch-Site", ""), self._origins)
            ):
                raise refusal(ACCESS_DENIED, "ACCESS_DENIED", reason)
            return await handler(request)
        except ServerError as error:
            return self._failure(request, error)
        except web.HTTPException as error:
            return error
        except (HttpProcessingError, ClientError, ConnectionError, TimeoutError) as error:
            return self._failure(request, refusal(NETWORK_ERROR, "NETWORK_ERROR", f"The request broke off: {error!r}"))
        except Exception as error:
            return self._failure(request, from_engine(error))

    def _cross_origin(self, origin: str) -> dict[str, str]:
        """Headers for web pages. A page of a foreign origin is refused, even if its browser knows a password."""
        if not origin:
            return {}
        if origin in self._origins or "*" in self._origins or _LOOPBACK_ORIGIN.fullmatch(origin):
            return {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": _EXPOSED,
                "Vary": "Origin",
            }
        text = f"Origin {origin} is not allowed: start the server with --allow-origin {origin}"
        raise refusal(ACCESS_DENIED, "ACCESS_DENIED", text)

    def _failure(self, request: web.Request, error: ServerError) -> web.Response:
        headers = {
            "X-ClickHouse-Query-Id": request.get(_QUERY_ID, ""),
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Server-Display-Name": self._engine.host_name,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "Content-Type": "text/plain; charset=UTF-8",
        }
        if error.code == AUTHENTICATION_FAILED:
            headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="ClickHouse server HTTP API"'
        return web.Response(status=error.status, text=error.body(self._engine.version), headers=headers)

    async def _ready(self, _request: web.Request) -> web.StreamResponse:
        if self._watchdog.complaint:
            return web.Response(status=503, text=self._watchdog.complaint + "\n")
        return disk_space.ready(self._engine.path)

    async def _check_queries(self, _app: web.Application) -> AsyncIterator[None]:
        async def check() -> None:
            while True:
                self._watchdog.look()
                if self._connections is not None:
                    self._connections.look()
                await asyncio.sleep(CHECK_INTERVAL_S)

        looking = asyncio.create_task(check())
        yield
        await end(looking)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return await (self._query(request) if "query" in request.query else _ok(request))

    async def _query(self, request: web.Request) -> web.StreamResponse:
        """Handles one call, from request to answer."""
        user = authenticate(self._passwords, request.query, request.headers)
        if (connection := self._connection_of(request)) is not None:
            connection.known = True
        call = parse_call(request.method, request.query.items(), request.headers, user)
        request[_QUERY_ID] = call.query_id
        form_bytes = self._forms.open()
        try:
            with self._place(user):
                call, body = await self._receive(request, call, form_bytes)
            reply = Reply(self._engine, request, call)
            await self._turn(user)
            try:
                self._admit(user)
                pipe = Pipe()
                run = Run(self._engine, self._pool, call, body, pipe.writer)
                finished = self._start(run, call, form_bytes)
            except BaseException:
                self._end_turn(user)
                raise
            finished.add_done_callback(lambda _: self._end_turn(user))
        except BaseException:
            form_bytes.release()
            raise
        try:
            return await answer_in_time(run.watched, reply, answer(reply, run, call, pipe, finished))
        finally:
            pipe.close()
            if not finished.done():
                self._watch(self._stop_abandoned(run, finished))

    async def _receive(self, request: web.Request, call: Call, form: FormBytes) -> tuple[Call, Iterator[bytes]]:
        if request.content_type == "multipart/form-data":
            return await form.read(request, call), iter(())
        body = await self._body(request)
        return call, decode_blocks(body) if call.body_in_blocks else body

    def _start(self, run: Run, call: Call, form: FormBytes) -> asyncio.Future[StatementOutcome]:
        finished = asyncio.get_running_loop().run_in_executor(self._threads, run)
        self._running.add(finished)
        self._readers_running += call.user == READER
        self._watchdog.add(run.watched, call.query_id)
        if call.user == READER:
            run.watched.before_end = self._forced_ends.note
        finished.add_done_callback(partial(self._forget, call.user, run.watched, form))
        return finished

    async def _turn(self, user: str) -> None:
        """A reader's query waits for one of few places, and counts as running meanwhile."""
        if user != READER:
            return
        try:
            with self._place(user):
                await self._turns.take()
        except TimeoutError as error:
            text = (
                f"Expected one of the {self._turns.most} places for queries of readers within {GIVEN_UP_AFTER_S:g} s, "
                "found queries that run longer in all of them; ask again when one has ended"
            )
            raise refusal(TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", text) from error

    def _end_turn(self, user: str) -> None:
        if user == READER:
            self._turns.give_back()

    @contextlib.contextmanager
    def _place(self, user: str) -> Iterator[None]:
        """Takes a query's place already while the body arrives, so that slow senders count like running queries."""
        self._admit(user)
        self._receiving += 1
        self._readers_running += user == READER
        try:
            yield
        finally:
            self._receiving -= 1
            self._readers_running -= user == READER

    def _admit(self, user: str) -> None:
        if self._stopping:
            raise refusal(ABORTED, "ABORTED", "The server is shutting down")
        if user == READER and (pause := self._forced_ends.pause()):
            raise refusal(TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", pause)
        if user == READER and self._readers_running >= MAX_READERS:
            text = f"Too many simultaneous queries for user {user}. Maximum: {MAX_READERS}"
            raise refusal(TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", text)
        if len(self._running) + self._receiving >= self._max_queries:
            text = f"Too many simultaneous queries. Maximum: {self._max_queries}"
            raise refusal(TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", text)

    def _forget(
        self, user: str, watched: WatchedCall, form: FormBytes, finished: asyncio.Future[StatementOutcome]
    ) -> None:
        self._running.discard(finished)
        self._watchdog.discard(watched)
        form.release()
        self._readers_running -= user == READER
        if not finished.cancelled():
            finished.exception()  # retrieves the error of an abandoned call, which nobody else reads

    def _watch(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _stop_abandoned(self, run: Run, finished: asyncio.Future[StatementOutcome]) -> None:
        """The client is gone: asks the engine to stop its query until it has (it may not have started yet)."""
        loop = asyncio.get_running_loop()
        run.watched.note_stop()
        while not finished.done():
            with contextlib.suppress(ServerError):
                await loop.run_in_executor(self._killer, run.abandon)
            await asyncio.wait((finished,), timeout=KILL_INTERVAL_S)

    async def _body(self, request: web.Request) -> Iterator[bytes]:
        """The decoded body as an iterator for the worker thread. A short body is read here, which saves waits."""
        encoding = check_encoding(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        if not request.body_exists:
            return iter(())
        length = request.content_length
        if length is not None and length <= PIECE_BYTES:
            return decode_body(encoding, iter((await _piece(request),)))
        loop = asyncio.get_running_loop()

        def pieces() -> Iterator[bytes]:
            while data := asyncio.run_coroutine_threadsafe(_piece(request), loop).result():
                yield data

        return decode_body(encoding, pieces())


async def _add_cross_origin(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(request.get(_CORS, {}))


async def _elsewhere(request: web.Request) -> web.Response:
    """Answers a browser's preflight for any path; otherwise 404."""
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers=_PREFLIGHT)
    text = f"There is no handle {request.path}\n\nUse / or /ping for health checks, /?query= for queries.\n"
    return web.Response(status=404 if request.path != "/" else 405, text=text)


async def _ok(_request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n", headers={"Content-Type": "text/html; charset=UTF-8"})


async def _piece(request: web.Request) -> bytes:
    """The next PIECE_BYTES of a body, or its rest; empty at the end. Raises ServerError."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            while size < PIECE_BYTES and (data := await request.content.readany()):
                parts.append(data)
                size += len(data)
    except TimeoutError as error:
        text = f"No part of the body arrived for {RECEIVE_TIMEOUT_S:.0f} s"
        raise refusal(SOCKET_TIMEOUT, "SOCKET_TIMEOUT", text) from error
    return b"".join(parts)
