"""The receiver's answers, endpoint by endpoint, over fakes at its own seams: publisher, registry, workers' replies."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from ops.runtime.frames import NOTHING_SHARED, Block
from receiver.admission.registry import RegistryUnavailable
from receiver.app import App
from receiver.delivery.counts import Inbox
from receiver.delivery.publish import BodyTooLarge, StoredBody, Unavailable
from receiver.settings import ReceiverSettings
from receiver.steps import RequestSteps
from schemas.counts import Counts
from schemas.registry import Channel, Key, key_hash

SECRET = "ak_" + "s" * 32
OVERRIDE = "ak_" + "o" * 32
PUBLIC = "pt_" + "p" * 32
ONE_CHANNEL = "ak_" + "1" * 32
FOREIGN = "ak_" + "f" * 32
REVOKED = "ak_" + "r" * 32
EVENT_ID = "a" * 32
ENVELOPE = b'{"event_id":"%s"}\n{"type":"event"}\n{}\n' % EVENT_ID.encode()
LOGS = b'{"resourceLogs":[]}'


class FakeRegistry:
    """Holds what it is given; `away` makes every look-up fail."""

    ready = True
    away = False

    def __init__(self) -> None:
        keys = (
            key(SECRET),
            key(OVERRIDE, allow_environment_override=True),
            key(PUBLIC, kind="public", origins=("https://shop.example", "https://*.wild.example")),
            key(ONE_CHANNEL, channels=(42,)),
            key(FOREIGN, organisation="other"),
            key(REVOKED, revoked=True),
        )
        self.keys = {one.sha256: one for one in keys}
        self.channels = {number: Channel(id=number, organisation="default") for number in (42, 43)}
        self.channels[44] = Channel(id=44, organisation="default", archived_at="2026-01-01T00:00:00Z")

    async def key(self, sha256: str) -> Key | None:
        if self.away:
            raise RegistryUnavailable
        return self.keys.get(sha256)

    async def channel(self, channel_id: int) -> Channel | None:
        if self.away:
            raise RegistryUnavailable
        return self.channels.get(channel_id)


class FakePublisher:
    """Keeps what is published; fails with `error` if there is one, calls `on_publish` with the headers."""

    connected = True

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, dict[str, str]]] = []
        self.error: Exception | None = None
        self.on_publish: Callable[[dict[str, str]], None] = lambda _headers: None

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block = NOTHING_SHARED
    ) -> StoredBody:
        if self.error:
            raise self.error
        headers = {**shared.fields, **headers}
        duplicate = any(headers["Nats-Msg-Id"] == known["Nats-Msg-Id"] for _, _, known in self.published)
        self.published.append((subject, body, headers))
        self.on_publish(headers)
        return StoredBody(len(self.published), duplicate)


class Answered:
    """An answer as a client sees it."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        pairs = [(name.decode("ascii"), value.decode("ascii")) for name, value in messages[0]["headers"]]
        self.headers = dict(pairs)
        assert len(self.headers) == len(pairs), f"a header twice: {pairs}"
        self.body: bytes = messages[1]["body"]
        assert self.headers["content-length"] == str(len(self.body))

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Client:
    """Drives the application without a socket."""

    def __init__(self, **settings: Any) -> None:
        off = {"counts_wait_otlp_ms": 0, "counts_wait_sentry_ms": 0}
        self.publisher = FakePublisher()
        self.registry = FakeRegistry()
        self.inbox = Inbox("_INBOX.test")
        self.steps = RequestSteps(
            ReceiverSettings(**(off | settings)), self.registry, self.publisher, self.inbox, lambda: 1_000
        )
        self.app = App(self.steps)

    def post(self, path: str, body: bytes | Iterable[bytes] = b"", **headers: str) -> Answered:
        return self.send("POST", path, body, headers)

    def send(self, method: str, path: str, body: bytes | Iterable[bytes] = b"", headers: Any = None) -> Answered:
        chunks = [body] if isinstance(body, bytes) else list(body)
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        pairs = headers.items() if isinstance(headers, dict) else headers or ()
        encoded = [(name.lower().replace("_", "-").encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        return self.run(method, path, encoded, messages)

    def run(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], messages: list[dict[str, Any]]
    ) -> Answered:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": plain,
            "query_string": query.encode("latin-1", "replace"),
            "headers": headers,
            "client": ("192.0.2.1", 1),
        }
        waiting = list(messages)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return Answered(sent)


def key(secret: str, **fields: Any) -> Key:
    base: dict[str, Any] = {"organisation": "default", "environment": "production", "kind": "secret"}
    return Key(sha256=key_hash(secret), **(base | fields))


def auth(secret: str = SECRET) -> str:
    return f"Sentry sentry_key={secret}, sentry_version=7"


def otlp(secret: str = SECRET, channel: str = "42", content_type: str = "application/json") -> dict[str, str]:
    return {"x_api_key": secret, "x_axonpush_channel": channel, "content_type": content_type}


@pytest.fixture
def client() -> Client:
    return Client()


# --- keys and channels


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x_sentry_auth": auth()}, ""),
        ({"authorization": f"DSN https://{SECRET}@host/prefix/42"}, ""),
        ({"authorization": f"DSN https://{SECRET}:secret@host/42"}, ""),
        ({"authorization": auth()}, ""),
        ({"authorization": "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode()}, ""),
        ({}, f"?sentry_key={SECRET}&sentry_version=7"),
        ({"x_sentry_auth": auth(), "authorization": "Bearer x"}, f"?sentry_key={SECRET}"),
    ],
)
def test_every_way_to_send_a_key_works(client: Client, headers: dict[str, str], query: str) -> None:
    """Header, DSN, Basic and query all let an envelope in, and its id comes back."""
    answer = client.post(f"/api/42/envelope/{query}", ENVELOPE, **headers)
    assert (answer.status, answer.json) == (200, {"id": EVENT_ID})


def test_envelope_dsn_is_the_last_resort(client: Client) -> None:
    """A tunnelled envelope carries its key in its first line, compressed or not."""
    body = b'{"dsn":"https://%s@host/42"}\n' % SECRET.encode()
    assert client.post("/api/42/envelope/", body).status == 200
    assert client.post("/api/42/envelope/", gzip.compress(body), content_encoding="gzip").status == 200
    assert len(client.publisher.published) == 2


def test_different_keys_are_refused(client: Client) -> None:
    """Two sources that name different keys are 401, the envelope's own included."""
    assert client.post(f"/api/42/envelope/?sentry_key={OVERRIDE}", ENVELOPE, x_sentry_auth=auth()).status == 401
    body = b'{"dsn":"https://%s@host/42"}\n' % OVERRIDE.encode()
    assert client.post("/api/42/envelope/", body, x_sentry_auth=auth()).status == 401
    assert client.publisher.published == []


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/api/42/store/", "/api/42/integration/otlp/v1/traces/"])
@pytest.mark.parametrize(
    ("secret", "channel", "status"),
    [
        ("", "42", 401),
        ("ak_unknown", "42", 401),
        ("ak_unknown", "999", 401),
        (REVOKED, "42", 401),
        (SECRET, "999", 404),
        (SECRET, "0", 400),
        (SECRET, "x", 400),
        (SECRET, "-1", 400),
        (SECRET, "9223372036854775808", 400),
        (SECRET, "\u0664\u0662", 400),
        (FOREIGN, "42", 403),
        (ONE_CHANNEL, "43", 403),
        (SECRET, "44", 403),
        (FOREIGN, "44", 403),
        (SECRET, "42", 200),
        (ONE_CHANNEL, "0042", 200),
    ],
)
def test_status_of_keys_and_channels(client: Client, path: str, secret: str, channel: str, status: int) -> None:
    """401 for the key comes before 400 and 404 for the channel, and those before 403."""
    headers = {"x_sentry_auth": auth(secret)} if secret else {}
    answer = client.post(path.replace("42", channel), ENVELOPE, content_type="application/json", **headers)
    assert answer.status == status
    assert not secret or secret not in answer.body.decode()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (otlp(""), 401, 16),
        (otlp("ak_unknown"), 401, 16),
        (otlp("no key at all"), 401, 16),
        (otlp(channel=""), 400, 3),
        (otlp(channel="x"), 400, 3),
        (otlp(channel="999"), 404, 5),
        (otlp(FOREIGN), 403, 7),
        (otlp(channel="44"), 403, 7),
        (otlp(content_type="text/plain"), 415, 3),
        (otlp("", content_type=""), 401, 16),
        (otlp() | {"content_encoding": "snappy"}, 415, 3),
        (otlp() | {"content_encoding": "gzip"}, 400, 3),
        (otlp() | {"content_length": "6000001"}, 413, 8),
        (otlp("", content_type="application/x-protobuf"), 401, 16),
        (otlp(channel="999", content_type="Application/X-Protobuf; a=b"), 404, 5),
    ],
)
@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces/"])
def test_otlp_errors_are_a_status_in_the_requests_encoding(
    client: Client, path: str, headers: dict[str, str], status: int, code: int
) -> None:
    """Each refusal has its HTTP status, its google.rpc.Code, a message, and the request's media type."""
    answer = client.post(path, LOGS, **headers)
    is_protobuf = "protobuf" in headers["content_type"].lower()
    assert answer.status == status
    assert answer.headers["content-type"] == ("application/x-protobuf" if is_protobuf else "application/json")
    found = Status.FromString(answer.body) if is_protobuf else Status(**(answer.json | {"details": []}))
    assert (found.code, bool(found.message)) == (code, True)
    assert client.publisher.published == []


def test_store_without_channel_needs_a_key_of_one(client: Client) -> None:
    """The oldest path names no channel: the key's only one is meant, else 400."""
    assert client.post("/api/store/", b"{}", x_sentry_auth=auth(ONE_CHANNEL)).status == 200
    assert client.publisher.published[0][0] == "raw.sentry.store.42"
    assert client.post("/api/store/", b"{}", x_sentry_auth=auth()).status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "https://shop.example"}, 200),
        ({"origin": "https://shop.example:443"}, 200),
        ({"referer": "https://shop.example/cart?x=1"}, 200),
        ({"origin": "https://a.wild.example"}, 200),
        ({"origin": "http://shop.example"}, 403),
        ({"origin": "https://shop.example.evil.example"}, 403),
        ({"origin": "https://shop.example@evil.example"}, 403),
        ({"origin": "https://wild.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://[bad"}, 403),
    ],
)
def test_origins_of_a_key_are_enforced(client: Client, headers: dict[str, str], status: int) -> None:
    """A page the key was not made for is 403; a sender that is no page passes."""
    answer = client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth(PUBLIC), **headers)
    assert answer.status == status
    assert client.post("/v1/logs", LOGS, **otlp(PUBLIC), **headers).status == status


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/logs"])
@pytest.mark.parametrize(
    ("secret", "asked", "status", "environment", "via"),
    [
        (SECRET, "", 200, "production", "api-key"),
        (SECRET, "staging", 200, "production", "api-key"),
        (SECRET, "Not A Slug", 200, "production", "api-key"),
        (OVERRIDE, "", 200, "production", "api-key"),
        (OVERRIDE, "staging", 200, "staging", "header"),
        (OVERRIDE, "Not A Slug", 400, "production", "api-key"),
        (OVERRIDE, "a" * 65, 400, "production", "api-key"),
        (OVERRIDE, "staging\n", 200, "staging", "header"),
    ],
)
def test_environment_is_resolved_and_said(  # noqa: PLR0917
    client: Client, path: str, secret: str, asked: str, status: int, environment: str, via: str
) -> None:
    """The header counts with the permission only, and the answer says what counted, refused or not."""
    headers = {**otlp(secret), "x_sentry_auth": auth(secret), "x_axonpush_environment": asked}
    answer = client.post(path, ENVELOPE, **headers)
    assert answer.status == status
    assert answer.headers["x-axonpush-resolved-environment"] == environment
    assert answer.headers["x-axonpush-resolved-via"] == via
    if status == 200:
        fields = client.publisher.published[0][2]
        assert fields["Environment"] == environment
        assert (fields.get("Environment-Override") == "1") == (secret == OVERRIDE and not asked)


def test_resolved_environment_is_on_errors_after_the_key(client: Client) -> None:
    """404, 403 and 413 say it too; a 401 cannot."""
    for headers, known in (
        (otlp(channel="999"), True),
        (otlp() | {"content_length": "9000000"}, True),
        (otlp("x"), False),
    ):
        answer = client.post("/v1/logs", LOGS, **headers)
        assert answer.status >= 400
        assert ("x-axonpush-resolved-environment" in answer.headers) is known


# --- bodies


def test_message_is_the_body_and_its_headers(client: Client) -> None:
    """The published message holds the bytes as they came and exactly the documented headers."""
    wire = zlib.compress(ENVELOPE)
    headers = {
        "content_encoding": "deflate",
        "content_type": "text/plain",
        "user_agent": "a\xe9",
        "x_forwarded_for": "6.6.6.6",
    }
    assert client.post("/api/42/envelope/", [wire[:5], wire[5:]], x_sentry_auth=auth(), **headers).status == 200
    subject, body, fields = client.publisher.published[0]
    assert (subject, body) == ("raw.sentry.envelope.42", wire)
    assert len(fields.pop("Nats-Msg-Id")) == 32
    assert fields == {
        "Schema-Version": "1",
        "Organisation": "default",
        "Channel": "42",
        "Key-Id": key_hash(SECRET)[:16],
        "Environment": "production",
        "Received-At": "1000",
        "Content-Type": "text/plain",
        "Content-Encoding": "deflate",
        "Sender-Ip": "192.0.2.1",
        "User-Agent": "a?",
    }


def test_forwarded_address_counts_behind_a_proxy_only() -> None:
    """X-Forwarded-For can be sent by anyone, so it counts by setting."""
    client = Client(trust_forwarded=True)
    client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth(), x_forwarded_for="198.51.100.7, 10.0.0.1")
    assert client.publisher.published[0][2]["Sender-Ip"] == "198.51.100.7"


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/api/42/store/"])
def test_empty_body_is_refused(client: Client, path: str) -> None:
    """No bytes, on the wire or inflated, are 400."""
    assert client.post(path, b"", x_sentry_auth=auth()).status == 400
    assert client.post(path, gzip.compress(b""), x_sentry_auth=auth(), content_encoding="gzip").status == 400


def test_empty_otlp_body_is_a_message_in_protobuf_only(client: Client) -> None:
    """Zero bytes are the empty protobuf message, but no JSON."""
    answer = client.post("/v1/traces", b"", **otlp(content_type="application/x-protobuf"))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "application/x-protobuf")
    assert client.post("/v1/traces", b"", **otlp()).status == 400


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/api/42/store/", "/v1/logs"])
def test_limit_holds_on_the_wire_and_inflated(path: str) -> None:
    """The limit itself passes, one byte more is 413: declared, streamed, inflated."""
    client = Client(max_body_bytes=1000)
    headers = {**otlp(), "x_sentry_auth": auth()}
    for size_bytes, status in ((1000, 200), (1001, 413)):
        body = ENVELOPE.ljust(size_bytes, b"\n")
        assert client.post(path, body, **headers).status == status
        assert client.post(path, [bytes([byte]) for byte in body], **headers).status == status
        assert client.post(path, gzip.compress(body), **headers, content_encoding="gzip").status == status
    assert client.post(path, ENVELOPE, **headers, content_length="1001").status == 413
    assert len(client.publisher.published) == 3


def test_truncated_body_is_refused_and_not_published(client: Client) -> None:
    """A sender that ends before its body does leaves nothing behind."""
    messages = [{"type": "http.request", "body": ENVELOPE, "more_body": True}]
    answer = client.run("POST", "/api/42/envelope/", [(b"x-sentry-auth", auth().encode())], messages)
    assert (answer.status, client.publisher.published) == (400, [])


def test_budget_is_given_back() -> None:
    """More bytes than the budget are 503 with Retry-After; after every outcome the budget is whole again."""
    client = Client(in_flight_bytes=100)
    for _ in range(3):
        answer = client.post("/api/42/envelope/", ENVELOPE.ljust(101), x_sentry_auth=auth())
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth()).status == 200
        assert client.post("/api/42/envelope/", b"x", x_sentry_auth=auth(), content_encoding="gzip").status == 400
    assert REGISTRY.get_sample_value("axonpush_receiver_in_flight_bytes") == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"event_id":"%s"}' % EVENT_ID.encode(), {"id": EVENT_ID}),
        (b' {"event_id":"AAAAAAAA-aaaa-aaaa-aaaa-aaaaaaaaaaaa"}', {"id": EVENT_ID}),
        (base64.b64encode(b'{"event_id":"%s"}' % EVENT_ID.encode()), {"id": EVENT_ID}),
        (base64.b64encode(zlib.compress(b'{"event_id":"%s"}' % EVENT_ID.encode())), {"id": EVENT_ID}),
        (b'{"event_id":7}', {}),
        (b"[]", {}),
        (b"{", {}),
        (b"\xff", {}),
    ],
)
def test_store_answers_with_the_events_id(client: Client, body: bytes, expected: Any) -> None:
    """The id of plain and of legacy bodies comes back; without one the answer is {}."""
    answer = client.post("/api/42/store/", body, x_sentry_auth=auth())
    assert (answer.status, answer.json) == (200, expected)


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b'{"message":"x"}', 2),
        (base64.b64encode(b'{"message":"x"}'), 2),
        (b'{"message":"x","timestamp":1700000000}', 1),
        (b'{"message":"x","event_id":"%s"}' % EVENT_ID.encode(), 1),
    ],
)
def test_equal_store_bodies_without_id_and_time_are_two_events(client: Client, body: bytes, messages: int) -> None:
    """Anything else that comes twice with equal bytes is a client's retry."""
    for _ in range(2):
        assert client.post("/api/42/store/", body, x_sentry_auth=auth()).status == 200
    assert len({told["Nats-Msg-Id"] for _, _, told in client.publisher.published}) == messages


def test_envelope_on_store_is_an_envelope(client: Client) -> None:
    """Some SDKs post envelopes to the old path and say so."""
    answer = client.post("/api/42/store/", ENVELOPE, x_sentry_auth=auth(), content_type="application/x-sentry-envelope")
    assert answer.json == {"id": EVENT_ID}
    assert client.publisher.published[0][0] == "raw.sentry.envelope.42"


def test_unreadable_header_is_for_unpack_to_judge(client: Client) -> None:
    """With a known key a broken envelope is stored first; without one there is nobody to store it for."""
    assert client.post("/api/42/envelope/", b"nonsense", x_sentry_auth=auth()).status == 200
    assert client.post("/api/42/envelope/", b"nonsense").status == 401


# --- the broker and the workers


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/logs"])
@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Unavailable("disconnected"), 503, "2"),
        (Unavailable("stream_full", 5), 503, "5"),
        (BodyTooLarge("max_payload"), 413, None),
        (RuntimeError("a bug"), 503, "5"),
    ],
)
def test_what_the_broker_refuses_is_never_a_500(
    client: Client, path: str, error: Exception, status: int, retry_after: str | None
) -> None:
    """Not stored is 503 to be repeated, or 413; even a bug of ours makes senders come back."""
    client.publisher.error = error
    answer = client.post(path, LOGS, **otlp(), x_sentry_auth=auth())
    assert (answer.status, answer.headers.get("retry-after")) == (status, retry_after)


def test_unreadable_registry_is_503(client: Client) -> None:
    """Nobody is refused for good because the registry could not be asked."""
    client.registry.away = True
    answer = client.post("/v1/logs", LOGS, **otlp())
    assert (answer.status, answer.headers.get("retry-after")) == (503, "2")
    assert client.publisher.published == []
    client.registry.away = False
    assert client.post("/v1/logs", LOGS, **otlp()).status == 200


def replying(*replies: Counts, **settings: int) -> Client:
    """A client whose workers answer every message with `replies`."""
    client = Client(**({"counts_wait_otlp_ms": 5000, "counts_wait_sentry_ms": 5000} | settings))

    def on_publish(headers: dict[str, str]) -> None:
        for counts in replies if "Counts-To" in headers else ():
            client.inbox.deliver(headers["Counts-To"].rpartition(".")[2], counts.encode())

    client.publisher.on_publish = on_publish
    return client


def test_partial_success_counts_and_names_reasons() -> None:
    """What was rejected is counted and every reason named, once."""
    client = replying(
        Counts(stage="event", accepted=1),
        Counts(stage="unpack", expect=2, rejected=2, reasons=["profile: not stored"]),
        Counts(stage="log", accepted=3, rejected=1, reasons=["log 4: no body", "profile: not stored"]),
    )
    answer = client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth())
    partial = {"acceptedItems": 4, "rejectedItems": 3, "errorMessage": "profile: not stored; log 4: no body"}
    assert (answer.status, answer.json) == (200, {"id": EVENT_ID, "partialSuccess": partial})


def test_full_success_says_nothing() -> None:
    """Counts without a rejection leave the answer as it is."""
    client = replying(Counts(stage="unpack", expect=0))
    assert client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth()).json == {"id": EVENT_ID}
    client = replying(Counts(stage="otlp_log", accepted=3))
    assert client.post("/v1/logs", LOGS, **otlp()).json == {}


def test_otlp_warning_is_a_partial_success_without_rejections() -> None:
    """A warning stands in errorMessage while nothing was rejected."""
    client = replying(Counts(stage="otlp_log", accepted=3, warning="snake_case keys"))
    partial = {"rejectedLogRecords": 0, "errorMessage": "snake_case keys"}
    assert client.post("/v1/logs", LOGS, **otlp()).json == {"partialSuccess": partial}


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/logs"])
def test_invalid_body_is_400_each_time_it_comes(path: str) -> None:
    """The workers' verdict on the body is the answer, and still is when the broker knows the body already."""
    client = replying(Counts(stage="unpack", invalid="envelope byte 3: expected a newline"))
    for _ in range(2):
        answer = client.post(path, LOGS, **otlp(), x_sentry_auth=auth())
        assert answer.status == 400
        assert "envelope byte 3" in answer.body.decode()


def test_counts_that_do_not_come_are_not_waited_for() -> None:
    """No reply, garbage, a reply for somebody else: a plain 200."""
    client = Client(counts_wait_sentry_ms=1)
    client.publisher.on_publish = lambda headers: (
        client.inbox.deliver(headers.get("Counts-To", "").rpartition(".")[2], b"\xff"),
        client.inbox.deliver("12345", Counts(stage="unpack", expect=0).encode()),
    )[0]
    assert client.post("/api/42/envelope/", ENVELOPE, x_sentry_auth=auth()).json == {"id": EVENT_ID}


# --- HTTP manners


def test_sentry_errors_say_why_twice(client: Client) -> None:
    """JSON with `detail`, and the same as one ASCII header that SDKs log."""
    answer = client.post("/api/4\u00fc2/envelope/", ENVELOPE, x_sentry_auth=auth())
    assert answer.status == 400
    assert answer.json["detail"].isascii()
    assert answer.headers["x-sentry-error"] == answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/42/envelope/", 200),
        ("/p/api/42/security", 200),
        ("/v1/logs", 204),
        ("/api/1/integration/otlp/v1/logs", 204),
    ],
)
def test_preflight_needs_no_key(client: Client, path: str, status: int) -> None:
    """OPTIONS lets a page ask for any header it will send, and for credentials."""
    asked = {"origin": "https://page.example", "access-control-request-headers": "x-custom,baggage"}
    answer = client.send("OPTIONS", path, headers=asked)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "x-custom,baggage" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert answer.headers["access-control-max-age"] == "7200"


@pytest.mark.parametrize(
    ("site", "secret", "status"),
    [("cross-site", PUBLIC, 403), ("same-site", PUBLIC, 403), ("none", PUBLIC, 200), ("", PUBLIC, 200),
     ("same-origin", PUBLIC, 200), ("cross-site", SECRET, 200)],
)  # fmt: skip
def test_a_page_that_withholds_its_address_counts_as_another_site(
    client: Client, site: str, secret: str, status: int
) -> None:
    """<img referrerpolicy=no-referrer> sends neither Origin nor Referer; browsers say that it is from another site."""
    headers = {"sec_fetch_site": site} if site else {}
    path = f"/api/42/cron/nightly/{secret}/?status=ok"
    assert client.send("GET", path, headers=headers).status == status


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/logs", "/nowhere"])
@pytest.mark.parametrize("origin", ["https://page.example", "null", ""])
def test_cross_origin_headers_are_on_errors_too(client: Client, path: str, origin: str) -> None:
    """A page may read why it was refused."""
    answer = client.post(path, LOGS, content_type="application/json", **({"origin": origin} if origin else {}))
    assert answer.status in (401, 404)
    assert answer.headers["access-control-allow-origin"] == (origin or "*")
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("x-sentry-error", "x-sentry-rate-limits", "retry-after", "x-axonpush-resolved-environment"):
        assert name in exposed
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["vary"] == "Origin"


def test_wrong_method_names_the_right_one(client: Client) -> None:
    """405 with Allow, in the dialect of the path."""
    answer = client.send("GET", "/api/42/envelope/")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    answer = client.send("PUT", "/v1/logs")
    assert (answer.status, answer.json["code"]) == (405, 12)


def test_unknown_paths_are_404(client: Client) -> None:
    """JSON for anything, and a Status that says what to do for OTLP metrics."""
    for path in ("/", "/api/", "/api/42/", "/api/42/nothing", "/v1", "/" + "a/" * 500):
        answer = client.post(path)
        assert answer.status == 404
        assert "detail" in answer.json
    answer = client.post("/v1/metrics", content_type="application/x-protobuf")
    assert (answer.status, Status.FromString(answer.body).code) == (404, 5)


@pytest.mark.parametrize("path", ["/api/42/envelope/", "/v1/traces", "/event", "/api/42/minidump/"])
def test_a_request_that_begins_when_the_process_ends_is_told_to_come_again(client: Client, path: str) -> None:
    """503 in the sender's own form, whatever it sends; the process' own pages go on."""
    client.app.ending = True
    answered = client.post(path, b"{}")
    assert (answered.status, answered.headers["retry-after"]) == (503, "2")
    assert client.publisher.published == []
    assert client.send("GET", "/health").status == 200


def test_health_ready_and_metrics(client: Client) -> None:
    """Up is up; ready needs registry and broker and no shutdown."""
    assert client.send("GET", "/health").status == 200
    assert client.send("GET", "/ready").status == 200
    client.publisher.connected = False
    assert client.send("GET", "/ready").json["broker"] is False
    client.publisher.connected = True
    client.app.stopping = True
    assert client.send("GET", "/ready").status == 503
    assert b"axonpush_receiver_requests_total" in client.send("GET", "/metrics").body


@pytest.mark.asyncio
async def test_lifespan_is_acknowledged(client: Client) -> None:
    """Any ASGI server may run the application."""
    sent: list[str] = []
    waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await client.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# --- any bytes

NAMES = ("x-sentry-auth", "authorization", "content-type", "content-encoding", "content-length", "origin", "referer",
         "x-api-key", "x-axonpush-channel", "x-axonpush-environment", "user-agent", "access-control-request-headers",
         "x-forwarded-for", "expect")  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([auth().encode(), SECRET.encode(), b"42", b"gzip", b"application/json", b"application/x-protobuf"]),
    st.binary(max_size=80),
)
HEADERS = st.lists(st.tuples(st.sampled_from([name.encode() for name in NAMES]), VALUES), max_size=8)
SEGMENTS = st.one_of(
    st.sampled_from(["api", "42", "envelope", "store", "integration", "otlp", "v1", "logs", "traces", "", "metrics"]),
    st.text(max_size=8),
)
PATHS = st.one_of(
    st.sampled_from(
        ["/api/42/envelope/", "/api/42/store/", "/v1/logs", "/v1/traces", "/api/42/integration/otlp/v1/logs"]
    ),
    st.lists(SEGMENTS, max_size=8).map(lambda parts: "/" + "/".join(parts)),
)
BODIES = st.lists(
    st.one_of(st.sampled_from([ENVELOPE, LOGS, gzip.compress(ENVELOPE)]), st.binary(max_size=200)), max_size=3
)


@given(
    method=st.sampled_from(["POST", "POST", "POST", "OPTIONS", "GET", "\u00fc"]),
    path=PATHS,
    query=st.one_of(st.just(f"?sentry_key={SECRET}"), st.text(max_size=30).map(lambda text: "?" + text)),
    headers=HEADERS,
    body=BODIES,
    is_cut=st.booleans(),
)
def test_no_bytes_make_an_unexpected_error(  # noqa: PLR0917
    method: str, path: str, query: str, headers: list[tuple[bytes, bytes]], body: list[bytes], is_cut: bool
) -> None:
    """Whatever comes in, the answer is a well-formed 2xx or 4xx, and no error of ours is counted."""
    before = REGISTRY.get_sample_value("axonpush_receiver_unexpected_errors_total")
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in body]
    messages.append({"type": "http.disconnect"} if is_cut else {"type": "http.request"})
    answer = Client().run(method, path.replace("?", "") + query, headers, messages)
    assert 200 <= answer.status < 500
    assert REGISTRY.get_sample_value("axonpush_receiver_unexpected_errors_total") == before
    if answer.headers.get("content-type") == "application/json":
        json.loads(answer.body)


def test_the_address_in_a_browser_says_what_this_is() -> None:
    """The same short text for everybody: where to send, where to read on; no version, no key, no name of a machine."""
    answer = Client().send("GET", "/")
    assert answer.status == 200
    told = answer.json
    assert {"what", "send", "state", "documentation"} <= set(told)
    assert "DSN" in json.dumps(told)
    assert len(answer.body) < 1_000
    assert Client().post("/", b"").status == 404
