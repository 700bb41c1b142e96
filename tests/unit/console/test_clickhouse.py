"""Questions to ClickHouse over HTTP: bounded, with parameters as a form, and errors that say nothing of the inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import chdb
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from console.api.errors import ApiError
from console.settings import ConsoleSettings
from console.storage import clickhouse
from console.storage.clickhouse import ClickHouse

pytestmark = pytest.mark.asyncio


class Answering:
    """A server that keeps what it was asked, and answers what a test says."""

    def __init__(self, status: int = 200, body: bytes = b'{"a":1}\n{"a":2}\n', **headers: str) -> None:
        self.answer = (status, body, {name.replace("_", "-"): text for name, text in headers.items()})
        self.address: dict[str, str] = {}
        self.form: dict[str, Any] = {}
        self.body = b""

    async def reply(self, request: web.Request) -> web.Response:
        self.address = dict(request.query)
        if request.content_type == "multipart/form-data":
            self.form = dict(await request.post())
        else:
            self.body = await request.read()
        status, body, headers = self.answer
        return web.Response(status=status, body=body, headers=headers)


@asynccontextmanager
async def asked(server: Answering, **settings: Any) -> AsyncIterator[ClickHouse]:
    """A client of the server."""
    app = web.Application()
    app.router.add_post("/", server.reply)
    async with TestServer(app) as running:
        client = ClickHouse(ConsoleSettings(clickhouse_url=str(running.make_url("/")), **settings))
        try:
            yield client
        finally:
            await client.close()


async def test_every_query_is_bounded() -> None:
    """In time, memory, rows read and rows answered; values are in the form, not in the address."""
    server = Answering()
    async with asked(server, console_query_timeout_s=7, console_query_rows=9) as client:
        rows = await client.query("SELECT {name:String}", name="a\tb", numbers=[1, 2])
    assert rows == [{"a": 1}, {"a": 2}]
    limits = {"max_execution_time": "7", "max_rows_to_read": "9", "max_memory_usage": "1000000000"}
    assert limits.items() <= server.address.items()
    assert int(server.address["max_result_rows"]) > 0
    assert server.form == {"query": "SELECT {name:String}", "param_name": "a\\tb", "param_numbers": "[1,2]"}


async def test_bytes_that_are_no_text_come_as_text() -> None:
    """A dead letter is kept as it came, in gzip or cut in a character; the engine gets our settings."""
    server = Answering()
    sql = "SELECT unhex('1f8b08ff00c3') AS body, map(unhex('ff'), 'Größe') AS names, substring('Größe', 1, 3) AS cut"
    async with asked(server) as client:
        await client.query(sql, number=1)
        formats = {name: text for name, text in server.address.items() if name.startswith("output_format")}
        options = ", ".join(f"{name}={text}" for name, text in formats.items())
        answer = chdb.query(f"{sql} FORMAT JSONEachRow SETTINGS {options}").bytes()
        server.answer = (200, answer, {})
        (row,) = await client.query(sql)
    assert row["body"].endswith("\0\ufffd")
    assert row["names"] == {"\ufffd": "Größe"}
    assert row["cut"] == "Gr\ufffd"


async def test_an_insert_sends_rows_as_data() -> None:
    """Never as a statement."""
    server = Answering(body=b"")
    async with asked(server) as client:
        await client.insert("issue_changes", [{"status": "x'); DROP"}, {"status": "b"}])
    head, first, second = server.body.split(b"\n")
    assert head == b"INSERT INTO issue_changes FORMAT JSONEachRow"
    assert (first, second) == (b'{"status":"x\'); DROP"}', b'{"status":"b"}')


@pytest.mark.parametrize("code", ["159", "241", "158"])
async def test_a_question_that_is_too_wide_is_a_400(code: str) -> None:
    """Time, memory, rows: asking again would not help, asking less would."""
    async with asked(Answering(500, b"Code: secret", X_ClickHouse_Exception_Code=code)) as client:
        with pytest.raises(ApiError) as raised:
            await client.query("SELECT 1")
    assert raised.value.status == 400
    assert "statsPeriod" in raised.value.detail


@pytest.mark.parametrize("code", ["60", "516", ""])
async def test_an_error_of_clickhouse_is_not_shown(code: str) -> None:
    """503, with nothing of its text: it may quote SQL, tables or values."""
    async with asked(Answering(404, b"Code: secret_table", X_ClickHouse_Exception_Code=code)) as client:
        with pytest.raises(ApiError) as raised:
            await client.query("SELECT 1")
    assert raised.value.status == 503
    assert "secret" not in raised.value.detail
    assert raised.value.headers["Retry-After"]


async def test_a_clickhouse_that_is_away_is_a_503() -> None:
    """Not an error of ours."""
    client = ClickHouse(ConsoleSettings(clickhouse_url="http://127.0.0.1:1"))
    try:
        with pytest.raises(ApiError) as raised:
            await client.query("SELECT 1")
    finally:
        await client.close()
    assert raised.value.status == 503


async def test_an_answer_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it fills the memory of the console."""
    monkeypatch.setattr(clickhouse, "MAX_ANSWER_BYTES", 10)
    async with asked(Answering(body=b'{"a":1}\n' * 100)) as client:
        with pytest.raises(ApiError) as raised:
            await client.query("SELECT 1")
    assert raised.value.status == 400


async def test_a_query_that_is_too_long_for_clickhouse_is_a_400() -> None:
    """Many values of many tags make a statement that no server would read; it is not sent."""
    server = Answering()
    async with asked(server) as client:
        with pytest.raises(ApiError) as raised:
            await client.query(f"SELECT {'1 + ' * 70_000} 1")
    assert (raised.value.status, server.address) == (400, {})
    assert "expected a shorter one" in raised.value.detail
