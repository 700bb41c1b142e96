"""Attacks on the receiver's memory, loop and connections, bounded, and honest senders beside them who get their 200."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import brotli
import httpx
import orjson
import pytest

from receiver.http.unread_body import MAX_BYTES
from schemas.registry import Channel
from tests.live.receiver_process import DEADLINE_S, FOREIGN, PUBLIC, SECRET, Broker, Receiver, key, until
from tests.live.security.test_wire import memory_bytes, open_files

pytestmark = [pytest.mark.live, pytest.mark.long]

CROWD = 977
HOSTILE_SENDERS = 4
HONEST = 30
MIB = 1024 * 1024
LARGE_BYTES = 400_000
WRONG = "ak_" + "x" * 32
QUOTA = "ak_" + "q" * 32
CHANNEL = 45
TRIES = 20


@pytest.fixture(scope="module", autouse=True)
def honest_neighbour(broker: Broker) -> None:
    """A channel for honest senders, and a key that may send nothing."""
    broker.put(Channel(id=CHANNEL, organisation="other"), key(QUOTA, organisation="other", quota_per_minute=0))


@pytest.fixture
def receiver(broker: Broker, tmp_path: Path) -> Iterator[Receiver]:
    """A new one for each attack: what it remembers of a sender is part of what is tested."""
    running = Receiver(broker, tmp_path, counts_wait_sentry_ms="0", counts_wait_otlp_ms="0")
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@contextlib.contextmanager
def connections(receiver: Receiver, size: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have sent this and wait."""
    with open_files(size + 1_000), contextlib.ExitStack() as closing:
        found = []
        for _ in range(size):
            connection = socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S)
            found.append(closing.enter_context(connection))
            connection.sendall(sent)
        yield found


def head(path: str, length: int, *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def honest(receiver: Receiver, secret: str = FOREIGN, channel: int = CHANNEL) -> Counter[int]:
    """Statuses of honest senders, one after another: errors, and every third of them a large one."""
    found: Counter[int] = Counter()
    with httpx.Client(base_url=receiver.url, timeout=60) as client:
        for number in range(HONEST):
            size = LARGE_BYTES if number % 3 == 0 else 1_000
            event = orjson.dumps({"event_id": uuid.uuid4().hex, "message": "x" * size})
            body = b'{}\n{"type":"event"}\n' + event
            found[client.post(f"/api/{channel}/envelope/?sentry_key={secret}", content=body).status_code] += 1
    return found


ALL_WELL = Counter({200: HONEST})


@pytest.mark.parametrize("key", ["", f"X-Sentry-Auth: Sentry sentry_key={SECRET}"], ids=["stranger", "known key"])
def test_promises_hold_nothing(receiver: Receiver, key: str) -> None:
    """977 connections promise 64 KiB each and send nothing: others are answered, and the receiver is ready."""
    with connections(receiver, CROWD, head("/api/42/envelope/", 65_536, *filter(None, [key]))):
        assert honest(receiver) == ALL_WELL
        assert receiver.http.get("/ready").status_code == 200
        assert receiver.metric("axonpush_receiver_in_flight_bytes") == 0


def test_half_sent_bodies_of_one_visitor_leave_room_for_others(receiver: Receiver) -> None:
    """A public token's half-sent bodies from one address fill its share, and beyond it are refused; memory holds."""
    before = memory_bytes(receiver)
    start = head("/api/42/envelope/", 5_900_000, f"X-Sentry-Auth: Sentry sentry_key={PUBLIC}")
    with connections(receiver, 800, start + b"x" * 60_000):
        until("the share is used up", lambda: receiver.metric("axonpush_receiver_budget_refused_total") > 0)
        assert honest(receiver) == ALL_WELL
        assert refused_for(receiver, "visitor")
        assert receiver.http.get("/ready").json()["budget"] is True
        assert memory_bytes(receiver) - before < 250 * MIB
    until("all is given back", lambda: receiver.metric("axonpush_receiver_in_flight_bytes") == 0)


def refused_for(receiver: Receiver, held_by: str) -> bool:
    """Whether the metric says that a holder of this kind had its share."""
    return f'axonpush_receiver_budget_refused_total{{held_by="{held_by}"}}' in receiver.http.get("/metrics").text


def test_behind_a_proxy_addresses_have_shares(broker: Broker, tmp_path: Path) -> None:
    """One IPv6 /64 that fills its share with keys of several organisations does not stop another address."""
    running = Receiver(broker, tmp_path, counts_wait_sentry_ms="0", trust_forwarded="1")
    try:
        running.wait_ready()
        with open_files(3_000), contextlib.ExitStack() as held:
            for number in range(900):
                secret = (SECRET, PUBLIC, FOREIGN)[number % 3]
                fields = [f"X-Sentry-Auth: Sentry sentry_key={secret}", f"X-Forwarded-For: 2001:db8:7:7::{number:x}"]
                channel = CHANNEL if secret == FOREIGN else 42
                sent = head(f"/api/{channel}/envelope/", 5_900_000, *fields) + b"x" * 75_000
                held.enter_context(connections(running, 1, sent))
            until("it is refused", lambda: refused_for(running, "address"))
            with httpx.Client(
                base_url=running.url, timeout=60, headers={"X-Forwarded-For": "2001:db8:7:8::1"}
            ) as client:
                body = b'{}\n{"type":"event"}\n{}\n'
                url = f"/api/{CHANNEL}/envelope/?sentry_key={FOREIGN}"
                assert {client.post(url, content=body).status_code for _ in range(HONEST)} == {200}
    finally:
        running.stop()


def bodies_of_nothing(size: int, end: bytes) -> bytes:
    return b'{"identifier":"a","channel_id":42,"payload":{"a":[' + b"[]," * (size // 3) + end


HOSTILE: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "event, invalid": ("/event", bodies_of_nothing(900_000, b"NaN]"), {"X-API-Key": SECRET}),
    "event, valid": ("/event", bodies_of_nothing(900_000, b"NaN]}}"), {"X-API-Key": SECRET}),
    "event, 6 MB": ("/event", bodies_of_nothing(5_900_000, b"NaN]"), {"X-API-Key": SECRET}),
    "batch": ("/event/batch", b'{"events":[' + b'{"identifier":1},' * 50_000 + b"1]}", {"X-API-Key": SECRET}),
    "store": (f"/api/42/store/?sentry_key={SECRET}", bodies_of_nothing(900_000, b"NaN]}}"), {}),
    "minidump": (
        f"/api/42/minidump/?sentry_key={SECRET}",
        b'--b\r\nContent-Disposition: form-data; name="sentry"\r\n\r\n' + bodies_of_nothing(900_000, b"NaN]}}")
        + b'\r\n--b\r\nContent-Disposition: form-data; name="upload_file_minidump"\r\n\r\nMDMP\r\n--b--\r\n',
        {"Content-Type": "multipart/form-data; boundary=b"},
    ),
}  # fmt: skip


@contextlib.contextmanager
def hostile(receiver: Receiver, path: str, wire: bytes, headers: dict[str, str]) -> Iterator[Counter[int]]:
    """HOSTILE_SENDERS that send this body again and again, and what they hear."""
    heard: Counter[int] = Counter()
    stop = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=receiver.url, timeout=60) as client:
            while not stop.is_set():
                heard[client.post(path, content=wire, headers=headers).status_code] += 1

    senders = [threading.Thread(target=send) for _ in range(HOSTILE_SENDERS)]
    for one in senders:
        one.start()
    try:
        yield heard
    finally:
        stop.set()
        for one in senders:
            one.join()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_hold_up_nobody(receiver: Receiver, name: str) -> None:
    """Bodies that take a second to read, from four connections: honest senders are answered, none hears a 500."""
    path, body, headers = HOSTILE[name]
    told = {"Content-Encoding": "deflate", "Content-Type": "application/json", **headers}
    with hostile(receiver, path, zlib.compress(body, 9), told) as heard:
        until("it has begun", lambda: sum(heard.values()) > 0, 60)
        assert honest(receiver) == ALL_WELL
        assert receiver.http.get("/ready").status_code == 200
    assert set(heard) <= {200, 201, 400, 413, 429, 503}


def test_refused_bodies_end_in_429(broker: Broker, tmp_path: Path) -> None:
    """However fast bad bodies come, after so many they are refused unread, and `outcomes` hears of it."""
    heard: Counter[int] = Counter()
    running = Receiver(broker, tmp_path, counts_wait_sentry_ms="0", refused_per_minute="100")
    try:
        running.wait_ready()
        with httpx.Client(base_url=running.url, timeout=60, headers={"X-API-Key": SECRET}) as client:
            while not heard[429]:
                answer = client.post("/event", content=b'{"identifier":', headers={"Content-Type": "application/json"})
                heard[answer.status_code] += 1
            assert answer.headers["retry-after"] == "60"
        assert heard == Counter({400: 100, 429: 1})
        assert running.metric("axonpush_receiver_refusals_exceeded_total") == 1
        assert honest(running) == ALL_WELL
    finally:
        running.stop()


# --- refusals are heard


def written_whole(receiver: Receiver, sent: bytes) -> bytes:
    """The answer to a sender that writes everything before it reads, or b"" where its connection was reset."""
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.settimeout(DEADLINE_S)
        try:
            connection.sendall(sent)
            return connection.recv(65_536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


REFUSED: dict[str, tuple[bytes, int]] = {
    "401": (head(f"/api/42/envelope/?sentry_key={WRONG}", 5_000_000), 5_000_000),
    "401 otlp": (head("/v1/traces", 5_000_000, f"X-API-Key: {WRONG}", "Content-Type: application/json"), 5_000_000),
    "413": (head(f"/api/42/envelope/?sentry_key={SECRET}", 7_000_000), 7_000_000),
    "415": (
        head("/v1/traces", 5_000_000, f"X-API-Key: {SECRET}", "X-Axonpush-Channel: 42", "Content-Type: text/plain"),
        5_000_000,
    ),
    "429": (head(f"/api/{CHANNEL}/envelope/?sentry_key={QUOTA}", 5_000_000), 5_000_000),
    "429 event": (head("/event", 5_000_000, f"X-API-Key: {QUOTA}", "Content-Type: application/json"), 5_000_000),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_heard_by_who_writes_first(receiver: Receiver, name: str) -> None:
    """Every time, and not in every second try as it was when the connection was closed at once."""
    start, length = REFUSED[name]
    heard = Counter(written_whole(receiver, start + b"x" * length)[9:12] for _ in range(TRIES))
    assert heard == Counter({name[:3].encode(): TRIES})
    assert receiver.metric("axonpush_receiver_drained_bytes_total") > TRIES * 1_000_000
    assert receiver.metric("axonpush_receiver_in_flight_bytes") == 0


def sent_for_ever(connection: socket.socket, chunk: bytes) -> None:
    """A hundred times what is read on for a refused sender."""
    for _ in range(100 * MAX_BYTES // len(chunk)):
        connection.sendall(chunk)


def test_a_refused_sender_without_end_is_not_read_for_ever(receiver: Receiver) -> None:
    """It is read up to a bound; then its connection ends."""
    start = (
        f"POST /api/42/envelope/?sentry_key={WRONG} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.settimeout(DEADLINE_S)
        connection.sendall(start)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            sent_for_ever(connection, chunk)
    assert receiver.metric("axonpush_receiver_drained_bytes_total") <= MAX_BYTES + 65_536
    assert honest(receiver) == ALL_WELL


def test_refused_crowds_are_beside_honest_senders(receiver: Receiver) -> None:
    """Hundreds of connections in the middle of a refused body: others are answered."""
    start = head(f"/api/42/envelope/?sentry_key={WRONG}", 5_000_000)
    with connections(receiver, 400, start + b"x" * 1_000):
        assert honest(receiver) == ALL_WELL


def test_a_bomb_of_any_coding_is_said_to_be_one(receiver: Receiver) -> None:
    """5.9 MB out of some bytes: 413 with both ratios."""
    wire = brotli.compress(b"{}\n".ljust(5_900_000), quality=5)
    url = f"/api/42/envelope/?sentry_key={SECRET}"
    answer = receiver.http.post(url, content=wire, headers={"Content-Encoding": "br"})
    assert answer.status_code == 413
    assert "1100 times" in answer.json()["detail"]
