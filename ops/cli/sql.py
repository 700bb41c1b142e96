"""Command `axonpush sql`: runs one query over HTTP and prints a table or the server's format."""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlencode, urlsplit

from ops.cli.servers import FIRST_ANSWER_S
from ops.cli.terminal import counted, printable
from ops.cli.unreachable import NOT_CLICKHOUSE, says_refused_user, unknown_table, unreachable
from ops.local.clickhouse_http.access.users import READER
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from rich.console import Console

    from ops.runtime.settings import Settings

TABLE_FORMAT: Final = "JSONCompactStrings"
JSON_FORMAT: Final = "JSONEachRow"
# Rows shown in a table; --format streams all of them.
MAX_TABLE_ROWS: Final = 1000
# A query may run for long; before it, the server must answer a small one.
TIMEOUT_S: Final = 600.0
PROBE: Final = b"SELECT 1"
ANSWER: Final = "1"
CLICKHOUSE_ERROR: Final = "Code: "
CHUNK_BYTES: Final = 65_536
# A pipe has no width (the console says a very large one, whatever COLUMNS says), but nobody reads a table of a hundred
# columns there either.
MAX_TABLE_WIDTH: Final = 400
# A long text wraps within its cell; a table of such cells is still readable.
MAX_CELL_WIDTH: Final = 60
MAX_TOKENS: Final = 8
_EXPECTED_TOKENS: Final = re.compile(r"Expected one of: (.*?)(?:\.(?= \())", re.DOTALL)
EMPTY: Final = ("", "[]", "{}", None)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and its output format: `format` is a ClickHouse format, None for a table."""

    text: str
    format: str | None = None
    as_json: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)


def run(settings: Settings, query: Query, console: Console) -> None:
    """Runs the query and prints the answer. Raises Failed with the server's message and code."""
    connection, target = _connection(settings)
    try:
        _check_alive(connection, target, settings)
        connection.request(
            "POST", f"{target}?{urlencode(_parameters(settings, query))}", query.text.encode(), _headers(settings)
        )
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            text = answer.read().decode("utf-8", "replace").strip()
            raise Failed((shorten_error(text) or f"ClickHouse answered {answer.status}") + hint(text, settings))
        if answer.headers.get("X-ClickHouse-Format") == TABLE_FORMAT and query.format is None and not query.as_json:
            _print_table(console, answer.read())
        else:  # a format was given, or the query has a FORMAT clause
            _copy(answer)
    except (OSError, http.client.HTTPException) as error:
        raise Failed(unreachable("ClickHouse", settings.clickhouse_url, "AXONPUSH_CLICKHOUSE_URL", error)) from error
    finally:
        connection.close()


def shorten_error(error: str) -> str:
    """An error of the server without its list of every token that could stand there, which may fill a page."""

    def few(match: re.Match[str]) -> str:
        tokens = match[1].split(", ")
        more = f" and {len(tokens) - MAX_TOKENS} more" if len(tokens) > MAX_TOKENS else ""
        return f"Expected one of: {', '.join(tokens[:MAX_TOKENS])}{more}."

    return _EXPECTED_TOKENS.sub(few, unknown_table(error))


def hint(error: str, settings: Settings) -> str:
    """What to do about a missing right; empty for other errors."""
    if "ACCESS_DENIED" not in error and not error.startswith("Code: 497"):
        return ""
    user = settings.clickhouse_user
    if user == READER:
        return (
            f". User {READER} only reads the tables and views of one database. To change something: `axonpush sql "
            "--operator` (with `up`), or AXONPUSH_CLICKHOUSE_USER=axonpush_operator"
        )
    return f". User {user} lacks this right: ops/deploy/clickhouse/users.d/axonpush.xml says what each user may do"


def _check_alive(connection: http.client.HTTPConnection, target: str, settings: Settings) -> None:
    """Raises TimeoutError if nothing answers at all, and Failed if user or password are refused."""
    connection.request("POST", target, PROBE, _headers(settings))
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace").strip()
    if answer.status != http.HTTPStatus.OK and says_refused_user(text):
        refused = PermissionError(text)
        raise Failed(unreachable("ClickHouse", settings.clickhouse_url, "AXONPUSH_CLICKHOUSE_URL", refused))
    if text != ANSWER and CLICKHOUSE_ERROR not in text:
        other = OSError(f"HTTP status {answer.status}" if answer.status != http.HTTPStatus.OK else NOT_CLICKHOUSE)
        raise Failed(unreachable("ClickHouse", settings.clickhouse_url, "AXONPUSH_CLICKHOUSE_URL", other))
    if connection.sock is not None:
        connection.sock.settimeout(TIMEOUT_S)
    connection.timeout = TIMEOUT_S


def _connection(settings: Settings) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(settings.clickhouse_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failed("expected AXONPUSH_CLICKHOUSE_URL like http://host:8123, found another form")
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    return kind(parts.hostname, parts.port or (8443 if secure else 8123), timeout=FIRST_ANSWER_S), parts.path or "/"


def _parameters(settings: Settings, query: Query) -> dict[str, str]:
    parameters = {"database": settings.clickhouse_database, "default_format": query.format or TABLE_FORMAT}
    if query.as_json:
        parameters |= {"default_format": JSON_FORMAT, "output_format_json_array_of_rows": "1"}
    return parameters | {f"param_{name}": value for name, value in query.parameters.items()}


def _headers(settings: Settings) -> dict[str, str]:
    return {
        "X-ClickHouse-User": settings.clickhouse_user,
        "X-ClickHouse-Key": settings.clickhouse_password.get_secret_value(),
        "Content-Type": "text/plain; charset=utf-8",
    }


def _copy(answer: http.client.HTTPResponse) -> None:
    out: BinaryIO = sys.stdout.buffer
    while chunk := answer.read(CHUNK_BYTES):
        out.write(chunk)
    out.flush()


def _print_table(console: Console, body: bytes) -> None:
    from rich.table import Table  # noqa: PLC0415 (only when a table is wanted)
    from rich.text import Text  # noqa: PLC0415

    if not body.strip():  # a statement without a result
        return
    answer: dict[str, Any] = json.loads(body)
    if _width(answer) > min(console.width, MAX_TABLE_WIDTH):
        _print_vertically(console, answer)
        return
    table = Table(header_style="bold")
    for column in answer["meta"]:
        table.add_column(column["name"], justify="right" if _is_number(column["type"]) else "left", overflow="fold")
    rows = answer["data"]
    for row in rows[:MAX_TABLE_ROWS]:
        table.add_row(*(Text(_cell_text(value)) for value in row))
    console.print(table)
    _print_number(console, len(rows))


def _print_number(console: Console, number: int) -> None:
    more = number - MAX_TABLE_ROWS
    console.print(counted(number, "row") + (f", {more} not shown: --format TSV shows all" if more > 0 else ""))


def _width(answer: dict[str, Any]) -> int:
    """The width of a table with whole values, or the most that can be read if that is less."""
    names = [column["name"] for column in answer["meta"]]
    rows = answer["data"][:MAX_TABLE_ROWS]
    widest = [
        max([len(name), *(min(MAX_CELL_WIDTH, len(_cell_text(row[place]))) for row in rows)])
        for place, name in enumerate(names)
    ]
    return sum(widest) + 3 * len(names) + 1


def _print_vertically(console: Console, answer: dict[str, Any]) -> None:
    """One line for each value: for results wider than the terminal."""
    names = [column["name"] for column in answer["meta"]]
    width = max(map(len, names), default=0)
    for number, row in enumerate(answer["data"][:MAX_TABLE_ROWS], 1):
        console.print(f"─ row {number} ─", style="bold", markup=False, highlight=False)
        for name, value in zip(names, row, strict=True):
            if value not in EMPTY:
                console.print(f"{name:>{width}}: {_cell_text(value)}", markup=False, highlight=False, soft_wrap=True)
    _print_number(console, len(answer["data"]))
    console.print(
        "shown vertically and without empty values, because a table would be too wide; --format chooses a form"
    )


def _is_number(type_name: str) -> bool:
    return re.fullmatch(r"(Nullable\()?(U?Int\d+|Float\d+|Decimal.*)\)?", type_name) is not None


def _cell_text(value: object) -> str:
    return printable("NULL" if value is None else str(value))
