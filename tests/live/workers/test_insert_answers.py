"""A real engine behind a proxy that answers inserts oddly: every row is stored in the end, and none twice."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import web

from ops.cli.servers import open_clickhouse
from ops.provisioning import migrate
from ops.runtime.secret_masking import without_secrets
from schemas.outcomes import OUTCOME_COLUMNS, OutcomeRow
from schemas.rows import OUTCOMES_TABLE
from tests import databases
from tests.servers import HOST, Server
from workers.clock import SystemClock
from workers.settings import WorkerSettings
from workers.store.insert import Inserter
from workers.store.writers import ClickHouseWriter

pytestmark = pytest.mark.live

MINUTE = 1_763_700_000
_HOP_HEADERS = {"host", "transfer-encoding", "content-length"}
ROWS = [OutcomeRow(MINUTE, "acme", 7, "k", "event", "dropped", f"r{n}", n, 1, 1 << 20, "unpack", 0) for n in range(100)]


async def error_in_body(_: web.Request) -> web.StreamResponse:
    """As ClickHouse does that has begun its answer: nothing is stored."""
    return web.Response(text="Code: 241. DB::Exception: Memory limit (total) exceeded", headers={"X-Odd": "1"})


async def cut_off(request: web.Request) -> web.StreamResponse:
    """A chunked answer without an end: nothing is stored."""
    response = web.StreamResponse(headers={"X-ClickHouse-Summary": '{"written_rows":"100"}'})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"\n")
    assert request.transport is not None
    request.transport.close()
    return response


async def wrote_nothing(_: web.Request) -> web.StreamResponse:
    """A 200 which says that no row was written."""
    return web.Response(headers={"X-ClickHouse-Summary": '{"written_rows":"0"}'})


async def silent(_: web.Request) -> web.StreamResponse:
    """A 200 of somebody who is no ClickHouse."""
    return web.Response()


class Proxy:
    """Passes everything on to the engine; the first insert is answered by `odd` and goes nowhere."""

    def __init__(self, url: str, odd: Callable[[web.Request], object]) -> None:
        self.url = url
        self.odd: Callable[[web.Request], object] | None = odd
        self.inserts: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if "async_insert" in request.query:  # what only inserts of workers set
            self.inserts.append(request.query.get("insert_deduplicate", ""))
            if self.odd is not None:
                odd, self.odd = self.odd, None
                return await odd(request)  # type: ignore[misc, no-any-return]
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, f"{self.url}{request.path_qs}", data=body, headers=headers, allow_redirects=False
            ) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name.startswith(("X-", "Content-Enc"))}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@pytest.mark.parametrize("odd", [error_in_body, cut_off, wrote_nothing, silent])
@pytest.mark.asyncio
async def test_an_odd_answer_loses_no_row(clickhouse_server: Server, odd: Callable[[web.Request], object]) -> None:
    """The same rows are sent again until the engine says that it has written them."""
    database = databases.take(clickhouse_server)
    settings = WorkerSettings(clickhouse_url=clickhouse_server.url, clickhouse_database=database)
    migrate.migrate_tables(settings, dry_run=False)
    proxy = Proxy(without_secrets(clickhouse_server.url), odd)

    runner = web.ServerRunner(web.Server(proxy))
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    port = runner.addresses[0][1]
    writer = ClickHouseWriter(settings.model_copy(update={"clickhouse_url": f"http://{HOST}:{port}"}))
    try:
        assert await Inserter(writer, SystemClock()).insert(OUTCOMES_TABLE, OUTCOME_COLUMNS, ROWS) == []
    finally:
        await writer.close()
        await runner.cleanup()
    client = open_clickhouse(settings)
    client.database = settings.clickhouse_database
    assert client.query("SELECT count(), uniqExact(source_id) FROM outcome_rows FINAL").result_rows == [(100, 100)]
    assert len(proxy.inserts) == 2
    # Should the server have stored them and left the repeat out as a known block, its count would be too small again.
    assert proxy.inserts[1] == ("0" if odd in {wrote_nothing, silent} else "")
    databases.give_back(clickhouse_server, database)
