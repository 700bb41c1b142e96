"""URL parameters, headers and forms as a call; error texts and status codes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.clickhouse_http import command, statement
from ops.local.clickhouse_http.config import EngineLimits
from ops.local.clickhouse_http.engine import DirectoryInUse, take_lock
from ops.local.clickhouse_http.errors import ServerError, from_engine, refusal
from ops.local.clickhouse_http.request import ExternalTable, parse_call, setting_pairs, with_form


def test_a_key_that_is_nothing_else_is_a_setting() -> None:
    """Parameters, transport keys and settings are told apart."""
    url = [
        ("query", "SELECT 1"),
        ("param_a", "5"),
        ("max_threads", "1"),
        ("user", "u"),
        ("query_id", "q"),
        ("database", "d"),
    ]
    call = parse_call("POST", url, {})
    assert call.settings == {"max_threads": "1"}
    assert call.params == {"a": "5"}
    assert (call.query, call.query_id, call.database, call.readonly) == (b"SELECT 1", "q", "d", False)


def test_an_insert_is_never_asynchronous() -> None:
    """async_insert is accepted and left out: an answered insert is stored."""
    call = parse_call("POST", [("async_insert", "1"), ("wait_for_async_insert", "0")], {})
    assert call.settings == {}


def test_get_means_readonly_and_headers_fill_in() -> None:
    """GET cannot write; database and format may come in headers."""
    call = parse_call("GET", [], {"X-ClickHouse-Database": "d", "X-ClickHouse-Format": "JSON"})
    assert (call.readonly, call.database, call.default_format) == (True, "d", "JSON")
    assert call.query_id


@pytest.mark.parametrize("text", ["x", "-1", "99999"])
def test_a_session_timeout_is_checked(text: str) -> None:
    """Only seconds up to an hour."""
    with pytest.raises(ServerError, match="INVALID_SESSION_TIMEOUT"):
        parse_call("POST", [("session_id", "s"), ("session_timeout", text)], {})


def test_a_form_brings_query_parameters_and_tables() -> None:
    """Fields are parameters, files are tables described by parameters."""
    url = {"t_types": "Map(String, UInt8), Date", "t_format": "CSV", "max_threads": "1"}
    call = with_form(parse_call("POST", url.items(), {}), {"query": "SELECT 1", "param_x": "1"}, {"t": b"data"}, url)
    assert call.query == b"SELECT 1"
    assert call.params == {"x": "1"}
    assert call.settings == {"max_threads": "1"}
    assert call.tables == (ExternalTable("t", "CSV", "_1 Map(String, UInt8), _2 Date", b"data"),)


def test_a_table_without_structure_is_refused() -> None:
    """The parameters that were expected are named."""
    with pytest.raises(ServerError, match="t_structure"):
        with_form(parse_call("POST", [], {}), {}, {"t": b""}, {})


@given(value=st.text(max_size=60))
def test_a_settings_value_cannot_leave_its_quotes(value: str) -> None:
    """Whatever the value, it is one string literal, and reads back as itself."""
    text = setting_pairs({"max_threads": value}).encode("utf-8", "surrogatepass")
    found = list(statement.tokens(text))
    assert [token.word for token in found[:2]] == ["MAX_THREADS", "="]
    assert [token.kind for token in found[2:]] == ["string"]
    literal = text[found[2].start : found[2].end]
    assert literal == b"'" + value.encode("utf-8", "surrogatepass").replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


@pytest.mark.parametrize("name", ["a b", "a = 1, b", "", "a'", "1a", "a-b"])
def test_a_name_that_is_no_identifier_is_an_unknown_setting(name: str) -> None:
    """It never becomes SQL."""
    with pytest.raises(ServerError, match="UNKNOWN_SETTING"):
        setting_pairs({name: "1"})


@pytest.mark.parametrize(
    ("code", "status"),
    [(60, 404), (81, 404), (62, 400), (53, 400), (497, 403), (115, 404), (159, 408), (241, 500), (202, 500)],
)
def test_status_codes_are_clickhouses(code: int, status: int) -> None:
    """As ClickHouse's HTTP handler maps error codes."""
    assert refusal(code, "X", "x").status == status


def test_the_outermost_code_of_an_engine_error_counts() -> None:
    """Text before the code, and versions inside, are taken off; the version comes once, at the end."""
    error = from_engine(RuntimeError("append failed: Code: 33. DB::Exception: Code: 6. x. (A) (version 26.9.2.1). (B)"))
    assert error.code == 33
    assert error.text == "Code: 33. DB::Exception: Code: 6. x. (A). (B)"
    assert error.body("26.9") == error.text + " (version 26.9 (official build))\n"
    assert from_engine(ValueError("odd")).code == 1001


def test_a_directory_has_one_holder(tmp_path: Path) -> None:
    """The second one is told who holds it."""
    with take_lock(tmp_path), pytest.raises(DirectoryInUse, match=r"in use by process \d+"):
        take_lock(tmp_path)
    take_lock(tmp_path).close()


def test_the_memory_cap_is_half_of_the_machine_unless_said() -> None:
    """Limits of zero mean defaults."""
    assert EngineLimits(memory_bytes=5).memory_cap_bytes() == 5
    assert EngineLimits().memory_cap_bytes() >= 1 << 30
    assert EngineLimits(threads=3).thread_cap() == 3


def test_the_command_starts_this_package() -> None:
    """The argv names this interpreter, the directory, the host and the port."""
    argv = command("/d", port=0)
    start = [sys.executable, "-m", "ops.local.clickhouse_http", "--path", "/d", "--host", "127.0.0.1", "--port", "0"]
    assert argv == [*start, "--database", "axonpush"]


@pytest.mark.parametrize("wanted", ["a\r\nX-Evil: 1", "a\n", "\x00", "\u2028"])
def test_a_query_id_that_is_no_header_is_refused(wanted: str) -> None:
    with pytest.raises(ServerError, match="query_id") as refused:
        parse_call("POST", [("query_id", wanted)], {})
    assert refused.value.code == 36
