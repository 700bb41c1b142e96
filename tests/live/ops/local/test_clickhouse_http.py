"""The embedded ClickHouse server as its clients meet it: curl, clickhouse-connect, browsers, and people who kill it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import brotli
import clickhouse_connect
import lz4.frame
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from ops.local.clickhouse_http.access import users
from ops.local.clickhouse_http.compression import blocks
from ops.local.clickhouse_http.watchdog import EXIT_CODE
from tests import servers
from tests.polling import eventually

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.live

MANY = "SELECT number, toString(number) AS text FROM numbers(1000000)"
ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"
# One block of a thousand rows, each of which takes seconds.
UNSTOPPABLE = (
    "SELECT sum(editDistance(repeat('a', 60000), concat(repeat('b', 60000), toString(number)))) FROM numbers(1000)"
)


class Embedded(servers.ClickHouseProcess):
    """The server under test, with options."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options

    def command(self) -> list[str]:
        return [*super().command(), *self._options]


class Permissive(Embedded):
    """A server whose readers may call functions that cannot be stopped, as of a list that misses one.

    Short waits; a query that cannot be stopped ends the process when a test has seen what it wanted to see before.
    """

    def command(self) -> list[str]:
        code = (
            "import signal, sys; from ops.local.clickhouse_http import watchdog, __main__; "
            "from ops.local.clickhouse_http.access import allowed; "
            "allowed.is_unstoppable = lambda *_: False; "
            "watchdog.OVERDUE_S = 0.5; watchdog.COMPLAIN_S = 1; watchdog.STUCK_S = 3600; "
            "signal.signal(signal.SIGUSR1, lambda *_: setattr(watchdog, 'STUCK_S', 0)); sys.exit(__main__.main())"
        )
        command = super().command()
        return [sys.executable, "-c", code, *command[command.index("ops.local.clickhouse_http") + 1 :]]

    def end_stuck_queries(self) -> None:
        """As if the time were over that a query may go on after it was told to stop."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str | None:
        return self.headers["X-ClickHouse-Exception-Code"]

    @property
    def summary(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.headers["X-ClickHouse-Summary"])
        return found


class Http:
    """Plain HTTP to the server, one connection a request."""

    def __init__(self, server: Embedded, user: str = users.OPERATOR) -> None:
        self.port = server.port
        self.credentials = {"X-ClickHouse-User": user, "X-ClickHouse-Key": server.passwords[user]}
        self.lines = "".join(f"{name}: {value}\r\n" for name, value in self.credentials.items()).encode()

    def __call__(
        self,
        body: Any = None,
        *,
        method: str = "POST",
        path: str = "/",
        headers: dict[str, str] | None = None,
        **url: Any,
    ) -> Answer:
        with closing(http.client.HTTPConnection(servers.HOST, self.port, timeout=60)) as connection:
            target = f"{path}?{urlencode(url)}" if url else path
            connection.request(method, target, body, self.credentials | (headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def ok(self, sql: str | bytes, **url: Any) -> str:
        """The text of a successful query."""
        answer = self(sql, **url)
        assert answer.status == 200, answer.text
        return answer.text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """One server for the read-mostly tests; a folder with a space, for paths have them."""
    running = Embedded(tmp_path_factory.mktemp("click house"))
    running.start()
    yield running
    running.stop()
    assert running.process is not None
    assert running.process.returncode == 0


@pytest.fixture
def web(server: Embedded) -> Http:
    """Plain HTTP."""
    return Http(server)


@pytest.fixture
def client(server: Embedded) -> Iterator[Client]:
    """clickhouse-connect, with a session as it makes one by default."""
    made = clickhouse_connect.get_client(dsn=server.url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server_with_bounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Two queries at once, and a second for what runs when it is stopped. Not started yet."""
    made = Embedded(tmp_path_factory.mktemp("bounds"), "--max-queries", "2", "--grace-s", "1")
    yield made
    made.stop()


@pytest.fixture
def own_server(server_with_bounds: Embedded) -> Embedded:
    """A server that a test may stop or kill: it is started for the next one, on the same folder."""
    if server_with_bounds.process is None or server_with_bounds.process.poll() is not None:
        server_with_bounds.start()
    return server_with_bounds


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Embedded]:
    """A server on a folder of its own."""
    running = Embedded(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def permissive(tmp_path: Path) -> Iterator[Permissive]:
    """A server for queries that cannot be stopped."""
    running = Permissive(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def table(web: Http, request: pytest.FixtureRequest) -> str:
    """A fresh table (id UInt64, text String), named after the test."""
    name = "t_" + "".join(message if message.isalnum() else "_" for message in request.node.name)
    web.ok(f"CREATE TABLE {name} (id UInt64, text String) ENGINE = MergeTree ORDER BY id")
    return name


def test_health_checks_answer_ok(web: Http) -> None:
    """/ping, / and /replicas_status, as load balancers ask them."""
    for path in ("/ping", "/", "/replicas_status"):
        assert web(method="GET", path=path).text == "Ok.\n"
    assert web(method="HEAD", path="/ping").status == 200
    assert web(method="GET", path="/nothing").status == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_documented_curl_forms_work(server: Embedded, table: str) -> None:
    """Query on stdin, in the URL, split over both, data on stdin, compressed both ways."""

    def curl(*arguments: str, stdin: bytes = b"") -> str:
        made = subprocess.run(["curl", "-sS", *arguments], input=stdin, capture_output=True, check=True, timeout=120)
        return made.stdout.decode()

    url = server.url
    assert curl(f"{url}/", "--data-binary", "@-", stdin=b"SELECT 1") == "1\n"
    assert curl(f"{url}/?query=SELECT%201") == "1\n"
    assert curl(f"{url}/", "-d", "SELECT 1 FORMAT CSV") == "1\n"
    assert curl(f"{url}/?query=SELECT%20", "-d", "1+1") == "2\n"
    assert curl(f"{url}/?query=INSERT%20INTO%20{table}%20FORMAT%20TSV", "--data-binary", "@-", stdin=b"1\ta\n") == ""
    packed = gzip.compress(b"2\tb\n")
    headers = ["-H", "Content-Encoding: gzip", "--data-binary", "@-"]
    assert curl(f"{url}/?query=INSERT%20INTO%20{table}%20FORMAT%20TSV", *headers, stdin=packed) == ""
    assert curl(f"{url}/", "-d", f"SELECT text FROM {table} ORDER BY id") == "a\nb\n"
    assert curl("--compressed", f"{url}/?enable_http_compression=1", "-d", "SELECT 'x'") == "x\n"
    large = b"".join(b"%d\tx\n" % number for number in range(400_000))  # above 1 MB curl asks with Expect: 100-continue
    assert curl(f"{url}/?query=INSERT%20INTO%20{table}%20FORMAT%20TSV", "--data-binary", "@-", stdin=large) == ""
    assert curl(f"{url}/", "-d", f"SELECT count() FROM {table}") == "400002\n"


def test_answers_carry_clickhouses_headers(web: Http) -> None:
    """Query id, format, content type, time zone, summary."""
    answer = web("SELECT number FROM numbers(10)", query_id="my-query", default_format="JSONEachRow")
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-query"
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["Content-Type"] == "application/x-ndjson; charset=UTF-8"
    assert answer.headers["X-ClickHouse-Timezone"]
    assert answer.headers["X-ClickHouse-Server-Display-Name"]
    assert answer.summary["read_rows"] == "10"
    assert answer.summary["result_rows"] == "10"


@pytest.mark.parametrize(
    ("name", "content_type", "start"),
    [
        ("TabSeparated", "text/tab-separated-values; charset=UTF-8", b"1\tx\n"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present", b'"a","b"\n1,"x"\n'),
        ("JSON", "application/json; charset=UTF-8", b"{"),
        ("JSONCompact", "application/json; charset=UTF-8", b"{"),
        ("Pretty", "text/plain; charset=UTF-8", b""),
        ("Parquet", "application/octet-stream", b"PAR1"),
        ("Native", "application/octet-stream", b"\x02\x01"),
        ("jsoneachrow", "application/x-ndjson; charset=UTF-8", b'{"a":1,"b":"x"}\n'),
    ],
)
def test_formats_come_with_their_content_type(web: Http, name: str, content_type: str, start: bytes) -> None:
    """The format is named in the query, in the URL or in a header."""
    sql = "SELECT 1 AS a, 'x' AS b"
    answers = [
        web(f"{sql} FORMAT {name}"),
        web(sql, default_format=name),
        web(sql, headers={"X-ClickHouse-Format": name}),
        web(method="GET", query=f"{sql} -- FORMAT Null\n FORMAT {name} ;"),
    ]
    for answer in answers:
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"] == content_type
        assert answer.body.startswith(start)


def test_json_and_parquet_answers_parse(web: Http) -> None:
    """Formats with a head and a foot are whole, also when they are larger than any buffer."""
    found = json.loads(web.ok(f"{MANY} FORMAT JSON"))
    assert found["rows"] == len(found["data"]) == 1_000_000
    answer = web(f"{MANY} FORMAT Parquet")
    assert pyarrow.parquet.read_table(io.BytesIO(answer.body)).num_rows == 1_000_000
    lines = web.ok(f"{MANY} FORMAT CSVWithNames").splitlines()
    assert (lines[0], len(lines)) == ('"number","text"', 1_000_001)


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW DATABASES",
        "DESCRIBE TABLE system.one",
        "EXISTS TABLE system.one",
        "EXPLAIN SELECT 1",
        "SHOW CREATE DATABASE default",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "WITH 1 AS x SELECT x",
        "SELECT 1 SETTINGS max_threads = 1",
        "SHOW TABLES FROM system LIKE 'o%'",
        "SELECT * FROM (SELECT 1 AS format) ORDER BY format",
        "FROM system.one SELECT dummy",
    ],
)
def test_every_kind_of_reading_statement_answers(web: Http, sql: str) -> None:
    """Not only SELECT returns rows."""
    for name in ("TabSeparated", "JSON"):
        assert web.ok(sql, default_format=name)
    assert json.loads(web.ok(f"{sql.removesuffix(' SETTINGS max_threads = 1')} FORMAT JSONCompact"))["rows"] >= 1


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM nope", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT * FROM nope.nope", 404, 81, "UNKNOWN_DATABASE"),
        ("SELECT nope", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT nope()", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELEC 1", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
        ("", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1 FORMAT Nope", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT toDate('x')", 400, 38, "CANNOT_PARSE_DATE"),
        ("SELECT 1 SETTINGS nope = 1", 404, 115, "UNKNOWN_SETTING"),
        ("SELECT {a:UInt8}", 500, 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT * FROM file('/etc/passwd', LineAsString)", 403, 497, "ACCESS_DENIED"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 500, 358, "INTO_OUTFILE_NOT_ALLOWED"),
        ("INSERT INTO nope FORMAT CSV\n1", 404, 60, "UNKNOWN_TABLE"),
        ("SYSTEM SHUTDOWN", 403, 497, "ACCESS_DENIED"),
    ],
)
def test_errors_have_clickhouses_status_code_and_text(web: Http, sql: str, status: int, code: int, name: str) -> None:
    """Status by code, code in a header, text as clients parse it; and the server lives on."""
    answer = web(sql)
    assert (answer.status, answer.code) == (status, str(code)), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::")
    assert f"({name})" in answer.text
    assert "(official build))" in answer.text
    assert web.ok("SELECT 1") == "1\n"


def test_get_cannot_write(web: Http, table: str) -> None:
    """GET means readonly, whatever the statement."""
    for sql in (f"INSERT INTO {table} VALUES (1, 'a')", f"DROP TABLE {table}", f"INSERT INTO {table} FORMAT TSV\n1\ta"):
        answer = web(method="GET", query=sql)
        assert (answer.status, answer.code) == (500, "164"), answer.text
    assert web(f"DROP TABLE {table}", readonly="1").code == "164"
    assert web.ok(f"SELECT count() FROM {table}") == "0\n"


def test_parameters_are_bound_by_the_engine(web: Http) -> None:
    """{name:Type} from param_name, escaped as ClickHouse escapes them, in reads and in inserts."""
    assert web.ok(
        "SELECT {a:UInt8} + 1, {b:String}, {c:Array(String)}[1]", param_a="5", param_b="it's\\ttab", param_c="['x']"
    ) == ("6\tit's\\ttab\tx\n").replace("it's", "it\\'s")
    assert web("SELECT {a:UInt8}", param_a="x").status >= 400
    web.ok("CREATE TABLE IF NOT EXISTS bound (a UInt8) ENGINE = Memory")
    web.ok("INSERT INTO {t:Identifier} FORMAT CSV\n7", param_t="bound")
    web.ok("INSERT INTO {t:Identifier} VALUES ({v:UInt8})", param_t="bound", param_v="8")
    assert web.ok("SELECT sum(a) FROM {t:Identifier}", param_t="bound") == "15\n"
    assert web("SELECT {t:Identifier}").code == "456"


def test_any_other_key_is_a_setting_of_that_query(web: Http) -> None:
    """Settings reach the engine, wrong ones are its errors, and the next query is free of them."""
    assert web.ok("SELECT getSetting('max_block_size')", max_block_size="77") == "77\n"
    assert web.ok("SELECT getSetting('max_block_size')") != "77\n"
    assert (
        web.ok("SELECT 9007199254740993 AS a FORMAT JSONEachRow", output_format_json_quote_64bit_integers="1")
        == '{"a":"9007199254740993"}\n'
    )
    answer = web("SELECT 1", nope="1")
    assert (answer.status, answer.code) == (404, "115")
    unsafe: dict[str, Any] = {"max_threads = 1, readonly": "1"}
    assert web("SELECT 1", **unsafe).code == "115"
    assert web("SELECT 1", max_threads="x").status == 400
    assert web("SELECT sum(number) FROM numbers(100000000000)", max_execution_time="0.2").status == 408


def test_databases_keep_apart(web: Http) -> None:
    """By URL, by header, and by name."""
    web.ok("CREATE DATABASE IF NOT EXISTS one")
    web.ok("CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = Memory", database="one")
    assert web.ok("SELECT currentDatabase()", database="one") == "one\n"
    assert web("SELECT currentDatabase()", headers={"X-ClickHouse-Database": "one"}).text == "one\n"
    assert web.ok("EXISTS TABLE t", database="one") == "1\n"
    assert web.ok("EXISTS TABLE t") == "0\n"
    assert web("SELECT 1", database="nope").code == "81"


def test_sessions_keep_settings_database_and_temporary_tables(web: Http) -> None:
    """Within one session_id only; a request's own settings do not stay."""
    session: dict[str, Any] = {"session_id": "s1"}
    web.ok("SET max_block_size = 99", **session)
    web.ok("CREATE TEMPORARY TABLE temp (a UInt8)", **session)
    web.ok("INSERT INTO temp FORMAT CSV\n5", **session)
    web.ok("USE system", **session)
    assert (
        web.ok("SELECT sum(a), currentDatabase(), getSetting('max_block_size') FROM temp", **session)
        == "5\tsystem\t99\n"
    )
    assert web.ok("SELECT getSetting('max_block_size')", max_block_size="7", **session) == "7\n"
    assert web.ok("SELECT getSetting('max_block_size')", **session) == "99\n"
    assert web.ok("SELECT currentDatabase()", database="default", **session) == "default\n"
    assert web.ok("SELECT currentDatabase()", **session) == "system\n"
    assert web("SELECT * FROM temp", session_id="s2").code == "60"
    assert web("SELECT 1", session_id="s3", session_check="1").code == "372"
    web.ok("SELECT 1", close_session="1", **session)
    assert web("SELECT 1", session_check="1", **session).code == "372"


def test_plain_requests_leave_nothing_behind(web: Http) -> None:
    """SET, USE and temporary tables outside a session end with their request."""
    for sql in ("SET max_block_size = 55", "USE system", "CREATE TEMPORARY TABLE left_behind (a UInt8)"):
        web.ok(sql)
    assert web.ok("SELECT currentDatabase()") == "default\n"
    assert web.ok("SELECT getSetting('max_block_size')") != "55\n"
    assert web("SELECT * FROM left_behind").code == "60"


@pytest.mark.parametrize(
    ("encoding", "pack", "unpack"),
    [
        ("gzip", gzip.compress, gzip.decompress),
        ("deflate", zlib.compress, zlib.decompress),
        ("br", partial(brotli.compress, quality=4), brotli.decompress),
        ("lz4", lz4.frame.compress, lz4.frame.decompress),
        ("zstd", zstd.compress, zstd.decompress),
    ],
)
def test_bodies_are_compressed_both_ways(web: Http, table: str, encoding: str, pack: Any, unpack: Any) -> None:
    """Requests by Content-Encoding; answers by Accept-Encoding with enable_http_compression, short and streamed."""
    data = b"".join(b"%d\trow %d\n" % (number, number) for number in range(300_000))
    packed = pack(data)
    for body in (packed, iter([packed])):
        answer = web(body, query=f"INSERT INTO {table} FORMAT TSV", headers={"Content-Encoding": encoding})
        assert answer.status == 200, answer.text
        assert answer.summary["written_rows"] == "300000"
    for limit in (10, 600_000):
        for wait in ("0", "1"):
            sql = f"SELECT * FROM {table} ORDER BY id LIMIT {limit}"
            accept = {"Accept-Encoding": encoding}
            plain = web(sql, headers=accept, wait_end_of_query=wait)
            packed = web(sql, headers=accept, wait_end_of_query=wait, enable_http_compression="1")
            assert "Content-Encoding" not in plain.headers
            assert packed.headers["Content-Encoding"] == encoding
            assert unpack(packed.body) == plain.body


@pytest.mark.parametrize("method", ["LZ4", "ZSTD", "NONE"])
def test_bodies_are_compressed_in_clickhouses_own_blocks(web: Http, table: str, method: str) -> None:
    """Statement and data with decompress=1; answers with compress=1, short and streamed, and inside of gzip."""
    data = b"".join(b"%d\trow %d\n" % (number, number) for number in range(100_000))
    packed = b"".join(
        blocks.block(part, blocks.BY_NAME[method]) for part in (b"INSERT INTO ", table.encode(), b" FORMAT TSV\n", data)
    )
    for body in (packed, iter([packed[:9], packed[9:70_000], packed[70_000:]])):
        answer = web(body, decompress="1")
        assert answer.status == 200, answer.text
        assert answer.summary["written_rows"] == "100000"
    asked = {"compress": "1", "network_compression_method": method}
    for limit in (10, 200_000):
        sql = f"SELECT *, id + 0.5 FROM {table} ORDER BY id LIMIT {limit}"
        answer = web(sql, **asked)
        assert b"".join(blocks.decode_blocks(iter([answer.body]))) == web(sql).body
        assert answer.body[16] == blocks.BY_NAME[method]
        twice = web(sql, enable_http_compression="1", headers={"Accept-Encoding": "gzip"}, **asked)
        assert gzip.decompress(twice.body) == answer.body


def test_broken_blocks_are_the_clients_error(web: Http, table: str) -> None:
    """No row, and a text that says which block and what was expected; errors of a statement stay readable."""
    insert = {"query": f"INSERT INTO {table} FORMAT TSV", "decompress": "1"}
    good = blocks.block(b"1\ta\n")
    for body, code in ((b"1\ta\n", "33"), (good[:-1], "33"), (good + b"x" * 30, "89"), (b"x" + good, "89")):
        answer = web(body, **insert)
        assert (answer.status, answer.code) == (400, code), answer.text
        assert "decompress=1" in answer.text
    assert web(good[:4] + b"?" + good[5:], **insert).code == "40"
    assert web.ok(f"SELECT count() FROM {table}") == "0\n"
    assert "no_such_column" in web("SELECT no_such_column", compress="1").text


def test_native_blocks_of_a_newer_protocol_are_refused_in_words(web: Http, table: str) -> None:
    """clickhouse-go shows this text; of blocks without a version it says that they are broken."""
    newer = {"client_protocol_version": "54460"}
    for refused in (
        web("SELECT 1", default_format="Native", **newer),
        web("SELECT 1 FORMAT Native", **newer),
        web(b"", query=f"INSERT INTO {table} FORMAT Native", **newer),
    ):
        assert (refused.status, refused.code) == (501, "48")
        assert "without a version" in refused.text
    assert web("SELECT 1", **newer).text == "1\n"


def test_a_bad_body_is_the_clients_error(web: Http, table: str) -> None:
    """Wrong compression, unknown encoding, wrong data: an error each, and no row."""
    insert = f"INSERT INTO {table} FORMAT TSV"
    assert web(b"junk", query=insert, headers={"Content-Encoding": "zstd"}).code == "561"
    assert web(gzip.compress(b"1\ta\n" * 9)[:-9], query=insert, headers={"Content-Encoding": "gzip"}).code == "354"
    assert web(b"x", query=insert, headers={"Content-Encoding": "rot13"}).status == 415
    assert web(b"x\ty\n", query=insert).status == 400
    assert web(b"\x01", query=f"INSERT INTO {table} FORMAT Native").code
    assert web(b"x", query=f"INSERT INTO {table} FORMAT Nope").code == "73"
    assert web.ok(f"SELECT count() FROM {table}") == "0\n"


def test_insert_forms(web: Http, table: str) -> None:
    """VALUES and FORMAT, in the URL, in the body, split, with settings, with columns, with input(), in chunks."""
    web.ok(f"INSERT INTO {table} VALUES (1, 'a;b'), (1 + 1, 'c')")
    web.ok("VALUES (3, 'd')", query=f"INSERT INTO {table}")
    web.ok(b'{"id": 4}\n{"id": 5}', query=f"INSERT INTO {table} (id) FORMAT JSONEachRow")
    web.ok(f"INSERT INTO {table} SETTINGS max_threads = 1 FORMAT CSV\n6,x\n")
    web.ok(f'INSERT INTO {table} FORMAT JSONEachRow SETTINGS input_format_skip_unknown_fields = 1 {{"id": 7, "no": 1}}')
    web.ok(b"8\n9\n", query=f"INSERT INTO {table} SELECT a, 'in' FROM input('a UInt64') FORMAT CSV")
    web.ok(f"INSERT INTO {table} SELECT 10, 'select'")
    web.ok(b"11\t\xff\xfe\n", query=f"INSERT INTO {table} FORMAT TSV")
    assert web(iter([b"12\tchu", b"nked\n"]), query=f"INSERT INTO {table} FORMAT TSV").status == 200
    values = ", ".join(f"({number}, 'v')" for number in range(13, 40_013))
    web.ok(f"INSERT INTO {table} VALUES {values}")
    web.ok("", query=f"INSERT INTO {table} FORMAT TSV")
    assert web.ok(f"SELECT count(), sum(id) FROM {table}") == f"40012\t{sum(range(40_013))}\n"
    assert web.ok(f"SELECT hex(text) FROM {table} WHERE id = 11") == "FFFE\n"
    asynchronous = web(f"INSERT INTO {table} VALUES (0, 'z')", async_insert="1", wait_for_async_insert="0")
    assert asynchronous.summary["written_rows"] == "1"


def test_an_insert_that_fails_behind_the_parser_is_an_error(web: Http, table: str) -> None:
    """A violated constraint, a default that cannot be computed: no success is told for rows that were not stored."""
    web.ok(f"ALTER TABLE {table} ADD CONSTRAINT small CHECK id < 10")
    web.ok(f"ALTER TABLE {table} ADD COLUMN trap UInt8 DEFAULT toUInt8(if(text = 'bad', 'no number', '0'))")
    assert web(b"1\ta\n11\tb\n", query=f"INSERT INTO {table} (id, text) FORMAT TSV").code == "469"
    assert web(b"1\ta\n2\tbad\n", query=f"INSERT INTO {table} (id, text) FORMAT TSV").code == "6"
    assert web.ok(f"SELECT count() FROM {table}") == "0\n"


def test_native_data_of_any_bytes_arrives(web: Http, table: str) -> None:
    """Native blocks of tens of megabytes, whole or in chunks, hold every byte value."""
    sql = "SELECT number AS id, char(number % 256, 59, 10, 39) AS text FROM numbers(2000000) FORMAT Native"
    block = web(sql).body
    chunks = (block[at : at + 100_000] for at in range(0, len(block), 100_000))
    for body in (block, chunks):
        answer = web(body, query=f"INSERT INTO {table} FORMAT Native")
        assert answer.summary["written_rows"] == "2000000", answer.text
    assert web.ok(f"SELECT count(), uniqExact(text) FROM {table}") == "4000000\t256\n"


def test_an_insert_cut_off_by_its_client_stores_nothing(server: Embedded, web: Http, table: str) -> None:
    """A body shorter than announced, or chunks without an end, are never taken for the whole."""
    query = urlencode({"query": f"INSERT INTO {table} FORMAT TSV"})
    for framing, data in ((b"Content-Length: 5000000", b"1\ta\n"), (b"Transfer-Encoding: chunked", b"4\r\n1\ta\n\r\n")):
        with socket.create_connection((servers.HOST, server.port)) as raw:
            raw.sendall(b"POST /?%b HTTP/1.1\r\nHost: x\r\n%b%b\r\n\r\n%b" % (query.encode(), web.lines, framing, data))
    eventually(lambda: web.ok("SELECT count() FROM system.processes") == "1\n", "the broken inserts to end")
    assert web.ok(f"SELECT count() FROM {table}") == "0\n"


def test_external_tables_come_with_the_query(client: Client, web: Http) -> None:
    """Multipart files are temporary tables of one query."""
    data = ExternalData(file_name="people", data=b"1,ann\n2,bob\n", fmt="CSV", structure="id UInt8, name String")
    sql = "SELECT name FROM people WHERE id = {id:UInt8}"
    for _ in range(2):
        assert client.query(sql, parameters={"id": 2}, external_data=data).result_rows == [("bob",)]
    assert web("SELECT * FROM people").code == "60"


def test_clickhouse_connect_works_as_against_a_server(client: Client) -> None:
    """Handshake, query, bound parameters, command, inserts by row and by column, raw query and insert, streams."""
    assert str(client.server_version).startswith("26.")
    assert client.ping()
    assert client.query("SELECT {a:String} AS a, [1, 2]", parameters={"a": "it's"}).result_rows == [("it's", [1, 2])]
    assert client.command("SELECT 5") == 5
    client.command(
        "CREATE TABLE cc (id UInt64, tags Map(String, String), at DateTime64(9)) ENGINE = MergeTree ORDER BY id"
    )
    names, types = ["id", "tags", "at"], ["UInt64", "Map(String, String)", "DateTime64(9)"]
    client.insert("cc", [[1, {"a": "b"}, 5]], names, column_type_names=types)
    summary = client.insert("cc", [[2, 3], [{}, {}], [6, 7]], names, column_oriented=True)
    assert summary.written_rows == 2
    client.insert("cc", [[4, {}, 8]], names, settings={"async_insert": 1, "insert_deduplication_token": "x"})
    client.raw_insert("cc", ["id"], b"5\n", fmt="CSV")
    assert client.query("SELECT sum(id) FROM cc").first_row == (15,)
    assert client.raw_query("SELECT id FROM cc ORDER BY id LIMIT 1", fmt="CSV") == b"1\n"
    assert client.query("SELECT * FROM cc LIMIT 0").column_names == ("id", "tags", "at")
    with client.query_row_block_stream(MANY, settings={"max_block_size": 10_000}) as stream:
        assert sum(len(block) for block in stream) == 1_000_000
    client.command("DROP TABLE cc")


def test_clickhouse_connect_raises_its_own_errors(client: Client) -> None:
    """With code and name, before a result and in the middle of one."""
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM nope")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    late = "SELECT throwIf(number = 3000000, 'too late') FROM numbers(4000000)"
    with pytest.raises(StreamFailureError, match="too late"), client.query_row_block_stream(late) as stream:
        for _ in stream:
            pass
    with pytest.raises(DatabaseError, match="too late"):
        client.query(late)
    assert client.command("SELECT 1") == 1


def test_an_error_in_mid_stream_is_seen_by_plain_clients(web: Http) -> None:
    """The body ends with the tagged error and without its last chunk; waiting for the end gives a proper status."""
    sql = "SELECT throwIf(number = 3000000, 'too late') FROM numbers(4000000)"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as caught:
        web(sql)
    if isinstance(caught.value, http.client.IncompleteRead):
        assert b"__exception__" in caught.value.partial
        assert b"too late" in caught.value.partial
    assert web(sql, wait_end_of_query="1").code == "395"


@pytest.mark.asyncio
async def test_the_async_client_runs_queries_side_by_side(server: Embedded, table: str) -> None:
    """One client, many tasks, inserts beside reads; nobody waits for a long read."""
    client = await clickhouse_connect.get_async_client(dsn=server.url, autogenerate_session_id=False)
    endless = asyncio.create_task(client.query(ENDLESS))
    inserts = [client.insert(table, [[number, "x"]], ["id", "text"]) for number in range(20)]
    await asyncio.gather(*inserts, *(client.query(f"SELECT count() FROM {table}") for _ in range(20)))
    assert (await client.query(f"SELECT count() FROM {table}")).first_row == (20,)
    assert not endless.done()
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    await client.close()
    quiet = Http(server)
    eventually(lambda: quiet.ok("SELECT count() FROM system.processes") == "1\n", "the abandoned query to end")


def test_readers_see_whole_inserts_only(web: Http, table: str) -> None:
    """Concurrent readers beside a writer: every count is a multiple of a block."""
    block = b"".join(b"%d\tx\n" % number for number in range(1000))
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(int(web.ok(f"SELECT count() FROM {table}")))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        web.ok(block, query=f"INSERT INTO {table} FORMAT TSV")
    done.set()
    for reader in readers:
        reader.join()
    assert web.ok(f"SELECT count() FROM {table}") == "30000\n"
    assert seen
    assert all(count % 1000 == 0 for count in seen)


@pytest.mark.parametrize("sql", [ENDLESS, "SELECT number FROM numbers(1000000000000)"])
def test_a_query_stops_when_its_client_leaves(server: Embedded, web: Http, sql: str) -> None:
    """Computing or sending: nothing runs on for nobody."""
    with socket.create_connection((servers.HOST, server.port)) as raw:
        raw.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (web.lines, len(sql), sql.encode())
        )
        eventually(lambda: web.ok("SELECT count() FROM system.processes") == "2\n", "the query to run")
    eventually(lambda: web.ok("SELECT count() FROM system.processes") == "1\n", "the query to stop")


def test_pages_of_this_machine_may_query_and_others_not(web: Http, tmp_path: Path) -> None:
    """CORS for loopback origins, a refusal for the rest, an option to allow one."""
    answer = web("SELECT 1", headers={"Origin": "http://localhost:3000"})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "http://localhost:3000")
    assert web("SELECT nope", headers={"Origin": "http://localhost"}).headers["Access-Control-Allow-Origin"]
    assert web(MANY, headers={"Origin": "http://localhost"}).headers["Access-Control-Allow-Origin"]
    preflight = web(method="OPTIONS", headers={"Origin": "http://127.0.0.1:1", "Access-Control-Request-Method": "POST"})
    assert preflight.status == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    refused = web("SELECT 1", headers={"Origin": "https://elsewhere.example"})
    assert (refused.status, refused.code) == (403, "497")
    assert "Access-Control-Allow-Origin" not in refused.headers
    open_server = Embedded(tmp_path, "--allow-origin", "https://elsewhere.example")
    open_server.start()
    try:
        allowed = Http(open_server)("SELECT 1", headers={"Origin": "https://elsewhere.example"})
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://elsewhere.example"
    finally:
        open_server.stop()


def test_too_many_queries_are_refused_as_clickhouse_refuses(own_server: Embedded) -> None:
    """Code 202 beyond the limit; a place is free again when a query ends."""
    web = Http(own_server)
    holders = [socket.create_connection((servers.HOST, own_server.port)) for _ in range(2)]
    for holder in holders:
        length = b"Content-Length: %d" % len(ENDLESS)
        holder.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n%b%b\r\n\r\n%b" % (web.lines, length, ENDLESS.encode()))
    eventually(lambda: web("SELECT 1").code == "202", "both places to be taken")
    assert web(method="GET", path="/ping").text == "Ok.\n"
    for holder in holders:
        holder.close()
    eventually(lambda: web("SELECT 1").text == "1\n", "a place to be free")


def test_a_readers_query_ends_at_its_limit_though_nobody_takes_its_rows(server: Embedded) -> None:
    """Its place is free again: neither a long computation nor a client that does not read keeps it."""
    web = Http(server, users.READER)
    long = "SELECT count() FROM numbers(9000000000) WHERE NOT ignore(sipHash64(number))"
    assert web(long, max_execution_time=1).code == "159"
    sql = b"SELECT repeat(toString(number), 100) FROM numbers(9000000000)"
    with socket.create_connection((servers.HOST, server.port)) as raw:
        target = b"POST /?max_execution_time=1&max_result_rows=1000000 HTTP/1.1\r\nHost: x\r\n"
        raw.sendall(b"%b%bContent-Length: %d\r\n\r\n%b" % (target, web.lines, len(sql), sql))
        count = "SELECT count() FROM system.processes"
        eventually(lambda: Http(server).ok(count) == "1\n", "the query to be over")
    assert web(method="GET", path="/ready").text == "Ok.\n"


@pytest.mark.parametrize(
    "call",
    [
        "h3kRing(599686042433355775, toUInt16(1000))",
        "H3KRING(599686042433355775, toUInt16(1000))",
        "h3ToChildren(599405640328611839, 15)",
        "geohashesInBox(-180., -90., 180., 90., 12)",
        "arrayFold((a, x) -> arrayPushBack(a, x), range(3000000), emptyArrayUInt64())",
        "polygonsUnionCartesian([[[(0., 0.)]]], [[[(0., 0.)]]])",
        "levenshteinDistance(repeat('a', 60000), repeat('b', 60000))",
        "arrayMap(x -> h3kRing(x, toUInt16(1000)), [599686042433355775])",
    ],
)
def test_functions_that_cannot_be_stopped_are_not_for_readers(server: Embedded, call: str) -> None:
    """One call of them outlives every limit."""
    web = Http(server, users.READER)
    assert web(f"SELECT length({call})").code in {"46", "497"}
    assert web(f"CREATE TEMPORARY TABLE t (a UInt8, b String DEFAULT toString({call}))").code in {"46", "497"}
    assert web.ok("SELECT greatCircleDistance(0, 0, 0, 0)") == "0\n"


@pytest.mark.parametrize(("stays", "limit_s"), [(True, 1), (False, 60)])
def test_a_query_that_cannot_be_stopped_ends_the_process(permissive: Permissive, stays: bool, limit_s: int) -> None:
    """Whether its client waits or not: /ready says why, the process ends with an error, the rows are there after it."""
    server = permissive
    operator, reader = Http(server), Http(server, users.READER)
    operator.ok("CREATE TABLE kept (a UInt8) ENGINE = MergeTree ORDER BY a")
    operator.ok("INSERT INTO kept VALUES (1)")
    with socket.create_connection((servers.HOST, server.port)) as raw:
        target = b"POST /?max_execution_time=%d HTTP/1.1\r\nHost: x\r\n" % limit_s
        raw.sendall(
            b"%b%bContent-Length: %d\r\n\r\n%b" % (target, reader.lines, len(UNSTOPPABLE), UNSTOPPABLE.encode())
        )
        running = "SELECT count() FROM system.processes WHERE elapsed > 0.5"  # by then it is in its block
        eventually(lambda: operator.ok(running) == "1\n", "the query to run")
        if stays:
            assert b"159" in raw.recv(4096)
        else:
            raw.close()
        eventually(lambda: "expected to end" in operator(method="GET", path="/ready").text, "/ready to say so")
    server.end_stuck_queries()
    assert server.process is not None
    assert server.process.wait(60) == EXIT_CODE
    assert "ended, to be restarted: query" in server.log.read_text()
    server.start()
    assert operator.ok("SELECT a FROM kept") == "1\n"


def test_a_readers_session_cannot_be_filled_without_end(tmp_path: Path) -> None:
    """By many inserts, or by one statement: then the session is closed. Workers and new sessions go on."""
    server = Embedded(tmp_path, "--memory-bytes", str(2 << 30))
    server.start()
    try:
        web = Http(server, users.READER)
        web.ok("CREATE TEMPORARY TABLE t (a String)", session_id="s", session_timeout=3600)
        piece = b"INSERT INTO t FORMAT RawBLOB\n" + b"x" * (8 << 20)
        codes = [web(piece, session_id="s", session_timeout=3600).code for _ in range(34)]
        assert codes.index("241") in range(30, 34)
        assert web("SELECT 1", session_id="s", session_check=1).code in {None, "372"}
        web.ok("CREATE TEMPORARY TABLE t (a String)", session_id="u")
        filled = "INSERT INTO t SELECT repeat('x', 1000) FROM numbers(400000)"
        assert web(filled, session_id="u", session_timeout=3600).code == "241"
        assert web("SELECT count() FROM t", session_id="u").code == "60"
        assert web.ok("SELECT 1") == "1\n"
    finally:
        server.stop()


class Crowded(Embedded):
    """A server that has place for few connections, and waits a second for the head of a request."""

    def command(self) -> list[str]:
        code = (
            "import sys; from ops.local.clickhouse_http import connections, __main__; "
            "connections.HEAD_S = 1.0; connections.MAX_CONNECTIONS = 20; sys.exit(__main__.main())"
        )
        command = super().command()
        return [sys.executable, "-c", code, *command[command.index("ops.local.clickhouse_http") + 1 :]]


def test_connections_of_strangers_keep_no_worker_out(tmp_path: Path) -> None:
    """Heads that are sent by half: more of them than there are places, and for ever."""
    server = Crowded(tmp_path)
    server.start()
    try:
        web = Http(server)
        sockets = [socket.create_connection((servers.HOST, server.port)) for _ in range(60)]
        for one in sockets:
            one.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ")
        web.ok("CREATE TABLE kept (a UInt8) ENGINE = MergeTree ORDER BY a")
        web.ok("INSERT INTO kept VALUES (1)")
        assert web.ok("SELECT count() FROM kept") == "1\n"
        for one in sockets:  # each is closed by the server, whether there was place for it or not
            one.settimeout(60)
            with contextlib.suppress(ConnectionError), one:
                assert one.recv(1) == b""
    finally:
        server.stop()


def test_half_sent_forms_take_the_places_of_readers_only(server: Embedded) -> None:
    """They are few, so what they hold is bounded; others have their own."""
    web = Http(server, users.READER)
    start = b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Type: multipart/form-data; boundary=b\r\n" % web.lines
    start += b"Content-Length: 260000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\nxx"
    holders = [socket.create_connection((servers.HOST, server.port)) for _ in range(20)]
    try:
        for holder in holders:
            holder.sendall(start)
        eventually(lambda: web("SELECT 1").code == "202", "all places of readers to be taken")
        assert Http(server).ok("SELECT 1") == "1\n"
    finally:
        for holder in holders:
            holder.close()
    eventually(lambda: web("SELECT 1").text == "1\n", "a place to be free")


def test_sigterm_has_a_bound_whatever_a_thread_does(own_server: Embedded) -> None:
    """A call that cannot be stopped, sent by the operator, does not keep the process."""
    web = Http(own_server)
    sql = (
        b"SELECT sum(editDistance(repeat('a', 60000), concat(repeat('b', 60000), toString(number)))) FROM numbers(999)"
    )
    with socket.create_connection((servers.HOST, own_server.port)) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (web.lines, len(sql), sql))
        eventually(lambda: web.ok("SELECT count() FROM system.processes") == "2\n", "the query to run")
        own_server.stop()
    assert own_server.process is not None
    assert own_server.process.returncode == 0


def test_a_killed_server_has_every_answered_insert(own_server: Embedded) -> None:
    """kill -9 in the middle of inserting, three times: what was answered is there, and the directory opens."""
    web = Http(own_server)
    web.ok("CREATE DATABASE axonpush")
    web.ok("CREATE TABLE axonpush.t (id UInt64) ENGINE = MergeTree ORDER BY id")
    web.ok("CREATE TABLE in_default (id UInt64) ENGINE = MergeTree ORDER BY id")
    answered = 0
    for _ in range(3):
        answered += _insert_until_killed(own_server, web, answered)
        own_server.start()
        assert int(web.ok(f"SELECT count() FROM axonpush.t WHERE id < {answered}")) == answered
        assert web.ok("EXISTS TABLE in_default") == "1\n"


def _insert_until_killed(server: Embedded, web: Http, start: int) -> int:
    """Inserts one row after another; the server is killed after 25. Returns how many were answered."""
    answered = 0
    killer = threading.Thread(target=server.kill)
    try:
        while True:
            assert web(f"INSERT INTO axonpush.t FORMAT CSV\n{start + answered}\n").status == 200
            answered += 1
            if answered == 25:
                killer.start()
    except (OSError, http.client.HTTPException):
        killer.join()
    return answered


@pytest.mark.long
def test_a_killed_server_opens_with_database_default_empty_or_not(fresh_server: Embedded) -> None:
    """The engine cannot attach a `default` without tables again (error 49); one with tables it must never lose."""
    web = Http(fresh_server)
    for _ in range(2):
        fresh_server.kill()
        fresh_server.start()
        assert web.ok("SHOW TABLES FROM default") == ""
    web.ok("CREATE TABLE kept (id UInt64) ENGINE = MergeTree ORDER BY id")
    web.ok("INSERT INTO kept VALUES (1)")
    for _ in range(2):
        fresh_server.kill()
        fresh_server.start()
        assert web.ok("SELECT id FROM kept") == "1\n"
    web.ok("DROP TABLE kept SYNC")
    fresh_server.kill()
    fresh_server.start()
    assert web.ok("SHOW TABLES FROM default") == ""


def test_a_second_server_on_the_directory_says_so(own_server: Embedded) -> None:
    """Exit 1, one line that names the holder; the first one does not notice."""
    command = own_server.command()
    command[command.index("--port") + 1] = "0"
    told = servers.environment()
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=told)
    assert second.returncode == 1
    assert own_server.process is not None
    assert f"in use by process {own_server.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert Http(own_server).ok("SELECT 1") == "1\n"


def test_a_taken_port_is_said_and_the_directory_let_go(own_server: Embedded, tmp_path: Path) -> None:
    """Exit 1 with the address in the message."""
    other = Embedded(tmp_path / "other")
    other.port = own_server.port
    second = subprocess.run(
        other.command(), capture_output=True, text=True, check=False, timeout=120, env=servers.environment()
    )
    assert second.returncode == 1
    assert f"{own_server.port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_sigterm_lets_running_requests_finish(own_server: Embedded) -> None:
    """A query under way is answered; the process then ends with 0."""
    answers: list[str] = []
    web = Http(own_server)
    thread = threading.Thread(target=lambda: answers.append(web.ok("SELECT sleepEachRow(0.1) FROM numbers(5)")))
    thread.start()
    eventually(lambda: web.ok("SELECT count() FROM system.processes") == "2\n", "the query to run")
    own_server.stop()
    thread.join()
    assert answers == ["0\n" * 5]
    assert own_server.process is not None
    assert own_server.process.returncode == 0


def test_sigterm_ends_what_does_not_finish(own_server: Embedded) -> None:
    """After the grace a query without an end is stopped, answered as cancelled, and the exit is clean."""
    answers: list[Answer] = []
    web = Http(own_server)
    thread = threading.Thread(target=lambda: answers.append(web(ENDLESS)))
    thread.start()
    eventually(lambda: web.ok("SELECT count() FROM system.processes") == "2\n", "the query to run")
    own_server.stop()
    thread.join()
    assert [answer.code for answer in answers] == ["394"]
    assert own_server.process is not None
    assert own_server.process.returncode == 0
