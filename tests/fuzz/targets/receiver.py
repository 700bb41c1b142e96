"""Whole requests through the receiver's application, in process: whatever comes, the answer is below 500."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import orjson
from google.rpc.status_pb2 import Status

from ops.runtime.frames import NOTHING_SHARED, Block
from receiver.app import App
from receiver.delivery.counts import Inbox
from receiver.delivery.publish import StoredBody
from receiver.settings import ReceiverSettings
from receiver.steps import RequestSteps
from schemas.registry import Channel, Key, key_hash
from tests.fuzz import exports
from tests.fuzz.target import Sample, Target

SECRET: Final = "ak_" + "s" * 32
_CHANNEL: Final = 42
_PIECE_BYTES: Final = 700

Headers = list[tuple[bytes, bytes]]


class OneKey:
    """A registry that knows one key and one channel."""

    ready = True

    async def key(self, sha256: str) -> Key | None:
        found = Key(sha256=key_hash(SECRET), organisation="default", environment="production", kind="secret")
        return found if sha256 == found.sha256 else None

    async def channel(self, channel_id: int) -> Channel | None:
        return Channel(id=_CHANNEL, organisation="default") if channel_id == _CHANNEL else None


class Forgetful:
    """A publisher that stores everything nowhere, and checks that it could be sent."""

    connected = True

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], shared: Block = NOTHING_SHARED
    ) -> StoredBody:
        assert subject.isascii()
        assert " " not in subject
        for name, value in (*shared.fields.items(), *headers.items()):
            assert (name + value).isascii(), (name, value)
            assert (name + value).isprintable(), (name, value)
        return StoredBody(1, duplicate=False)


@cache
def _application() -> tuple[App, asyncio.AbstractEventLoop]:
    settings = ReceiverSettings(counts_wait_otlp_ms=0, counts_wait_sentry_ms=0)
    app = App(RequestSteps(settings, OneKey(), Forgetful(), Inbox("_INBOX.fuzz"), lambda: exports.START_NS))
    return app, asyncio.new_event_loop()


def run(data: bytes) -> bool:
    """Sends a request written as HTTP/1.1 writes it; True for an answer below 400. No answer may be 500 or more."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.rpartition(b" HTTP")[0].partition(b"?")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    scope = {
        "type": "http",
        "method": method.decode("latin-1"),
        "path": path.decode("utf-8", "replace"),
        "query_string": query,
        "headers": headers,
        "client": ("192.0.2.1", 1),
    }
    return _answered(scope, body) < 400


def _answered(scope: dict[str, Any], body: bytes) -> int:
    pieces = [body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES)] or [b""]
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    app, loop = _application()
    loop.run_until_complete(app(scope, receive, send))
    headers = dict(sent[0]["headers"])
    _check(sent[0]["status"], headers, sent[1]["body"])
    # The receiver's own addresses are for no other site's scripts; a cut request may ask for one.
    assert headers.get(b"access-control-allow-origin") or scope["path"] in ("", "/"), scope["path"]
    return int(sent[0]["status"])


def _check(status: int, headers: dict[bytes, bytes], body: bytes) -> None:
    """The answer is below 500 and in the form its media type promises; errors are no exception."""
    assert 200 <= status < 500, (status, body)
    assert headers[b"content-length"] == str(len(body)).encode()
    assert not any(b"\r" in value or b"\n" in value for value in headers.values())
    if headers.get(b"content-type") == b"application/json":
        orjson.loads(body)
    elif headers.get(b"content-type") == b"application/x-protobuf" and status >= 400:
        assert Status.FromString(body).message


def request(path: str, headers: Headers, body: bytes) -> Sample:
    """A POST as a sample."""
    lines = [f"POST {path} HTTP/1.1".encode(), *(name + b": " + value for name, value in headers)]
    return Sample(b"\r\n".join(lines) + b"\r\n\r\n" + body, "http")


@cache
def otlp_requests() -> Sequence[Sample]:
    """Exports as the SDK sends them: both signals, both encodings, both ways to send a key."""
    found = []
    api_key = [(b"x-api-key", SECRET.encode()), (b"x-axonpush-channel", b"42")]
    dsn_key = [(b"x-sentry-auth", f"Sentry sentry_key={SECRET}, sentry_version=7".encode())]
    makers: tuple[tuple[str, Callable[..., list[bytes]]], ...] = (("logs", exports.logs), ("traces", exports.spans))
    for kind, make in makers:
        for media_type, body in (
            (b"application/json", make("json")[0]),
            (b"application/x-protobuf", make("protobuf")[1]),
        ):
            common = [
                (b"content-type", media_type),
                (b"origin", b"https://shop.example"),
                (b"content-length", b"%d" % len(body)),
            ]
            found.append(request(f"/v1/{kind}", [*api_key, *common, (b"x-axonpush-environment", b"staging")], body))
            found.append(request(f"/api/42/integration/otlp/v1/{kind}/", [*dsn_key, *common], body))
    return found


TARGETS: Final = (Target("receiver-otlp", otlp_requests, run),)
