"""OTLP/HTTP on real sockets: what an HTTP client may do to the receiver, and what it must get back, byte by byte."""

from __future__ import annotations

import contextlib
import gzip
import socket
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.rpc.status_pb2 import Status

from tests.live.receiver_process import DEADLINE_S, MAX_BODY, SECRET, Broker, Receiver, provision
from tests.polling import eventually

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.live

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
PATHS = ("/v1/logs", "/v1/traces")
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}


@dataclass(frozen=True)
class Heard:
    """One answer as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def rpc_code(self) -> int:
        """The google.rpc.Code of an error, read in the encoding its media type names."""
        if self.headers["content-type"] == PROTOBUF:
            return int(Status.FromString(self.body).code)
        assert self.headers["content-type"] == JSON
        return int(orjson.loads(self.body)["code"])


class Wire:
    """One connection to the receiver, written and read by hand."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._socket.sendall(part)

    def hear(self, *, has_body: bool = True) -> Heard:
        """The next answer; by its Content-Length, so that a wrong one breaks the next."""
        line = self._file.readline()
        assert line.startswith(b"HTTP/1."), line
        headers: dict[str, str] = {}
        while (field := self._file.readline().strip()) != b"":
            name, _, value = field.decode("latin-1").partition(":")
            assert name.lower() not in headers, name
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0))) if has_body else b""
        return Heard(int(line.split()[1]), headers, body)

    def ended(self) -> bool:
        """Whether the receiver closed the connection, with nothing more to say."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


def head(path: str = "/v1/logs", *, method: str = "POST", content_type: str = JSON, **fields: str) -> bytes:
    """A request's head without the empty line at its end; underscores in names are hyphens, "" leaves one out."""
    given = {
        "Host": "receiver",
        "X-API-Key": SECRET,
        "X-Axonpush-Channel": "42",
        "Content-Type": content_type,
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n"


def whole(body: bytes, path: str = "/v1/logs", **fields: str) -> bytes:
    """A request with its length."""
    return head(path, **fields) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, size_bytes: int, extension: bytes = b"", trailer: bytes = b"") -> Iterator[bytes]:
    """A body without a length, in chunks."""
    for at in range(0, len(body), size_bytes):
        chunk = body[at : at + size_bytes]
        yield b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk)
    yield b"0\r\n" + trailer + b"\r\n"


def logs() -> bytes:
    """A JSON body nobody has sent before."""
    return b'{"resourceLogs":[],"n":"%s"}' % uuid.uuid4().hex.encode()


def protobuf() -> bytes:
    """A protobuf body nobody has sent before: an unknown field beside an empty resource."""
    return b"\x0a\x00\xfa\x01\x20" + uuid.uuid4().hex.encode()


@pytest.fixture(scope="module")
def receiver(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that does not wait for counts."""
    receiver = Receiver(broker, tmp_path_factory.mktemp("receiver"), counts_wait_otlp_ms="0")
    try:
        yield receiver.wait_ready()
    finally:
        receiver.stop()


@pytest.fixture
def wire(receiver: Receiver) -> Iterator[Wire]:
    """One connection."""
    with Wire(receiver.port) as made:
        yield made


# --- how a body may come


@pytest.mark.parametrize(
    ("size_bytes", "extension", "trailer"),
    [(1, b"", b""), (7, b";name=value", b""), (1_000_000, b"", b"Checksum: none\r\n")],
)
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_chunks_are_joined(  # noqa: PLR0917
    wire: Wire, broker: Broker, size_bytes: int, extension: bytes, trailer: bytes, content_type: str
) -> None:
    """A body without a length, whatever its chunks, their extensions and the trailer, is stored as one."""
    body = logs() if content_type == JSON else protobuf()
    wire.send(head(content_type=content_type, Transfer_Encoding="chunked") + b"\r\n")
    wire.send(*chunked(body, size_bytes, extension, trailer))
    assert wire.hear().status == 200
    assert broker.last("raw.otlp.logs.42").data == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_chunks_may_cut_a_compressed_body_anywhere(wire: Wire, broker: Broker, coding: str) -> None:
    """A compressed stream has no joints of its own."""
    body = CODINGS[coding](logs())
    wire.send(head(Transfer_Encoding="chunked", Content_Encoding=coding) + b"\r\n", *chunked(body, 1))
    assert wire.hear().status == 200
    message = broker.last("raw.otlp.logs.42")
    assert (message.data, message.headers["Content-Encoding"]) == (body, coding)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_a_sender_that_asks_first_is_told_to_go_on(wire: Wire, path: str, content_type: str) -> None:
    """Expect: 100-continue gets its 100 before a byte of the body was sent."""
    body = logs() if content_type == JSON else protobuf()
    fields = head(path, content_type=content_type, Expect="100-continue")
    wire.send(fields + b"Content-Length: %d\r\n\r\n" % len(body))
    assert wire.hear().status == 100
    wire.send(body)
    assert wire.hear().status == 200


@pytest.mark.parametrize(
    ("fields", "length", "status"),
    [
        ({"X_API_Key": "ak_unknown"}, 10, 401),
        ({"content_type": "text/plain"}, 10, 415),
        ({"X_Axonpush_Channel": "999"}, 10, 404),
        ({}, MAX_BODY + 1, 413),
    ],
)
def test_a_sender_that_asks_first_hears_a_refusal_at_once(
    wire: Wire, fields: dict[str, str], length: int, status: int
) -> None:
    """Without a 100, so without the body."""
    wire.send(head(Expect="100-continue", **fields) + b"Content-Length: %d\r\n\r\n" % length)
    assert wire.hear().status == status


def test_a_body_may_come_byte_by_byte(wire: Wire, broker: Broker) -> None:
    """A slow sender within the deadline is a sender like any other; so is one whose head comes in pieces."""
    body = logs()
    request = whole(body)
    wire.send(*(request[at : at + 1] for at in range(len(request))))
    assert wire.hear().status == 200
    assert broker.last("raw.otlp.logs.42").data == body


# --- one connection, many requests


def test_requests_in_a_row_are_answered_in_a_row(wire: Wire) -> None:
    """Sent at once on one connection: each has its own answer, errors and empty bodies between them."""
    bad = whole(logs(), X_Axonpush_Channel="x")
    empty = whole(b"", content_type=PROTOBUF)
    wire.send(whole(logs()) + bad + empty + whole(logs(), path="/v1/traces") + whole(protobuf(), content_type=PROTOBUF))
    heard = [wire.hear() for _ in range(5)]
    assert [answer.status for answer in heard] == [200, 400, 200, 200, 200]
    assert [answer.body for answer in heard if answer.status == 200] == [b"{}", b"", b"{}", b""]


@pytest.mark.parametrize(
    ("fields", "status"), [({"content_type": "text/plain"}, 415), ({"X_API_Key": ""}, 401), ({"method": "PUT"}, 405)]
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refused_body_is_not_the_next_request(
    wire: Wire, broker: Broker, fields: dict[str, Any], status: int, is_chunked: bool
) -> None:
    """What follows a refusal is skipped or the connection ends: a body is never read as a request."""
    trap, seen = whole(logs(), path="/v1/traces"), broker.stored()
    if is_chunked:
        wire.send(head(Transfer_Encoding="chunked", **fields) + b"\r\n" + b"".join(chunked(trap, 50)))
    else:
        wire.send(whole(trap, **fields))
    assert wire.hear().status == status
    is_kept = False
    with contextlib.suppress(OSError, AssertionError):
        wire.send(whole(logs()))
        is_kept = wire.hear().status == 200
    assert is_kept or wire.ended()
    assert broker.stored() == seen + is_kept


def test_an_idle_connection_is_kept(wire: Wire) -> None:
    """HTTP/1.1 is persistent: ten exports, one after the other, over one connection."""
    for _ in range(10):
        wire.send(whole(logs()))
        answer = wire.hear()
        assert (answer.status, answer.headers.get("connection", "keep-alive")) == (200, "keep-alive")


def test_a_client_that_wants_the_connection_closed_gets_that(wire: Wire) -> None:
    """Connection: close, and HTTP/1.0, which knows nothing else."""
    wire.send(whole(logs(), Connection="close"))
    assert wire.hear().status == 200
    assert wire.ended()


def test_http_1_0_is_served(wire: Wire) -> None:
    """Old proxies speak it."""
    wire.send(whole(logs()).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert wire.hear().body == b"{}"
    assert wire.ended()


# --- methods and paths


@pytest.mark.parametrize("path", [*PATHS, "/v1/traces/"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_405(wire: Wire, path: str, method: str) -> None:
    """With Allow and a Status, and the connection lives on."""
    for content_type in (JSON, PROTOBUF):
        wire.send(whole(b"", path=path, method=method, content_type=content_type))
        answer = wire.hear()
        assert (answer.status, answer.headers["allow"], answer.rpc_code) == (405, "POST, OPTIONS", 12)
        assert answer.headers["content-type"] == content_type
    wire.send(whole(logs()))
    assert wire.hear().status == 200


def test_head_has_no_body(wire: Wire) -> None:
    """Not even that of its 405: the next answer would begin in the middle of it."""
    wire.send(head(method="HEAD") + b"\r\n")
    answer = wire.hear(has_body=False)
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    wire.send(whole(logs()))
    assert wire.hear().status == 200


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1development/profiles"])
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_metrics_are_refused_for_good(wire: Wire, path: str, content_type: str) -> None:
    """404 with a Status in the request's encoding; a metrics exporter gives up at the first one."""
    wire.send(whole(b"\x0a\x00", path=path, content_type=content_type))
    answer = wire.hear()
    assert (answer.status, answer.headers["content-type"], answer.rpc_code) == (404, content_type, 5)
    assert "retry-after" not in answer.headers


# --- bodies


@pytest.mark.parametrize("path", PATHS)
def test_no_body_is_the_empty_request_in_protobuf_alone(wire: Wire, path: str) -> None:
    """With Content-Length: 0, and without any length at all."""
    for content_type, status in ((PROTOBUF, 200), (JSON, 400)):
        wire.send(whole(b"", path=path, content_type=content_type))
        wire.send(head(path, content_type=content_type) + b"\r\n")
        for answer in (wire.hear(), wire.hear()):
            assert (answer.status, answer.headers["content-type"]) == (status, content_type)
            assert answer.body == b"" or status == 400
            assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_is_taken_in_both_encodings(
    wire: Wire, broker: Broker, path: str, content_type: str, coding: str
) -> None:
    """And stored as it came; the success of protobuf is zero bytes, that of JSON two."""
    body = CODINGS[coding](logs() if content_type == JSON else protobuf())
    wire.send(whole(body, path=path, content_type=content_type, Content_Encoding=coding))
    answer = wire.hear()
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    assert answer.body == (b"{}" if content_type == JSON else b"")
    message = broker.last(f"raw.otlp.{path[4:]}.42")
    assert (message.data, message.headers["Content-Type"]) == (body, content_type)


@pytest.mark.parametrize("coding", ["snappy", "lz4", "x-snappy-framed", "gzip, gzip"])
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_other_codings_are_415(wire: Wire, coding: str, content_type: str) -> None:
    """In the request's encoding: the body is not readable, its media type is."""
    wire.send(whole(b"\x00", content_type=content_type, Content_Encoding=coding))
    answer = wire.hear()
    assert (answer.status, answer.headers["content-type"], answer.rpc_code) == (415, content_type, 3)


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
@pytest.mark.parametrize("coding", ["", "gzip", "deflate", "zstd"])
def test_too_large_is_413_on_the_wire_and_inflated(wire: Wire, content_type: str, coding: str) -> None:
    """With a Status; a declared length is refused before the sender has sent it."""
    body = CODINGS[coding](b" " * (MAX_BODY + 1))
    fields = head(content_type=content_type, Content_Encoding=coding) + b"Content-Length: %d\r\n\r\n" % len(body)
    wire.send(fields, body[:60_000])
    answer = wire.hear()
    assert (answer.status, answer.headers["content-type"], answer.rpc_code) == (413, content_type, 8)


# --- heads


def test_a_head_that_is_too_large_or_none_is_refused(receiver: Receiver) -> None:
    """4xx and the end of the connection; the receiver serves the next one."""
    heads = (
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"POST /v1/logs HTTP/1.1\r\nbad header\r\n\r\n",
        head() + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n",
    )
    for sent in heads:
        with Wire(receiver.port) as wire:
            try:
                wire.send(sent)
                assert 400 <= wire.hear().status < 500
            except (OSError, AssertionError):
                assert wire.ended()
    with Wire(receiver.port) as wire:
        wire.send(whole(logs()))
        assert wire.hear().status == 200


def test_names_of_headers_have_no_case(wire: Wire) -> None:
    """As clients write them: all lower, all upper."""
    for change in (bytes.lower, bytes.upper):
        lines = head().split(b"\r\n")
        fields = [
            change(name) + colon + value for name, colon, value in (line.partition(b": ") for line in lines[1:-1])
        ]
        body = logs()
        wire.send(b"\r\n".join([lines[0], *fields, b"content-length: %d" % len(body), b"", body]))
        assert wire.hear().status == 200


# --- pages


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"X_Axonpush_Channel": "x"}, 400),
        ({"X_API_Key": ""}, 401),
        ({"X_Axonpush_Channel": "999"}, 404),
        ({"path": "/v1/metrics"}, 404),
        ({"path": "/v1/nothing"}, 404),
        ({"method": "GET"}, 405),
        ({"content_type": "text/plain"}, 415),
        ({"method": "OPTIONS", "Access_Control_Request_Headers": "content-type,x-api-key"}, 204),
    ],
)
def test_a_page_can_read_every_answer(wire: Wire, fields: dict[str, Any], status: int) -> None:
    """The origin is echoed with credentials on success, on errors and on the preflight."""
    wire.send(whole(logs(), Origin="https://shop.example", **fields))
    answer = wire.hear(has_body=status != 204)
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"
    assert "x-axonpush-resolved-environment" in answer.headers["access-control-expose-headers"]


# --- the broker


def test_a_broker_that_is_away_is_503_and_never_500(tmp_path: Path) -> None:
    """In both encodings, with whole seconds to wait and headers a page may read; back, the same bytes are taken."""
    broker = Broker(tmp_path)
    broker.start()
    receiver = Receiver(broker, tmp_path, counts_wait_otlp_ms="0")
    try:
        provision(broker)
        receiver.wait_ready()
        with Wire(receiver.port) as wire:
            wire.send(whole(logs()))
            assert wire.hear().status == 200
            broker.kill()
            for path in PATHS:
                for content_type in (JSON, PROTOBUF):
                    wire.send(whole(logs(), path=path, content_type=content_type, Origin="https://a.example"))
                    answer = wire.hear()
                    assert (answer.status, answer.rpc_code, answer.headers["content-type"]) == (503, 14, content_type)
                    assert 1 <= int(answer.headers["retry-after"]) <= 5
                    assert answer.headers["access-control-allow-origin"] == "https://a.example"
            broker.start()
            request = whole(logs())
            statuses = _until_taken(wire, request)
            assert set(statuses[:-1]) <= {503}
    finally:
        receiver.stop()
        broker.kill()


def _until_taken(wire: Wire, request: bytes) -> list[int]:
    """Statuses of the same request, sent until it is taken, as an exporter would."""
    statuses: list[int] = []

    def taken() -> bool:
        wire.send(request)
        statuses.append(wire.hear().status)
        return statuses[-1] == 200

    eventually(taken, "the receiver to store again", DEADLINE_S)
    return statuses
