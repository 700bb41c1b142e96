"""Commands on a ClickHouse that is stopped, away or refuses the password: an answer soon, in words."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from ops.cli import servers, sql
from ops.cli.unreachable import reason_of, unknown_table
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from ops.status import parts
from tests.servers import HOST

LIBRARY_TEXTS = ("HTTPConnectionPool", "Http Driver", "Max retries", "urllib3")


def run_sql(settings: Settings) -> None:
    sql.run(settings, sql.Query("SELECT 2"), Console())


def open_client(settings: Settings) -> None:
    servers.open_clickhouse(settings)


@contextmanager
def server(answer: Callable[[bytes], bytes | None]) -> Iterator[tuple[Settings, list[bytes]]]:
    """Listens; `answer` gives the reply to a request, None for silence. Also what was asked."""
    asked: list[bytes] = []
    held: list[socket.socket] = []
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                held.append(connection)
                asked.append(connection.recv(65_536))
                if (reply := answer(asked[-1])) is not None:
                    connection.sendall(reply)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield Settings(clickhouse_url=f"http://{HOST}:{listening.getsockname()[1]}"), asked
        listening.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


@pytest.mark.parametrize("command", [run_sql, open_client])
def test_a_stopped_server_is_given_up_before_the_statement(
    command: Callable[[Settings], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections and never answers, as after SIGSTOP: one small question, then the sentence."""
    for module in (servers, sql):
        monkeypatch.setattr(module, "FIRST_ANSWER_S", 1.0)
    with (
        server(lambda _asked: None) as (settings, asked),
        pytest.raises(Failed, match="found no answer in time") as raised,
    ):
        command(settings)
    assert len(asked) == 1
    assert b"SELECT 2" not in asked[0]
    assert not any(word in str(raised.value) for word in LIBRARY_TEXTS)


def test_a_long_statement_may_run_longer_than_the_first_answer() -> None:
    """The limit is for the first small question only."""
    with server(lambda _asked: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1\n") as (settings, asked):
        connection, target = sql._connection(settings)
        assert connection.timeout == servers.FIRST_ANSWER_S
        sql._check_alive(connection, target, settings)
        assert connection.timeout == sql.TIMEOUT_S
        connection.close()
    assert b"SELECT 1" in asked[0] or asked[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("command", [run_sql, open_client])
def test_a_server_that_is_away_is_said_in_two_words(
    command: Callable[[Settings], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Not the classes of a library, and no lines of its own before it."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        settings = Settings(clickhouse_url=f"http://{HOST}:{taken.getsockname()[1]}")
        with pytest.raises(Failed, match=r"could not connect \(connection refused\)") as raised:
            command(settings)
    assert not any(word in str(raised.value) for word in LIBRARY_TEXTS)
    servers.quiet_libraries()
    for name in ("clickhouse_connect.driver.httpclient", "urllib3.connectionpool"):
        parent = logging.getLogger(name.split(".", maxsplit=1)[0])
        assert parent.handlers, "without a handler, Python prints warnings on stderr by itself"


@pytest.mark.parametrize("command", [run_sql, open_client])
def test_a_refused_password_names_the_variable(command: Callable[[Settings], None]) -> None:
    told = b"Code: 516. DB::Exception: default: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"
    reply = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(told), told)
    with (
        server(lambda _asked: reply) as (settings, _),
        pytest.raises(Failed, match="AXONPUSH_CLICKHOUSE_PASSWORD"),
    ):
        command(settings)


@pytest.mark.parametrize("command", [run_sql, open_client])
@pytest.mark.parametrize(("line", "found"), [("404 Not Found", "HTTP status 404"), ("200 OK", "not ClickHouse's")])
def test_another_server_is_not_called_unconnected(command: Callable[[Settings], None], line: str, found: str) -> None:
    """As the receiver's port in AXONPUSH_CLICKHOUSE_URL: it answers, and its page fills no screen."""
    page = b'{"detail":"path: expected an endpoint"}' + b" " * 500
    reply = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (line.encode(), len(page), page)
    with server(lambda _asked: reply) as (settings, _), pytest.raises(Failed) as raised:
        command(settings)
    text = str(raised.value)
    assert text.startswith(f"expected ClickHouse at {settings.clickhouse_url}, found another server (")
    assert found in text
    assert text.endswith(": correct AXONPUSH_CLICKHOUSE_URL")
    assert "could not connect" not in text
    assert parts.reason_of(raised.value) == text


def test_a_sentence_of_ours_is_not_cut() -> None:
    """`name the --data-dir of .`: the end says what to do."""
    text = "expected " + "x" * 600 + " of an `axonpush up`"
    assert parts.reason_of(Failed(text)) == text
    assert reason_of(ValueError("y" * 600)) == "y" * 199 + "…"


def test_what_a_server_said_is_kept() -> None:
    """Only texts of libraries are replaced."""
    assert reason_of(ValueError("Code: 60. Unknown table\nmore")) == "Code: 60. Unknown table"


@pytest.mark.parametrize(
    "text",
    [
        "Code: 60. DB::Exception: Unknown table expression identifier 'event_rows' in scope SELECT a FROM event_rows",
        "Code: 60. DB::Exception: Table axonpush.event_rows does not exist. (UNKNOWN_TABLE)",
        "Code: 60. DB::Exception: Table `axonpush`.`event_rows` doesn't exist. (UNKNOWN_TABLE)",
    ],
)
def test_a_table_that_does_not_exist_is_named_without_the_query(text: str) -> None:
    """The definition of a view would fill pages."""
    told = unknown_table(text)
    assert told.startswith("Unknown table event_rows (")
    assert "axonpush migrate" in told
    assert "SELECT" not in told
    assert unknown_table("Code: 62. Syntax error") == "Code: 62. Syntax error"


def test_a_slip_in_the_name_of_a_table_is_no_lost_table() -> None:
    """ClickHouse says what it may be."""
    text = "Code: 60. Unknown table expression identifier 'evnts' in scope SELECT 1. Maybe you meant: 'events'. "
    assert "Unknown table evnts (ClickHouse's code 60): did you mean events? If" in unknown_table(text)
