"""The receiver as a process: real sockets in front, a real nats-server behind, workers played by a subscription."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
from nats.aio.msg import Msg

from schemas.counts import Counts
from schemas.registry import key_hash
from tests.live.receiver_process import (
    DEADLINE_S,
    FOREIGN,
    MAX_BODY,
    OVERRIDE,
    PUBLIC,
    SECRET,
    Broker,
    FakeWorkers,
    Receiver,
    envelope,
    key,
    logs,
    otlp,
    provision,
    sentry,
    sized_envelope,
    talk,
    until,
)
from tests.servers import ROOT

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def receiver(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that does not wait for counts."""
    settings = {"counts_wait_otlp_ms": "0", "counts_wait_sentry_ms": "0"}
    receiver = Receiver(broker, tmp_path_factory.mktemp("receiver"), **settings)
    try:
        yield receiver.wait_ready()
    finally:
        receiver.stop()


@pytest.fixture
def counting(broker: Broker, tmp_path: Path) -> Iterator[Receiver]:
    """A receiver that waits for counts as long as a test may take."""
    receiver = Receiver(broker, tmp_path, counts_wait_otlp_ms="10000", counts_wait_sentry_ms="10000")
    try:
        yield receiver.wait_ready()
    finally:
        receiver.stop()


def test_stored_body_is_the_body_that_came(receiver: Receiver, broker: Broker) -> None:
    """After the 200 the broker holds the bytes as they were sent, with every header a row needs."""
    event = envelope()
    wire = gzip.compress(event)
    before_ns = time.time_ns()
    answer = receiver.http.post(
        "/api/42/envelope/", content=wire, headers=sentry(**{"Content-Encoding": "x-gzip", "User-Agent": "raw/1.0 (x)"})
    )
    assert answer.status_code == 200
    assert answer.json() == {"id": json.loads(event.split(b"\n")[0])["event_id"]}
    message = broker.last("raw.sentry.envelope.42")
    assert message.data == wire
    headers = message.headers
    assert before_ns < int(headers["Received-At"]) < time.time_ns()
    assert {name: headers[name] for name in ("Schema-Version", "Channel", "Organisation", "Environment")} == {
        "Schema-Version": "1",
        "Channel": "42",
        "Organisation": "default",
        "Environment": "production",
    }
    assert headers["Key-Id"] == key_hash(SECRET)[:16]
    assert headers["Content-Encoding"] == "gzip"
    assert headers["User-Agent"] == "raw/1.0 (x)"
    assert headers["Sentry-Client"] == "raw/1.0"
    assert headers["Sender-Ip"] == "127.0.0.1"
    assert SECRET not in str(headers)


@pytest.mark.parametrize(
    "path",
    ["/api/42/envelope", "//api//42///envelope//", "/some/prefix/api/42/envelope/", "/api/api/42/envelope/"],
)
def test_every_spelling_of_the_path_works(receiver: Receiver, path: str) -> None:
    """With and without slashes at the end, doubled ones, a DSN's path prefix."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Sentry-Auth: Sentry sentry_key={SECRET}\r\n".encode()
    body = envelope()
    answer = talk(receiver.port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity", "", "utf-8"])
@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/logs"])
def test_every_encoding_is_taken(receiver: Receiver, coding: str, path: str) -> None:
    """Each content coding is accepted on both dialects and stored as it came."""
    compress: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstd.compress,
    }
    body = compress.get(coding, bytes)(envelope() if "api" in path else logs())
    headers = sentry() if "api" in path else otlp()
    answer = receiver.http.post(path, content=body, headers={**headers, "Content-Encoding": coding})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/logs", "/api/42/integration/otlp/v1/logs/"])
def test_size_limit_counts_wire_and_inflated_bytes(receiver: Receiver, broker: Broker, path: str) -> None:
    """6,000,000 bytes pass and one more is 413, plain, chunked and compressed alike; nothing of it is stored."""
    headers = otlp() if path == "/v1/logs" else sentry(**{"Content-Type": "application/json"})
    for size_bytes, status in ((1_000_000, 200), (MAX_BODY, 200), (MAX_BODY + 1, 413)):
        body = sized_envelope(size_bytes)
        seen = broker.stored()
        plain = receiver.http.post(path, content=body, headers=headers)
        chunked = receiver.http.post(path, content=iter([body[:-9], body[-9:]]), headers=headers)
        packed = receiver.http.post(
            path, content=gzip.compress(body, 1), headers={**headers, "Content-Encoding": "gzip"}
        )
        assert [plain.status_code, chunked.status_code, packed.status_code] == [status] * 3
        assert broker.stored() == seen + (2 if status == 200 else 0)  # the chunked one is a duplicate of the plain one


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_bomb_is_refused_without_being_held(receiver: Receiver, coding: str) -> None:
    """A small body that inflates to a gigabyte is 413, and memory stays where it was."""
    zeros = bytes(1_000_000)
    if coding == "gzip":
        body = b"".join(_compressed(zlib.compressobj(wbits=31), zeros))
    elif coding == "deflate":
        body = b"".join(_compressed(zlib.compressobj(), zeros))
    elif coding == "br":
        compressor = brotli.Compressor(quality=5)
        body = b"".join(compressor.process(zeros) for _ in range(1000)) + compressor.finish()
    else:
        body = b"".join(_compressed(zstd.ZstdCompressor(), zeros))
    assert len(body) < MAX_BODY
    before = receiver.peak_memory_bytes()
    answer = receiver.http.post("/api/42/envelope/", content=body, headers=sentry(**{"Content-Encoding": coding}))
    assert answer.status_code == 413
    assert receiver.peak_memory_bytes() - before < 64_000_000


def _compressed(compressor: Any, zeros: bytes) -> Iterator[bytes]:
    for _ in range(1000):
        yield compressor.compress(zeros)
    yield compressor.flush()


def test_expect_continue_is_answered_before_the_body(receiver: Receiver) -> None:
    """A sender that asks first gets 100 when it may go on, and the refusal at once when it may not."""
    body = envelope()
    head = (
        f"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\nX-Sentry-Auth: Sentry sentry_key={SECRET}\r\n"
        f"Expect: 100-continue\r\nContent-Length: "
    ).encode()
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.sendall(head + b"%d\r\n\r\n" % len(body))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert talk(receiver.port, head + b"%d\r\n\r\n" % (MAX_BODY + 1)).startswith(b"HTTP/1.1 413 ")


def test_half_a_body_is_not_published(receiver: Receiver, broker: Broker) -> None:
    """A sender that goes away in mid-body leaves nothing behind, and the next request is served."""
    seen = broker.stored()
    head = f"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\nX-Sentry-Auth: Sentry sentry_key={SECRET}\r\n".encode()
    for rest in (b"Content-Length: 100\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"):
        with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
            connection.sendall(head + rest)
    broken = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n"
    assert talk(receiver.port, head + broken).startswith(b"HTTP/1.1 400 ")
    assert receiver.http.post("/api/42/envelope/", content=envelope(), headers=sentry()).status_code == 200
    assert broker.stored() == seen + 1


def test_slow_body_is_refused(broker: Broker, tmp_path: Path) -> None:
    """A body that does not arrive within the deadline is 408 to Sentry and 503 with Retry-After to OTLP."""
    receiver = Receiver(broker, tmp_path, body_deadline_s="0.2").wait_ready()
    try:
        rest = b"Content-Length: 100\r\n\r\n{}"
        head = f"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\nX-Sentry-Auth: Sentry sentry_key={SECRET}\r\n".encode()
        assert talk(receiver.port, head + rest).startswith(b"HTTP/1.1 408 ")
        fields = "".join(f"{name}: {value}\r\n" for name, value in otlp().items())
        answer = talk(receiver.port, f"POST /v1/logs HTTP/1.1\r\nHost: x\r\n{fields}".encode() + rest)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 2\r\n" in answer
    finally:
        receiver.stop()


def test_user_agent_cannot_inject_headers(receiver: Receiver, broker: Broker) -> None:
    """Whatever a header value holds, it stays one value of one message header."""
    body = envelope()
    head = (
        f"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\nX-Sentry-Auth: Sentry sentry_key={SECRET}\r\n"
        f"Content-Length: {len(body)}\r\n"
    ).encode()
    agent = b"User-Agent: a\xe2\x80\xa8b\xff\x85Channel: 7\tc\r\n\r\n"
    assert talk(receiver.port, head + agent + body).startswith(b"HTTP/1.1 200 ")
    headers = broker.last("raw.sentry.envelope.42").headers
    assert headers["Channel"] == "42"
    assert headers["User-Agent"].isascii()
    query = "sentry_key=" + SECRET + "&sentry_client=x%0d%0aChannel:%207"
    assert receiver.http.post(f"/api/42/envelope/?{query}", content=envelope()).status_code == 200
    headers = broker.last("raw.sentry.envelope.42").headers
    assert headers["Channel"] == "42"
    assert "Channel: 7" in headers["Sentry-Client"]


def test_duplicate_content_length_is_refused(receiver: Receiver) -> None:
    """Two lengths that differ are how requests are smuggled: 400."""
    head = b"POST /api/42/envelope/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    assert talk(receiver.port, head).startswith(b"HTTP/1.1 400 ")


def test_environment_header_reaches_the_message(receiver: Receiver, broker: Broker) -> None:
    """Honoured with the permission, ignored without it, and both said in the answer."""
    answer = receiver.http.post(
        "/v1/logs", content=logs(), headers=otlp(OVERRIDE, **{"X-Axonpush-Environment": "staging"})
    )
    assert answer.headers["x-axonpush-resolved-environment"] == "staging"
    assert answer.headers["x-axonpush-resolved-via"] == "header"
    assert broker.last("raw.otlp.logs.42").headers["Environment"] == "staging"
    answer = receiver.http.post("/v1/logs", content=logs(), headers=otlp(**{"X-Axonpush-Environment": "staging"}))
    assert answer.headers["x-axonpush-resolved-environment"] == "production"
    assert answer.headers["x-axonpush-resolved-via"] == "api-key"
    message = broker.last("raw.otlp.logs.42")
    assert message.headers["Environment"] == "production"
    assert message.headers["Content-Type"] == "application/json"


def test_retry_of_the_same_bytes_is_one_message(receiver: Receiver, broker: Broker) -> None:
    """A client that resends what it could not know had arrived gets 200 and makes no second event."""
    body = envelope()
    seen = broker.stored()
    for _ in range(3):
        assert receiver.http.post("/api/42/envelope/", content=body, headers=sentry()).status_code == 200
    assert broker.stored() == seen + 1


def test_registry_change_arrives_within_a_second(receiver: Receiver, broker: Broker) -> None:
    """A key is refused, minted, taken, revoked, refused again; each change within a second."""
    secret = "ak_" + uuid.uuid4().hex

    def status() -> int:
        return receiver.http.post("/api/42/envelope/", content=envelope(), headers=sentry(secret)).status_code

    assert status() == 401
    broker.put(key(secret))
    until("a new key is taken", lambda: status() == 200, 1.0)
    broker.put(key(secret, revoked=True))
    until("a revoked key is refused", lambda: status() == 401, 1.0)
    broker.put(key(secret))
    until("a key that is back is taken", lambda: status() == 200, 1.0)
    broker.delete(key(secret).kv_key)
    until("a deleted key is refused", lambda: status() == 401, 1.0)


def test_broker_away_is_503_and_back_is_200(own_broker: Broker, tmp_path: Path) -> None:
    """Killed: 503 with Retry-After and /ready says so. Back: 200, the registry watch lives, nothing was lost."""
    receiver = Receiver(own_broker, tmp_path, counts_wait_sentry_ms="0").wait_ready()
    try:
        assert receiver.http.post("/api/42/envelope/", content=envelope(), headers=sentry()).status_code == 200
        own_broker.kill()
        answer = receiver.http.post("/api/42/envelope/", content=envelope(), headers=sentry())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert receiver.http.post("/v1/logs", content=logs(), headers=otlp()).status_code == 503
        assert receiver.http.get("/ready").status_code == 503
        assert receiver.http.get("/health").status_code == 200
        unknown = receiver.http.post("/api/42/envelope/", content=envelope(), headers=sentry("ak_" + "n" * 32))
        assert unknown.status_code == 503  # who can tell whether this key was minted a moment ago?
        own_broker.start()
        body = envelope()
        until(
            "the receiver stores again",
            lambda: receiver.http.post("/api/42/envelope/", content=body, headers=sentry()).status_code == 200,
        )
        assert own_broker.last("raw.sentry.envelope.42").data == body
        secret = "ak_" + uuid.uuid4().hex
        own_broker.put(key(secret, revoked=True), key(SECRET, revoked=True))
        until(
            "a revocation arrives over the new connection",
            lambda: receiver.http.post("/api/42/envelope/", content=envelope(), headers=sentry()).status_code == 401,
            3.0,
        )
        assert receiver.http.get("/ready").status_code == 200
    finally:
        receiver.stop()


def test_full_stream_is_503(tmp_path: Path) -> None:
    """When the disk budget is used up new data is refused; nothing old is dropped."""
    broker = Broker(tmp_path)
    broker.start()
    try:
        provision(broker, max_bytes=2_000_000)
        receiver = Receiver(broker, tmp_path, counts_wait_sentry_ms="0").wait_ready()
        try:
            statuses = [
                receiver.http.post("/api/42/envelope/", content=envelope(600_000), headers=sentry()) for _ in range(5)
            ]
            assert [answer.status_code for answer in statuses] == [200, 200, 200, 503, 503]
            assert statuses[-1].headers["retry-after"] == "5"
            assert broker.stored() == 3
        finally:
            receiver.stop()
    finally:
        broker.kill()


def test_workers_counts_become_partial_success(counting: Receiver, broker: Broker) -> None:
    """What unpack and two workers say about one envelope stands in its answer, reasons included."""
    replies = [
        Counts(stage="event", accepted=1),
        Counts(stage="unpack", expect=2, rejected=1, reasons=["statsd: not stored"]),
        Counts(stage="transaction", accepted=1, rejected=2, reasons=["span 3: invalid_span_id", "statsd: not stored"]),
    ]
    with FakeWorkers(broker, lambda _message: replies):
        answer = counting.http.post("/api/42/envelope/", content=envelope(), headers=sentry())
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"] == {
        "acceptedItems": 2,
        "rejectedItems": 3,
        "errorMessage": "statsd: not stored; span 3: invalid_span_id",
    }


def test_otlp_counts_answer_in_the_requests_encoding(counting: Receiver, broker: Broker) -> None:
    """Partial success and 400 come back as JSON to JSON and as protobuf to protobuf, with the bare media type."""
    from google.rpc.status_pb2 import Status
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    def reply(message: Msg) -> list[Counts]:
        if b"broken" in message.data:
            return [Counts(stage="otlp_span", invalid="expected resourceSpans, found none")]
        return [Counts(stage="otlp_span", accepted=4, rejected=1, reasons=["span 2: invalid_trace_id"])]

    with FakeWorkers(broker, reply):
        for content_type in ("application/json; charset=utf-8", "APPLICATION/X-PROTOBUF"):
            headers = otlp(**{"Content-Type": content_type})
            bare = content_type.split(";")[0].lower()
            good = counting.http.post("/v1/traces", content=logs(), headers=headers)
            bad = counting.http.post("/v1/traces", content=b"broken" + logs(), headers=headers)
            again = counting.http.post("/v1/traces", content=bad.request.content, headers=headers)
            assert (good.status_code, bad.status_code, again.status_code) == (200, 400, 400)
            assert {good.headers["content-type"], bad.headers["content-type"]} == {bare}
            if "json" in bare:
                assert good.json() == {
                    "partialSuccess": {"rejectedSpans": 1, "errorMessage": "span 2: invalid_trace_id"}
                }
                said = bad.json()
                assert (said["code"], said["message"]) == (3, "expected resourceSpans, found none")
            else:
                partial = ExportTraceServiceResponse.FromString(good.content).partial_success
                assert (partial.rejected_spans, partial.error_message) == (1, "span 2: invalid_trace_id")
                status = Status.FromString(bad.content)
                assert (status.code, status.message) == (3, "expected resourceSpans, found none")


def test_no_counts_is_plain_success(broker: Broker, tmp_path: Path) -> None:
    """Without workers the answer is a plain 200; after a few timeouts nobody waits, and replies are noticed again."""
    receiver = Receiver(broker, tmp_path, counts_wait_otlp_ms="40").wait_ready()
    try:
        for _ in range(8):
            answer = receiver.http.post("/v1/logs", content=logs(), headers=otlp())
            assert (answer.status_code, answer.content) == (200, b"{}")
        unknown = "axonpush_receiver_counts_unknown_total"
        text = receiver.http.get("/metrics").text
        assert f'{unknown}{{reason="timeout",route="otlp.logs"}} 5.0' in text
        assert f'{unknown}{{reason="breaker_open",route="otlp.logs"}} 3.0' in text
        refusal = Counts(stage="otlp_log", rejected=1, reasons=["no"])
        with FakeWorkers(broker, lambda _message: [refusal]):
            until(
                "counts are waited for again",
                lambda: b"partial" in receiver.http.post("/v1/logs", content=logs(), headers=otlp()).content,
            )
    finally:
        receiver.stop()


def test_sigterm_finishes_open_requests(broker: Broker, tmp_path: Path) -> None:
    """A request that is half read when the signal comes is answered and stored; then the process ends with 0."""
    receiver = Receiver(broker, tmp_path, counts_wait_sentry_ms="0").wait_ready()
    body = envelope()
    head = f"POST /api/43/envelope/ HTTP/1.1\r\nHost: x\r\nX-Sentry-Auth: Sentry sentry_key={SECRET}\r\n".encode()
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        until("the receiver has begun to read", lambda: receiver.metric("axonpush_receiver_in_flight_bytes") > 0)
        receiver.process.send_signal(signal.SIGTERM)
        until("the receiver is stopping", lambda: b"receiver_stopping" in receiver.log.read_bytes())
        connection.sendall(body[10:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert receiver.process.wait(DEADLINE_S) == 0
    receiver.http.close()
    assert broker.last("raw.sentry.envelope.43").data == body


@pytest.mark.parametrize("path", ["/api/43/envelope/", "/v1/traces", "/event"])
def test_a_body_that_is_not_over_when_the_receiver_ends_is_a_503(broker: Broker, tmp_path: Path, path: str) -> None:
    """The server would answer 500, after which OTLP exporters throw their data away."""
    receiver = Receiver(broker, tmp_path, drain_timeout_s="0.5").wait_ready()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {SECRET}\r\nX-Axonpush-Channel: 43\r\n"
    auth = f"X-Sentry-Auth: Sentry sentry_key={SECRET}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.sendall((head + auth + "{").encode())
        until("the receiver has begun to read", lambda: receiver.metric("axonpush_receiver_in_flight_bytes") > 0)
        receiver.process.send_signal(signal.SIGTERM)
        answer = connection.recv(2000)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 2\r\n" in answer
    assert receiver.process.wait(DEADLINE_S) == 0
    receiver.http.close()


# The last moment of a drain lasts longer here, so that a test can do something in it on a machine that is busy.
LONG_LAST_MOMENT = ("-c", "import receiver.server as server; server.LAST_ANSWERS_S = 60; server.main()")


def test_a_request_that_begins_in_the_last_moment_of_a_drain_is_a_503(broker: Broker, tmp_path: Path) -> None:
    """Its head was half sent when the receiver was asked to stop, and the other half comes after the drain's end."""
    patient = {"body_deadline_s": "600", "body_min_bytes_per_s": "0"}
    receiver = Receiver(broker, tmp_path, program=LONG_LAST_MOMENT, drain_timeout_s="0.5", **patient).wait_ready()
    head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nX-API-Key: {SECRET}\r\nX-Axonpush-Channel: 43\r\n".encode()
    rest = b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.sendall(head)
        assert receiver.http.get("/health").status_code == 200  # the server has taken the connection by now
        receiver.process.send_signal(signal.SIGTERM)
        until("the drain to be over", lambda: b"receiver_drain_timeout" in receiver.log.read_bytes())
        connection.sendall(rest + b"{")
        answer = connection.recv(2000)
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b"\r\nretry-after: 2\r\n" in answer
    assert receiver.process.wait(DEADLINE_S) == 0
    receiver.http.close()


def test_a_body_that_waits_for_the_broker_when_the_receiver_ends_is_a_503(broker: Broker, tmp_path: Path) -> None:
    """A broker that does not answer: the wait for its ack ends with the drain, and not with the server."""
    receiver = Receiver(broker, tmp_path, drain_timeout_s="0.5", publish_timeout_s="600").wait_ready()
    body = b'{"resourceLogs":[]}'
    head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nX-API-Key: {SECRET}\r\nX-Axonpush-Channel: 43\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection, broker.frozen():
        connection.sendall(head.encode() + body)
        assert receiver.http.get("/health").status_code == 200
        receiver.process.send_signal(signal.SIGTERM)
        answer = connection.recv(2000)
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert receiver.process.wait(DEADLINE_S) == 0
    receiver.http.close()


def test_second_receiver_on_a_port_says_so(receiver: Receiver, broker: Broker, tmp_path: Path) -> None:
    """A taken port ends the process with 1 and names the setting."""
    environment = {**os.environ, "AXONPUSH_NATS_URL": broker.url, "AXONPUSH_PORT": str(receiver.port)}
    second = subprocess.run(
        [sys.executable, "-m", "receiver"], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False
    )
    assert second.returncode == 1
    assert b"AXONPUSH_PORT" in second.stderr


def test_keys_never_reach_the_log(receiver: Receiver) -> None:
    """No key stands in the receiver's log, whatever was sent before."""
    assert b"receiver_ready" in receiver.log.read_bytes()
    for secret in (SECRET, OVERRIDE, PUBLIC, FOREIGN):
        assert secret.encode() not in receiver.log.read_bytes()
