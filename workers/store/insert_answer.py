"""Reads the answer to an insert to its end, and compares the number of rows that the server has written.

clickhouse-connect treats any 200 as success and does not read the body. ClickHouse may have sent that 200 before
the insert failed; then the error is in the body, or the connection ends in the middle of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.summary import QuerySummary

from workers.store.clickhouse_errors import RetryLater

# The answer to an insert is empty. Of another answer this much is read, for its error.
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_QUOTED_CHARACTERS: Final = 300
NOT_WRITTEN: Final = "server wrote fewer rows"
NO_SUMMARY: Final = "answer names no written rows"
ODD_ANSWER: Final = "answer has an unexpected body"

_CODE: Final = re.compile(r"Code: (\d{1,6})\. DB::")


def read_answers(client: AsyncClient) -> None:
    """Makes the inserts of `client` read their answers. Raises AttributeError for a clickhouse-connect without them."""
    backend: Any = client._backend
    if not callable(backend.execute_data_insert):
        raise AttributeError("expected clickhouse-connect's execute_data_insert, found none: use the locked version")
    backend.execute_data_insert = partial(_execute_data_insert, backend)


def check_written(summary: QuerySummary, rows: int) -> None:
    """Raises RetryLater unless the server says that it has written at least `rows` rows.

    Rows of materialized views are in its number too (ClickHouse issue 18237), so it may be larger.
    """
    written = summary.summary.get("written_rows")
    if written is None or not str(written).isdecimal():
        raise RetryLater(
            NO_SUMMARY,
            f"expected X-ClickHouse-Summary with written_rows for {rows} rows, found none; is this ClickHouse, or does "
            "a proxy remove the header?",
        )
    if int(written) < rows:
        raise RetryLater(NOT_WRITTEN, f"expected {rows} written rows, found {int(written)}")


async def _execute_data_insert(
    backend: Any, context: Any, runtime: Any, body: Any, retry_body: Callable[[], Awaitable[Any]]
) -> dict[str, Any]:
    """As clickhouse-connect's own, but the body is read. Raises aiohttp.ClientError when it is cut off."""
    from clickhouse_connect.driver._backend import http_async, httpcommon  # noqa: PLC0415 (private: only used here)

    plan = httpcommon.plan_data_insert_request(context, runtime)
    response = await backend.request(
        body,
        plan.params,
        headers=plan.headers,
        server_wait=False,
        retry_body=retry_body,
        retryable=runtime.retryable,
    )
    try:
        await _check_body(response)
        return httpcommon.summary_from_headers(response.headers)
    finally:
        response.close()
        http_async.release_lease(response)


async def _check_body(response: Any) -> None:
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > MAX_ANSWER_BYTES:
            break
    # Inserts ask for an answer that is not compressed.
    _check_text(answer.decode("utf-8", "replace"))


def _check_text(text: str) -> None:
    if not (quoted := text.strip()):
        return
    if code := _CODE.search(quoted):
        raise DatabaseError(quoted[:MAX_QUOTED_CHARACTERS], code=int(code[1]))
    raise RetryLater(ODD_ANSWER, f"expected an empty answer to an insert, found {quoted[:MAX_QUOTED_CHARACTERS]!r}")
