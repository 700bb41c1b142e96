"""Bodies that cost a receiver or a worker much more than their sender, sent by four connections with a public token."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import aiohttp

CONNECTIONS: Final = 4
ANSWER_TIMEOUT_S: Final = 60.0
# All of a body that is allowed to be 6,000,000 bytes when inflated.
_ALL_BYTES: Final = 5_900_000
_ID: Final = "a" * 32
_SPAN: Final = '{"span_id":"%016x","trace_id":"' + _ID + '","start_timestamp":1.0,"timestamp":2.0}'


@dataclass(frozen=True, slots=True)
class HostileBody:
    """One request, compressed."""

    name: str
    path: str
    media_type: str
    body: bytes


def bodies(channel: int) -> list[HostileBody]:
    """One of each kind; each was seen to stop workers, receivers, or to cost hundreds of times what good data costs."""
    return [
        HostileBody(name, path.format(channel=channel), media_type, _compressed(make(), channel))
        for name, path, media_type, make in _KINDS
    ]


def _compressed(body: bytes, channel: int) -> bytes:
    return gzip.compress(body.replace(b'"channel_id":1,', b'"channel_id":%d,' % channel, 1), 9)


def another(body: bytes, number: int) -> bytes:
    """The same content as another message: the time in the head of the gzip stream is another one."""
    return body[:4] + number.to_bytes(4, "little") + body[8:]


def _envelope(kind: str, payload: bytes) -> bytes:
    head = json.dumps({"event_id": _ID}).encode()
    return b"%b\n%b\n%b\n" % (head, json.dumps({"type": kind, "length": len(payload)}).encode(), payload)


def _template() -> bytes:
    """A message template in which every place looks like the beginning of a parameter."""
    return _envelope("event", b'{"logentry":{"message":"%b","params":{"a":1}}}' % (b"%(" * (_ALL_BYTES // 2 - 500)))


def _empty_lists(before: bytes, after: bytes) -> bytes:
    """JSON that only a slow reader takes: NaN at its very end."""
    return before + b"[]," * (_ALL_BYTES // 3 - 500) + b"NaN" + after


def _minidump_form() -> bytes:
    field = _empty_lists(b'{"extra":{"a":[', b"]}}")
    start = b'--b\r\nContent-Disposition: form-data; name="upload_file_minidump"; filename="f"\r\n\r\nMDMP\x93\xa7\0\0'
    return (
        start
        + bytes(100)
        + b'\r\n--b\r\nContent-Disposition: form-data; name="sentry"\r\n\r\n'
        + field
        + b"\r\n--b--\r\n"
    )


def _otlp(record: bytes, count: int) -> bytes:
    """Protobuf: one resource, one scope, `count` times the same record."""
    records = (b"\x12" + bytes((len(record),)) + record) * count
    scope = b"\x12" + _varint(len(records)) + records
    return b"\x0a" + _varint(len(scope)) + scope


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _spans_with_a_large_user() -> bytes:
    spans = ",".join([_SPAN % 1] * 46_000)
    payload = {
        "type": "transaction",
        "transaction": "t",
        "start_timestamp": 1.0,
        "timestamp": 2.0,
        "user": {"id": "u" * 1000},
        "contexts": {"trace": {"trace_id": _ID, "span_id": "b" * 16}},
    }
    return _envelope("transaction", json.dumps(payload).encode()[:-1] + b',"spans":[%b]}' % spans.encode())


def _sessions() -> bytes:
    aggregates = ",".join(['{"started":"2026-01-01T00:00:00Z","exited":1}'] * 100_000)
    return _envelope("sessions", b'{"attrs":{"release":"r"},"aggregates":[%b]}' % aggregates.encode())


def _client_reports() -> bytes:
    line = json.dumps({"type": "client_report"}).encode()
    entries = [{"reason": f"r{n}", "category": "error", "quantity": 1} for n in range(400)]
    report = json.dumps({"timestamp": 1.0, "discarded_events": entries}).encode()
    return json.dumps({"event_id": _ID}).encode() + b"\n" + b"".join([line + b"\n" + report + b"\n"] * 200)


_KINDS: Final[tuple[tuple[str, str, str, Callable[[], bytes]], ...]] = (
    ("template of parameters", "/api/{channel}/envelope/", "application/x-sentry-envelope", _template),
    (
        "native event, NaN",
        "/event",
        "application/json",
        lambda: _empty_lists(b'{"identifier":"a","channel_id":1,"payload":{"a":[', b"]}}"),
    ),
    (
        "native batch, NaN",
        "/event/batch",
        "application/json",
        lambda: _empty_lists(b'{"channel_id":1,"events":[{"identifier":"a","payload":{"a":[', b"]}}]}"),
    ),
    ("minidump form, NaN", "/api/{channel}/minidump/", "multipart/form-data; boundary=b", _minidump_form),
    (
        "store, NaN",
        "/api/{channel}/store/",
        "application/json",
        lambda: _empty_lists(b'{"message":"x","extra":{"a":[', b"]}}"),
    ),
    ("200,000 empty logs", "/v1/logs", "application/x-protobuf", lambda: _otlp(b"", 200_000)),
    ("100,000 invalid spans", "/v1/traces", "application/x-protobuf", lambda: _otlp(b"\x0a\x01x", 100_000)),
    (
        "46,000 spans with a large user",
        "/api/{channel}/envelope/",
        "application/x-sentry-envelope",
        _spans_with_a_large_user,
    ),
    ("100,000 session aggregates", "/api/{channel}/envelope/", "application/x-sentry-envelope", _sessions),
    ("client reports", "/api/{channel}/envelope/", "application/x-sentry-envelope", _client_reports),
)


class HostileLoad:
    """Sends all of them again and again, from a thread of its own, until `stop`. `statuses` counts the answers."""

    def __init__(self, urls: list[str], channel: int, key: str) -> None:
        self._urls = urls
        self._channel = channel
        self._key = key
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.statuses: Counter[int | str] = Counter()

    def start(self) -> HostileLoad:
        self._thread.start()
        return self

    def stop(self) -> HostileLoad:
        self._stopped.set()
        self._thread.join()
        return self

    async def _run(self) -> None:
        chosen = bodies(self._channel)
        numbers = itertools.count()
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            senders = [asyncio.create_task(self._sender(session, chosen, numbers)) for _ in range(CONNECTIONS)]
            while not self._stopped.is_set():
                await asyncio.sleep(0.1)
            for task in senders:
                task.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _sender(self, session: aiohttp.ClientSession, chosen: list[HostileBody], numbers: Iterator[int]) -> None:
        while True:
            number = next(numbers)
            await self._post(session, chosen[number % len(chosen)], self._urls[number % len(self._urls)], number)

    async def _post(self, session: aiohttp.ClientSession, body: HostileBody, url: str, number: int) -> None:
        told = {
            "content-type": body.media_type,
            "content-encoding": "gzip",
            "x-api-key": self._key,
            "x-axonpush-channel": str(self._channel),
            "x-sentry-auth": f"Sentry sentry_version=7, sentry_client=hostile/{number}, sentry_key={self._key}",
        }
        if body.path.startswith(("/v1/", "/event")):
            del told["x-sentry-auth"]
        try:
            async with session.post(url + body.path, data=another(body.body, number), headers=told) as answer:
                await answer.read()
                self.statuses[answer.status] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.statuses[type(error).__name__] += 1
