"""Break-ins through the socket: smuggled requests, floods, slow senders, crowds, tricks with paths and headers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from schemas.subjects import OUTCOME
from tests.live.receiver_process import DEADLINE_S, SECRET, Broker, Receiver, envelope, until
from tests.polling import ANSWER_TIMEOUT_S

pytestmark = pytest.mark.live

CROWD = 10_000
# A connection that only waits costs two kilobytes: measured 19 MB for all of them.
CROWD_BYTES = 80_000_000
AUTH = b"X-Sentry-Auth: Sentry sentry_key=%s\r\n" % SECRET.encode()


@contextlib.contextmanager
def open_files(soft: int) -> Iterator[None]:
    """This process, and what it starts, may have so many files open, or as many as the system allows."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, min(soft, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@contextlib.contextmanager
def crowd(port: int, size: int) -> Iterator[list[socket.socket]]:
    """Open connections: `size`, or as many as the limit of open files leaves room for."""
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500
    with contextlib.ExitStack() as closing:
        yield [
            closing.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S))
            for _ in range(min(size, room))
        ]


@pytest.fixture(scope="module")
def receiver(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One that loses its patience soon."""
    settings = {"counts_wait_sentry_ms": "0", "counts_wait_otlp_ms": "0", "header_deadline_s": "2"}
    with open_files(1024):  # where a process usually begins
        running = Receiver(broker, tmp_path_factory.mktemp("receiver"), **settings, body_deadline_s="1")
    try:
        yield running.wait_ready()
    finally:
        running.stop()


def subjects(broker: Broker) -> list[str]:
    """Of all bodies; counts of refused requests, which a receiver stores once a minute, are none."""

    async def action(client: Client) -> list[str]:
        info = await client.jetstream(timeout=ANSWER_TIMEOUT_S).stream_info("RAW", subjects_filter=">")
        return sorted(one for one in info.state.subjects or {} if not one.startswith(f"raw.{OUTCOME}."))

    return broker.call(action)


def exchange(port: int, sent: bytes, quiet_s: float = 1.0) -> bytes:
    """Everything that comes back until the connection ends or nothing comes for `quiet_s`."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        connection.settimeout(DEADLINE_S)
        with contextlib.suppress(OSError):  # the other side may hang up before it has read all, and has answered
            connection.sendall(sent)
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                found += data
                connection.settimeout(quiet_s)
    return found


def post(path: bytes, body: bytes, *fields: bytes) -> bytes:
    length = (
        b"" if any(field.lower().startswith(b"transfer") for field in fields) else b"Content-Length: %d" % len(body)
    )
    lines = [b"POST %b HTTP/1.1" % path, b"Host: x", AUTH.rstrip(), *fields, *([length] if length else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def serves(receiver: Receiver) -> bool:
    return (
        receiver.http.post(
            "/api/42/envelope/", content=envelope(), headers={"X-Sentry-Auth": AUTH.decode()[15:-2]}
        ).status_code
        == 200
    )


SMUGGLED = post(b"/api/43/envelope/", b'{"event_id":"%s"}\n' % (b"5" * 32))


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 6",
        b"Content-Length: +5",
        b"Content-Length: " + b"9" * 5000,
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5",
        b"Transfer-Encoding : chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nContent-Length: 5",
        b"X: folded\r\n Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5",
    ],
)
def test_no_framing_smuggles_a_request(receiver: Receiver, broker: Broker, framing: bytes) -> None:
    """Two lengths, or one said oddly: at most one request is seen, and the connection ends."""
    head = b"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\n" + AUTH + framing
    answers = exchange(receiver.port, head + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert not re.search(rb"HTTP/1.1 (2|5)", answers)
    assert not [one for one in subjects(broker) if one.endswith(".43")]


@pytest.mark.parametrize(
    "chunk", [b"-1\r\nabcd\r\n", b"f" * 17 + b"\r\nabcd\r\n", b"4\nabcd\n", b"0x4\r\nabcd\r\n", b"4" + b";" * 70_000]
)
def test_a_chunk_that_is_none_ends_the_connection(receiver: Receiver, broker: Broker, chunk: bytes) -> None:
    """Lengths that are negative, beyond 64 bits, in another notation, or with endless extensions: nothing is stored."""
    seen = broker.stored()
    answers = exchange(receiver.port, post(b"/api/42/envelope/", chunk, b"Transfer-Encoding: chunked") + SMUGGLED)
    assert answers.count(b"HTTP/1.1 ") <= 1
    assert not re.search(rb"HTTP/1.1 (2|5)", answers)
    assert broker.stored() == seen


@pytest.mark.parametrize(
    ("flood", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(2_000)), b"431"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n", b"414"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n", b"431"),
    ],
    ids=["many", "long path", "long value"],
)
def test_a_flood_of_headers_is_refused(receiver: Receiver, flood: bytes, status: bytes) -> None:
    """By number and by size; memory does not grow with what is sent, and others are served."""
    before = receiver.peak_memory_bytes()
    answers = exchange(receiver.port, flood + b"\r\n")
    assert answers.startswith(b"HTTP/1.1 " + status)
    assert receiver.peak_memory_bytes() - before < 10_000_000
    assert serves(receiver)


def drip(port: int, start: bytes, drop: bytes, for_s: float) -> bytes:
    """Sends `drop` again and again until the other side has had enough: its answer, empty if it just hangs up."""
    end = time.monotonic() + for_s
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        connection.sendall(start)
        connection.settimeout(0.05)
        while time.monotonic() < end:
            try:
                return connection.recv(65536)
            except TimeoutError:
                with contextlib.suppress(OSError):
                    connection.sendall(drop)
            except OSError:
                return b""
    raise AssertionError(f"still patient after {for_s} s")


def test_headers_that_drip_are_not_waited_for(receiver: Receiver) -> None:
    """Each new byte does not buy new time: the connection ends, and meanwhile others are served."""
    start = b"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\n"
    with crowd(receiver.port, 200) as began:
        for connection in began:
            connection.sendall(start)
        assert serves(receiver)
        answer = drip(receiver.port, start, b"X: a\r\n", DEADLINE_S)
        assert not answer or answer.startswith(b"HTTP/1.1 4")
        until("the others are let go as well", lambda: all(ended(connection) for connection in began))


def ended(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_body_that_drips_is_not_waited_for(receiver: Receiver, broker: Broker) -> None:
    """The deadline is for the whole body; nothing of it is stored or held."""
    seen = broker.stored()
    start = b"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n" + AUTH + b"\r\n{}"
    answer = drip(receiver.port, start, b" ", DEADLINE_S)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert broker.stored() == seen
    until("its bytes are given back", lambda: receiver.metric("axonpush_receiver_in_flight_bytes") == 0)


def memory_bytes(receiver: Receiver) -> int:
    status = Path(f"/proc/{receiver.process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


def test_a_crowd_of_idle_connections_costs_little(receiver: Receiver) -> None:
    """More than may be open at once, and all say nothing: bounded memory, and new senders are served soon."""
    before = memory_bytes(receiver)
    with open_files(CROWD + 1_000), crowd(receiver.port, CROWD):
        assert serves(receiver)
        assert memory_bytes(receiver) - before < CROWD_BYTES
        answer = exchange(receiver.port, post(b"/api/42/envelope/", envelope(), b"Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200 ")


TRICKS = (
    b"/api/42/envelope/../../43/envelope/",
    b"/api/42%2Fenvelope%2f..%2F",
    b"/api/..%2f43/envelope/",
    b"/api/42%00/envelope/",
    b"/api/42;43/envelope/",
    b"/api/*/envelope/",
    b"/api/%3E/envelope/",
    b"/api/42.%3E/envelope/",
    b"/api/42%0d%0aPUB%20raw.x%203/envelope/",
    b"/api/%EF%BC%94%EF%BC%92/envelope/",  # full-width digits
    b"/api/+42/envelope/",
    b"/api/4_2/envelope/",
    b"/api/0x2a/envelope/",
    b"/api/42.0/envelope/",
    b"/api/-42/envelope/",
    b"/api/" + b"9" * 5_000 + b"/envelope/",
    b"/api/9223372036854775808/envelope/",
    b"/api/%ff%fe/envelope/",
    b"/api/%zz/envelope/",
    b"/" + b"a/" * 100 + b"api/42/envelope/",
)


@pytest.mark.parametrize("path", TRICKS, ids=lambda path: ascii(path[:40]))
def test_no_path_reaches_another_channel_or_subject(receiver: Receiver, broker: Broker, path: bytes) -> None:
    """Dots, encoded slashes, wildcards, NUL, line ends, other digits: refused, and nothing is published anywhere."""
    seen = broker.stored()
    answers = exchange(receiver.port, post(path, envelope(), b"Connection: close"))
    assert re.match(rb"HTTP/1.1 (400|404) ", answers), answers[:200]
    assert broker.stored() == seen
    assert all(re.fullmatch(r"raw\.[a-z.]+\.(42|43)", subject) for subject in subjects(broker))


NASTY = (
    b"a\tChannel: 7",
    b"\xe2\x80\xa8Channel: 7",
    b"\xff\x85\xc2\x85",
    b"\xf0\x9f\x92\xa9" * 50,
    b"x" * 9_000,
    b"NATS-1.0",
)
KNOWN = {"Schema-Version", "Nats-Msg-Id", "Organisation", "Channel", "Key-Id", "Environment", "Received-At", "Query",
         "Content-Type", "Content-Encoding", "Sender-Ip", "User-Agent", "Sentry-Client", "Resource"}  # fmt: skip


@pytest.mark.parametrize("value", NASTY, ids=lambda value: ascii(value[:12]))
def test_no_value_becomes_a_header_of_a_message(receiver: Receiver, broker: Broker, value: bytes) -> None:
    """Whatever stands in the fields we hand on, a message has our headers, one printable line each, and bounded."""
    quoted = b"".join(b"%%%02X" % byte for byte in b"a\r\nChannel: 7\r\n\r\n" + value[:500])
    fields = [b"User-Agent: " + value, b"Content-Type: " + value, b"X-Axonpush-Environment: " + value,
              b"X-Forwarded-For: " + value, b"Connection: close"]  # fmt: skip
    for sent, subject in (
        (post(b"/api/42/envelope/?sentry_client=" + quoted, envelope(), *fields), "raw.sentry.envelope.42"),
        (post(b"/api/42/cron/" + quoted + b"/?status=ok&x=" + quoted, b"", *fields), "raw.sentry.cron.42"),
    ):
        assert exchange(receiver.port, sent).startswith(b"HTTP/1.1 200 ")
        found = broker.last(subject).headers
        assert {name for name in found if not name.startswith("Nats-")} <= KNOWN
        assert (found["Channel"], found["Environment"]) == ("42", "production")
        assert all(one.isascii() and one.isprintable() and len(one) <= 4096 for one in found.values())


@pytest.mark.asyncio
async def test_a_browser_cannot_speak_to_the_broker(broker: Broker) -> None:
    """A page's POST to the broker's port is no NATS: the first line ends the connection, and nothing is published."""

    async def listened() -> int:
        client = await nats.connect(broker.url)
        try:
            heard = await client.subscribe("raw.>")
            await client.flush()
            request = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nCONNECT {}\r\nPUB raw.event.42 2\r\n{}\r\nPING\r\n"
            assert b"PONG" not in await asyncio.to_thread(exchange, broker.port, request)
            await client.flush()
            return heard.pending_msgs
        finally:
            await client.close()

    assert await listened() == 0
