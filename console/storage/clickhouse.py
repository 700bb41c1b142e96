"""Queries and inserts over the ClickHouse HTTP interface. SQL is ours; every value of a client is a parameter.

Each query is bounded in time, memory, rows read and rows answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import orjson
import structlog

from console import metrics
from console.api.errors import ApiError
from console.settings import ConsoleSettings

CONNECT_S: Final = 5.0
# Of one answer, rows with their payloads included.
MAX_ANSWER_BYTES: Final = 64_000_000
MAX_ROWS: Final = 10_000
# ClickHouse reads 262,144 bytes of a statement (max_query_size); ours are ASCII.
MAX_SQL_CHARACTERS: Final = 250_000
RETRY_AFTER_S: Final = 5
# Codes of ClickHouse for a question that is too wide: time, memory, rows, bytes.
_TOO_WIDE: Final = frozenset({"159", "160", "158", "241", "307", "396"})
# UNKNOWN_TABLE, ACCESS_DENIED.
_NOT_THERE: Final = frozenset({"60", "497"})

log = structlog.get_logger()

Row = dict[str, Any]
Value = str | int | float | Sequence[str] | Sequence[int]


class NotThere(ApiError):
    """A table does not exist, or this user may not read it: tables or rights are those of an older version."""


class ClickHouse:
    """One HTTP client of ClickHouse for this process. `close` it."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(settings.console_queries_at_once)
        self._session = aiohttp.ClientSession(
            headers={
                "X-ClickHouse-User": settings.clickhouse_user,
                "X-ClickHouse-Key": settings.clickhouse_password.get_secret_value(),
            },
            timeout=aiohttp.ClientTimeout(total=settings.console_query_timeout_s + CONNECT_S, sock_connect=CONNECT_S),
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def query(self, sql: str, **parameters: Value) -> list[Row]:
        """The rows of a query of ours. Raises ApiError 503, and 400 if it was too wide a question."""
        limits = {
            "default_format": "JSONEachRow",
            "output_format_json_quote_64bit_integers": "0",
            "output_format_json_quote_denormals": "0",
            # Senders' bytes need not be UTF-8 (a dead letter is kept as it came), and a text can be cut in a character.
            "output_format_json_validate_utf8": "1",
            "max_execution_time": str(int(self._settings.console_query_timeout_s)),
            "max_memory_usage": str(self._settings.console_query_memory_bytes),
            "max_rows_to_read": str(self._settings.console_query_rows),
            "max_result_rows": str(MAX_ROWS),
            "result_overflow_mode": "break",
            "cancel_http_readonly_queries_on_client_close": "1",
        }
        if len(sql) > MAX_SQL_CHARACTERS:
            metrics.QUERY_FAILURES.labels("too_long").inc()
            raise ApiError(400, "query: expected a shorter one, found one with too many values, tags or fields")
        form_values = {f"param_{name}": text_of(value) for name, value in parameters.items()}
        body = await self._ask(limits, form_values, sql.encode())
        return [orjson.loads(line) for line in body.splitlines() if line]

    async def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Inserts rows into a table of ours, and returns when they are stored. Raises ApiError 503."""
        lines = b"\n".join(orjson.dumps(row) for row in rows)
        options = {"date_time_input_format": "best_effort", "send_progress_in_http_headers": "0"}
        await self._ask(options, {}, b"INSERT INTO %s FORMAT JSONEachRow\n%s" % (table.encode(), lines))

    async def _ask(self, options: Mapping[str, str], form_values: Mapping[str, str], sql: bytes) -> bytes:
        began_s = time.monotonic()
        form = aiohttp.FormData(default_to_multipart=True) if form_values else None
        parameters = {"database": self._settings.clickhouse_database, **options}
        if form is not None:  # not in the address, which is limited and logged
            for name, value in form_values.items():
                form.add_field(name, value)
            form.add_field("query", sql.decode())
        try:
            async with (
                self._places,
                self._session.post(
                    self._settings.clickhouse_url, params=parameters, data=form if form is not None else sql
                ) as response,
            ):
                body = await _bounded(response)
                if response.status != 200:
                    raise _refused(response)
                if b"__exception__" in body[-4096:] and response.headers.get("X-ClickHouse-Exception-Tag"):
                    raise _unavailable("cut_off")
                return body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("clickhouse_unreachable", error=type(error).__name__)
            raise _unavailable("unreachable") from error
        finally:
            metrics.QUERY_SECONDS.observe(time.monotonic() - began_s)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _too_wide("answer")
    return bytes(body)


def _refused(response: aiohttp.ClientResponse) -> ApiError:
    code = response.headers.get("X-ClickHouse-Exception-Code", "")
    if code in _TOO_WIDE:
        return _too_wide(code)
    # Not its text, which may quote a value of a client; with the id it is found in ClickHouse's own log.
    log.error(
        "clickhouse_refused",
        code=code,
        status=response.status,
        query_id=response.headers.get("X-ClickHouse-Query-Id", ""),
    )
    unavailable = _unavailable(code or "unknown")
    if code in _NOT_THERE:
        return NotThere(unavailable.status, unavailable.detail, unavailable.headers)
    return unavailable


def _too_wide(reason: str) -> ApiError:
    metrics.QUERY_FAILURES.labels(reason).inc()
    expected = "query: expected one within the time and memory limits, found one that exceeds them"
    return ApiError(400, f"{expected}: ask for fewer projects or a shorter time (statsPeriod)")


def _unavailable(reason: str) -> ApiError:
    metrics.QUERY_FAILURES.labels(reason).inc()
    return ApiError(503, "ClickHouse does not answer; send the same again", {"Retry-After": str(RETRY_AFTER_S)})


def text_of(value: Value) -> str:
    """A parameter as ClickHouse reads it: escaped like a field of tab-separated text; lists as array literals."""
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, int | float):
        return str(value)
    return "[" + ",".join(_literal(member) for member in value) + "]"


def _literal(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    # Twice: once as a literal in the array, once as a field.
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return _escaped(f"'{quoted}'")


def _escaped(text: str) -> str:
    replaced = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return replaced.replace("\0", "\\0")
