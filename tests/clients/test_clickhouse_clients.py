"""Clients of ClickHouse against the embedded engine, with their defaults and as the reader of ready.json."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import pytest

from tests.clients.conftest import Sql, run_program
from tests.clients.otel_processes import Facts, facts_of
from tests.clients.sentry_clients import npm_pin, run, text_pin
from tests.clients.toolchains import (
    go_program,
    java_project,
    npm_project,
    require_curl,
    require_java,
    require_node,
)

pytestmark = pytest.mark.clients

JDBC = text_pin("clickhouse-jdbc/pom.xml", r"clickhouse-jdbc</artifactId>\s*<version>([^<]+)")
GO = text_pin("clickhouse-go/go.mod", r"clickhouse-go/v2 v(\S+)")
NODE = npm_pin("clickhouse-node", "@clickhouse/client")
READS = "queries, long answers, errors"


@pytest.fixture(scope="module")
def trace(system: Any, sql_of_system: Sql) -> str:
    """A trace of one span."""
    address = [system.ready[name] for name in ("url", "api_key", "channel")]
    found: str = run_program("otel_traces", "proto", *map(str, address))["trace_id"]
    sql_of_system.wait(f"SELECT SpanId FROM otel_traces WHERE TraceId = '{found}'", 2)
    return found


@pytest.fixture
def names(sql: Sql, trace: str) -> list[str]:
    """The names of its spans, in order."""
    query = f"SELECT SpanName FROM otel_traces WHERE TraceId = '{trace}' ORDER BY Timestamp"
    return [row["SpanName"] for row in sql.rows(query)]


@pytest.fixture
def login(ready: Facts) -> tuple[str, str, str]:
    """Address without user, user, password."""
    parts = urlsplit(ready["clickhouse_url"])
    return f"{parts.hostname}:{parts.port}", unquote(parts.username or ""), unquote(parts.password or "")


@pytest.mark.proves(
    "clickhouse-jdbc (DBeaver, Metabase)", JDBC, "tables, columns, " + READS, "with its defaults (`compress=1`)"
)
@pytest.mark.parametrize(
    "options", [(), ("decompress", "true"), ("compress", "false")], ids=["default", "both", "none"]
)
def test_jdbc(login: tuple[str, str, str], trace: str, names: list[str], options: tuple[str, ...]) -> None:
    """As DBeaver connects; the same with both bodies compressed and with none."""
    address, user, password = login
    project = java_project("clickhouse-jdbc")
    classpath = f"{project / 'jars'}/*:{project / 'classes'}"
    said = facts_of(
        [require_java(), "-cp", classpath, "Reader", f"http://{address}/axonpush", user, password, trace, *options]
    )
    assert {"events", "otel_traces", "otel_logs", "issues", "traces"} <= set(said["tables"])
    assert {"Timestamp", "TraceId", "SpanAttributes"} <= set(said["columns"])
    assert said["types"] > 20
    assert (said["names"], said["rows"], said["length"]) == (names, 300_000, 50_000)
    assert "no_such_column" in said["error"][0]
    assert "UNKNOWN_IDENTIFIER" in said["error"][0]


@pytest.mark.proves("@clickhouse/client (Node)", NODE, READS, "with its defaults, and with both bodies compressed")
def test_node(login: tuple[str, str, str], trace: str, names: list[str]) -> None:
    """Streams rows, reads errors."""
    address, *user = login
    project = npm_project("clickhouse-node")
    said = facts_of([require_node(), project / "read.mjs", f"http://{address}", *user, trace], cwd=project)
    for answer in (said["plain"], said["compressed"]):
        assert (answer["names"], answer["rows"], answer["ping"]) == (names, 300_000, True)
        assert "no_such_column" in answer["error"]


@pytest.mark.proves("clickhouse-connect (Python)", version("clickhouse-connect"), READS, "with its defaults")
def test_python(ready: Facts, trace: str, names: list[str]) -> None:
    """The address of ready.json is a DSN."""
    client = clickhouse_connect.get_client(dsn=ready["clickhouse_url"], database="axonpush")
    query = "SELECT SpanName FROM otel_traces WHERE TraceId = {trace:String} ORDER BY Timestamp"
    assert [name for (name,) in client.query(query, parameters={"trace": trace}).result_rows] == names
    assert client.query("SELECT number FROM numbers(300000)").row_count == 300_000
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="no_such_column"):
        client.query("SELECT no_such_column FROM otel_traces")
    client.close()


@pytest.mark.proves(
    "clickhouse-go", GO, "connect over HTTP", "refused in a sentence: the embedded engine has no versions of Native"
)
def test_go(login: tuple[str, str, str]) -> None:
    """Its native blocks need a ClickHouse server; the error says so, with and without compression."""
    said = facts_of([go_program("clickhouse-go"), *login])
    for error in (said["plain"], said["lz4"]):
        assert "HTTP 501" in error
        assert "client_protocol_version" in error
        assert "AXONPUSH_CLICKHOUSE_URL" in error


@pytest.mark.proves("curl", "any", "a query with parameters", "any format of ClickHouse")
def test_curl(login: tuple[str, str, str], trace: str, names: list[str]) -> None:
    """As docs/tools.md has it."""
    address, user, password = login
    url = f"http://{address}/?database=axonpush&default_format=JSONColumns&param_trace={trace}"
    query = "SELECT SpanName FROM otel_traces WHERE TraceId = {trace:String} ORDER BY Timestamp"
    said = run([require_curl(), "-sS", "--user", f"{user}:{password}", url, "--data-binary", query])
    assert json.loads(said) == {"SpanName": names}
