"""An insert counts as stored only if the server has said so to the end of its answer, with the number of rows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from clickhouse_connect.driver._backend import http_async, httpcommon
from clickhouse_connect.driver.summary import QuerySummary

from workers.store import insert_answer
from workers.store.clickhouse_errors import BadData, InsertFailed, OurFault, RetryLater, classify
from workers.store.insert_answer import NO_SUMMARY, NOT_WRITTEN, ODD_ANSWER, check_written

ROWS = 3
STORED = b'X-ClickHouse-Summary: {"written_rows":"3"}\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\n" + STORED + b"Transfer-Encoding: chunked\r\n\r\n"


def fixed(body: bytes, headers: bytes = STORED) -> bytes:
    """A whole answer of known length."""
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(body), body)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


async def insert(answer: bytes) -> None:
    """One insert of ROWS rows, answered with these bytes and then a closed connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:

        async def request(body: bytes, params: dict[str, str], **_: Any) -> aiohttp.ClientResponse:
            return await session.post(f"http://127.0.0.1:{port}/", params=params, data=body)

        backend = SimpleNamespace(request=request)
        context = SimpleNamespace(compression=None, transport_settings=None)
        runtime = SimpleNamespace(database="", settings={}, retryable=True)
        told = await insert_answer._execute_data_insert(backend, context, runtime, b"", lambda: None)  # type: ignore[arg-type, return-value]
        check_written(QuerySummary(told), ROWS)


@pytest.mark.parametrize(
    "answer",
    [fixed(b""), CHUNKED + b"0\r\n\r\n", fixed(b"", b'X-ClickHouse-Summary: {"written_rows":"5"}\r\n'), fixed(b"\n")],
    ids=["empty", "empty-chunked", "views-counted-too", "newline"],
)
@pytest.mark.asyncio
async def test_a_whole_answer_with_enough_rows_is_success(answer: bytes) -> None:
    """Rows of materialized views make the number larger; they are no reason to insert again."""
    await insert(answer)


@pytest.mark.parametrize(
    ("answer", "expected", "reason"),
    [
        (CHUNKED + chunk(b"Code: 241. DB::Exception: Memory limit") + b"0\r\n\r\n", RetryLater, ""),
        (CHUNKED + chunk(b"__exception__\r\nabc\r\nCode: 252. DB::Exception: Too many parts"), RetryLater, ""),
        (CHUNKED + chunk(b"\r\n") + chunk(b"Code: 27. DB::ParsingException: Cannot parse") + b"0\r\n\r\n", BadData, ""),
        (fixed(b"Code: 60. DB::Exception: Table does not exist"), OurFault, ""),
        (fixed(b"<html>It works!</html>"), RetryLater, ODD_ANSWER),
        (fixed(b"x" * 200_000), RetryLater, ODD_ANSWER),
        (CHUNKED, RetryLater, ""),
        (CHUNKED + b"5\r\nab", RetryLater, ""),
        (fixed(b"").replace(b"Content-Length: 0", b"Content-Length: 9"), RetryLater, ""),
        (fixed(b"", b'X-ClickHouse-Summary: {"written_rows":"0"}\r\n'), RetryLater, NOT_WRITTEN),
        (fixed(b"", b'X-ClickHouse-Summary: {"written_rows":"2"}\r\n'), RetryLater, NOT_WRITTEN),
        (fixed(b"", b'X-ClickHouse-Summary: {"read_rows":"3"}\r\n'), RetryLater, NO_SUMMARY),
        (fixed(b"", b'X-ClickHouse-Summary: {"written_rows":"-3"}\r\n'), RetryLater, NO_SUMMARY),
        (fixed(b"", b"X-ClickHouse-Summary: {broken\r\n"), RetryLater, NO_SUMMARY),
        (fixed(b"", b""), RetryLater, NO_SUMMARY),
    ],
)
@pytest.mark.asyncio
async def test_anything_else_is_a_failure_by_kind(answer: bytes, expected: type[InsertFailed], reason: str) -> None:
    """An error in the body has the class of its code; a cut, odd or silent answer is tried again."""
    with pytest.raises(Exception) as found:  # noqa: PT011 (every kind is classified below)
        await insert(answer)
    failure = classify(found.value)
    assert isinstance(failure, expected)
    assert reason in failure.reason


def test_the_library_still_has_what_is_replaced() -> None:
    """Inserts go through one private function of clickhouse-connect: an upgrade that moves it must fail here."""
    assert callable(http_async.HttpAsyncBackend.execute_data_insert)
    assert callable(httpcommon.plan_data_insert_request)
    assert callable(httpcommon.summary_from_headers)
    assert callable(http_async.release_lease)
