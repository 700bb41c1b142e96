"""Connections of the engine's port: a head has a deadline, and strangers leave room for those with a password."""

from __future__ import annotations

import asyncio
from typing import Any

from ops.local.clickhouse_http.connections import HEAD_S, IDLE_S, Connection, Connections


class _Inner(asyncio.Protocol):
    """Stands for aiohttp's protocol; writes down what is handed on."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard.append(transport)

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool | None:
        self.heard.append("eof")
        return None

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append(exc)


class _Transport(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


class _Port:
    """A port with an injected clock."""

    def __init__(self, max_count: int = 3) -> None:
        self.now_s = 0.0
        self.connections = Connections(_Inner, max_count, lambda: self.now_s)

    def open(self) -> tuple[Connection, _Transport]:
        connection, transport = self.connections(), _Transport()
        connection.connection_made(transport)
        return connection, transport

    def look(self, at_s: float) -> None:
        self.now_s = at_s
        self.connections.look()


def test_everything_is_handed_on() -> None:
    port = _Port()
    connection, transport = port.open()
    connection.data_received(b"GET")
    connection.pause_writing()
    connection.resume_writing()
    connection.eof_received()
    connection.connection_lost(None)
    assert isinstance(connection.inner, _Inner)
    assert connection.inner.heard == [transport, b"GET", "pause", "resume", "eof", None]
    assert len(port.connections) == 0


def test_who_sends_no_head_is_closed() -> None:
    """Nothing, or a byte now and then: the time is that of the whole head."""
    port = _Port()
    _, silent = port.open()
    slow, slow_transport = port.open()
    for second in range(int(HEAD_S)):
        port.look(second)
        slow.data_received(b"X")
    port.look(HEAD_S)
    assert (silent.aborted, slow_transport.aborted) == (False, False)
    port.look(HEAD_S + 1)
    assert (silent.aborted, slow_transport.aborted, len(port.connections)) == (True, True, 0)


def test_a_request_may_take_its_time_and_the_next_head_may_not() -> None:
    port = _Port()
    connection, transport = port.open()
    connection.data_received(b"head")
    connection.request_began()
    connection.known = True
    port.look(10_000)
    connection.data_received(b"body")
    connection.request_ended()
    port.look(13_000)  # an idle connection of somebody known stays
    assert not transport.aborted
    connection.data_received(b"half a he")
    port.look(13_000 + HEAD_S)
    assert not transport.aborted
    port.look(13_001 + HEAD_S)
    assert transport.aborted


def test_an_idle_stranger_is_closed() -> None:
    port = _Port()
    connection, transport = port.open()
    connection.request_began()
    connection.request_ended()
    port.look(IDLE_S)
    assert not transport.aborted
    port.look(IDLE_S + 1)
    assert transport.aborted


def test_beyond_the_bound_strangers_go_before_those_with_a_password() -> None:
    port = _Port(max_count=3)
    worker, worker_transport = port.open()
    worker.request_began()
    worker.known = True
    worker.request_ended()
    _, first = port.open()
    _, second = port.open()
    strangers = [port.open()[1] for _ in range(5)]
    assert (first.aborted, second.aborted) == (True, True)
    assert [one.aborted for one in strangers] == [True, True, True, False, False]
    assert not worker_transport.aborted
    newest, newest_transport = port.open()  # a worker's next connection finds a place too
    newest.request_began()
    assert (newest_transport.aborted, len(port.connections)) == (False, 3)


def test_what_is_handled_is_not_cut_off_for_a_new_one() -> None:
    port = _Port(max_count=2)
    handled = [port.open() for _ in range(2)]
    for connection, _ in handled:
        connection.request_began()
    _, late = port.open()
    assert late.aborted
    assert [transport.aborted for _, transport in handled] == [False, False]
