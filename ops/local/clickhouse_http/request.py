"""Parses an HTTP request: query, parameters, settings, session, format. Reads no body and runs nothing.

Names and meanings are those of ClickHouse's documentation, "HTTP Interface".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ops.local.clickhouse_http.errors import (
    BAD_ARGUMENTS,
    INVALID_SESSION_TIMEOUT,
    NOT_IMPLEMENTED,
    UNKNOWN_COMPRESSION_METHOD,
    UNKNOWN_SETTING,
    refusal,
)

DEFAULT_FORMAT: Final = "TabSeparated"
DEFAULT_DATABASE: Final = "default"
DEFAULT_SESSION_TIMEOUT_S: Final = 60
MAX_SESSION_TIMEOUT_S: Final = 3600
# From this version of the protocol on, each column of a Native block says how it is serialized. clickhouse-go asks for
# such blocks; clickhouse-connect asks for older ones, and reads blocks without a version too.
CUSTOM_SERIALIZATION_VERSION: Final = 54_454
MAX_VERSION_DIGITS: Final = 10
# Values of network_compression_method. LZ4HC is LZ4 with more work.
BLOCK_METHODS: Final = {"LZ4": "LZ4", "LZ4HC": "LZ4", "ZSTD": "ZSTD", "NONE": "NONE"}

_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_TRUE: Final = frozenset({"1", "true", "on", "yes"})
# Handled here, or meaningless for an embedded engine with one user; never passed on as settings.
OURS: Final = frozenset(
    {
        "add_http_cors_header",
        "async_insert",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "client_protocol_version",
        "close_session",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_native_compression_disable_checksumming_on_decompress",
        "http_response_buffer_size",
        "http_wait_end_of_query",
        "http_zlib_compression_level",
        "network_compression_method",
        "network_zstd_compression_level",
        "password",
        "query",
        "query_id",
        "quota_key",
        "readonly",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
        "wait_for_async_insert",
        "wait_for_async_insert_timeout",
    }
)
_TABLE_SUFFIXES: Final = ("_format", "_types", "_structure")


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """Data sent beside the query as a temporary table ("External Data for Query Processing")."""

    name: str
    format: str
    structure: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SessionWish:
    """The session that a request names: how long it is kept, and whether it must exist."""

    id: str
    timeout_s: int
    must_exist: bool
    close: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A request without its body. `database` is empty when the request names none."""

    user: str = ""
    query: bytes = b""
    database: str = ""
    default_format: str = DEFAULT_FORMAT
    query_id: str = ""
    session: SessionWish | None = None
    settings: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tables: tuple[ExternalTable, ...] = ()
    readonly: bool = False
    wait_end: bool = False
    compress: bool = False
    # ClickHouse's own block compression, of the request's body and of the answer's.
    body_in_blocks: bool = False
    answer_in_blocks: bool = False
    block_method: str = "LZ4"
    # The revision of the native protocol for which the client reads and writes blocks; 0 = none.
    protocol_version: int = 0


def is_true(value: str | None) -> bool:
    """Parses ClickHouse's booleans in URLs."""
    return value is not None and value.lower() in _TRUE


def parse_call(method: str, parameters: Iterable[tuple[str, str]], headers: Mapping[str, str], user: str = "") -> Call:
    """The call for a URL's parameters and a request's headers, by an authenticated user. Raises ServerError."""
    named = dict(parameters)
    return Call(
        user=user,
        query=named.get("query", "").encode("utf-8", "surrogateescape"),
        database=named.get("database") or headers.get("X-ClickHouse-Database", ""),
        default_format=headers.get("X-ClickHouse-Format") or named.get("default_format") or DEFAULT_FORMAT,
        query_id=_query_id(named),
        session=_session(named),
        settings=_settings(named),
        params=_params(named),
        readonly=method in ("GET", "HEAD") or named.get("readonly", "0") not in ("0", ""),
        wait_end=is_true(named.get("wait_end_of_query")) or is_true(named.get("http_wait_end_of_query")),
        compress=is_true(named.get("enable_http_compression")),
        body_in_blocks=is_true(named.get("decompress")),
        answer_in_blocks=is_true(named.get("compress")),
        block_method=_block_method(named.get("network_compression_method", "")),
        protocol_version=_protocol_version(named.get("client_protocol_version", "")),
    )


def _query_id(named: Mapping[str, str]) -> str:
    """The wanted one, which goes into a header of the answer; else one of ours."""
    wanted = named.get("query_id", "")
    if not wanted.isprintable():
        text = "query_id: expected printable characters, found a line break or another control character"
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", text)
    return wanted or str(uuid.uuid4())


def _block_method(wanted: str) -> str:
    """How the blocks of an answer are compressed."""
    if (wanted or "LZ4").upper() not in BLOCK_METHODS:
        detail = f"network_compression_method: expected one of {', '.join(BLOCK_METHODS)}, found '{wanted[:100]}'"
        raise refusal(UNKNOWN_COMPRESSION_METHOD, "UNKNOWN_COMPRESSION_METHOD", detail)
    return BLOCK_METHODS[(wanted or "LZ4").upper()]


def _protocol_version(text: str) -> int:
    if text and not (text.isdecimal() and len(text) < MAX_VERSION_DIGITS):
        detail = f"client_protocol_version: expected a number, found '{text[:100]}'"
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", detail)
    return int(text or 0)


def check_native(call: Call, format_name: str) -> None:
    """Raises ServerError 48 (HTTP 501) for Native data in a form that the embedded engine neither writes nor reads.

    A client that got the older form would only say that a block is broken.
    """
    if call.protocol_version < CUSTOM_SERIALIZATION_VERSION or format_name != "Native":
        return
    text = (
        f"this client asks for Native blocks of protocol version {call.protocol_version} (client_protocol_version), "
        "expected none: the embedded engine writes and reads Native blocks without a version. Use another format, such "
        "as RowBinaryWithNamesAndTypes or JSONEachRow, without client_protocol_version, or connect this client to a "
        "ClickHouse server of its own (AXONPUSH_CLICKHOUSE_URL)"
    )
    raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", text)


def _settings(named: Mapping[str, str], tables: Iterable[str] = ()) -> dict[str, str]:
    """Every other key is a setting, except keys that describe external tables."""
    described = {table + suffix for table in tables for suffix in _TABLE_SUFFIXES}
    return {
        name: value
        for name, value in named.items()
        if name not in OURS and name not in described and not name.startswith("param_")
    }


def _params(named: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("param_"): value for name, value in named.items() if name.startswith("param_")}


def _session(named: Mapping[str, str]) -> SessionWish | None:
    if not (session_id := named.get("session_id")):
        return None
    text = named.get("session_timeout", "") or str(DEFAULT_SESSION_TIMEOUT_S)
    if not text.isdecimal() or int(text) > MAX_SESSION_TIMEOUT_S:
        detail = f"Invalid session timeout '{text}': expected seconds, at most {MAX_SESSION_TIMEOUT_S}"
        raise refusal(INVALID_SESSION_TIMEOUT, "INVALID_SESSION_TIMEOUT", detail)
    return SessionWish(session_id, int(text), is_true(named.get("session_check")), is_true(named.get("close_session")))


def with_form(call: Call, fields: Mapping[str, str], files: Mapping[str, bytes], url: Mapping[str, str]) -> Call:
    """The call with a multipart body added: query, parameters, settings, external tables. Raises ServerError."""
    named = {**url, **fields}
    tables = tuple(_table(name, data, named) for name, data in files.items())
    query = fields.get("query", "").encode("utf-8", "surrogateescape")
    return replace(
        call,
        query=b"\n".join(part for part in (call.query, query) if part),
        settings=_settings(named, files),
        params=_params(named),
        tables=tables,
    )


def _table(name: str, data: bytes, named: Mapping[str, str]) -> ExternalTable:
    if not _SETTING_NAME.fullmatch(name):
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", f"External table '{name}': expected an identifier as its name")
    structure = named.get(f"{name}_structure", "")
    if not structure and (types := named.get(f"{name}_types", "")):
        structure = ", ".join(f"_{index} {kind}" for index, kind in enumerate(_split_types(types), 1))
    if not structure:
        text = f"External table '{name}': expected the parameter {name}_structure or {name}_types, found neither"
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", text)
    return ExternalTable(name, named.get(f"{name}_format", DEFAULT_FORMAT), structure, data)


def _split_types(types: str) -> list[str]:
    """Splits at commas outside brackets: `Map(String, UInt8), Date` is two types."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(types):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(types[start:index].strip())
            start = index + 1
    return [*parts, types[start:].strip()]


def setting_pairs(settings: Mapping[str, str]) -> str:
    """`name = 'value', …` for SET. Names must be identifiers; values are quoted."""
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise refusal(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
    return ", ".join(f"{name} = {quote(value)}" for name, value in settings.items())


def quote(value: str) -> str:
    """A string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
