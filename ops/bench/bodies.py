"""Bodies for measurements, made by the real SDKs; each request gets its own ids. Needs the extra `dev`."""

from __future__ import annotations

import contextlib
import linecache
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson
import sentry_sdk
from opentelemetry.exporter.otlp.json.common import trace_encoder as json_traces
from opentelemetry.exporter.otlp.proto.common import _log_encoder as proto_logs
from opentelemetry.exporter.otlp.proto.common import trace_encoder as proto_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

FRAMES: Final = 30
BREADCRUMBS: Final = 20
SPANS: Final = 512
LOGS: Final = 512
CHILD_SPANS: Final = 20
ATTRIBUTES: Final = 10
LARGE_BYTES: Final = 5_900_000
VOCABULARY: Final = 12

ENVELOPE_PATH: Final = "/api/{channel}/envelope/"
_PROTOBUF: Final = {"content-type": "application/x-protobuf", "x-axonpush-channel": "{channel}", "x-api-key": "{key}"}
_JSON: Final = _PROTOBUF | {"content-type": "application/json"}
_SENTRY: Final = {
    "content-type": "application/x-sentry-envelope",
    "user-agent": "sentry.python/2.75.0",
    "x-sentry-auth": "Sentry sentry_version=7, sentry_client=sentry.python/2.75.0, sentry_key={key}",
}


@dataclass(frozen=True, slots=True)
class BodyKind:
    """One kind of body: its path, its number of rows, and `make`, which builds it with a 16-byte id."""

    name: str
    path: str
    headers: dict[str, str]
    rows: int
    make: Callable[[bytes], bytes]


def kinds() -> dict[str, BodyKind]:
    """Every kind by name. Nothing is built before it is needed."""
    zipped = _SENTRY | {"content-encoding": "gzip"}
    found = (
        BodyKind("error", ENVELOPE_PATH, zipped, 1, lambda token: _zipped(*error_parts(), token)),
        BodyKind("error-small", ENVELOPE_PATH, _SENTRY, 1, lambda token: _envelope(small_error(), token)),
        BodyKind("tiny", ENVELOPE_PATH, _SENTRY, 1, lambda token: _envelope(_TINY, token)),
        BodyKind("large", ENVELOPE_PATH, _SENTRY, 1, lambda token: _envelope(large(), token)),
        BodyKind("transaction", ENVELOPE_PATH, _SENTRY, CHILD_SPANS + 1, lambda token: _envelope(transaction(), token)),
        BodyKind("spans", "/v1/traces", _PROTOBUF, SPANS, lambda token: _replaced(spans_protobuf(), token)),
        BodyKind("spans-json", "/v1/traces", _JSON, SPANS, lambda token: _replaced_hex(spans_json(), token)),
        BodyKind("logs", "/v1/logs", _PROTOBUF, LOGS, lambda token: _replaced_hex(logs_protobuf(), token)),
    )
    return {kind.name: kind for kind in found}


def tokens(seed: int, count: int) -> list[bytes]:
    """`count` ids that no other seed gives."""
    rest = random.Random(seed)
    high = rest.getrandbits(64) | 1 << 63
    return [struct.pack(">QQ", high, number + 1) for number in range(count)]


# --- ids: a token's 32 digits replace the SDK's own ids


_ID: Final = b"5eed" * 8
_TINY: Final = b'{"event_id":"%s"}\n{"type":"event"}\n{"event_id":"%s","message":"out of paper","level":"info"}\n' % (
    _ID,
    _ID,
)


def _envelope(body: bytes, token: bytes) -> bytes:
    return body.replace(_ID, token.hex().encode())


def _replaced_hex(body: bytes, token: bytes) -> bytes:
    return body.replace(_ID, token.hex().encode())


def _replaced(body: bytes, token: bytes) -> bytes:
    return body.replace(bytes.fromhex(_ID.decode()), token)


def _zipped(before: bytes, after: bytes, packed: bytes, token: bytes) -> bytes:
    """One gzip member with a precompressed tail: much faster than compressing each body."""
    start = before.replace(_ID, token.hex().encode())
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    check = zlib.crc32(after, zlib.crc32(start))
    trailer = struct.pack("<II", check, len(start) + len(after))
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + first + packed + trailer


# --- Sentry


class _Keep(Transport):
    """A transport that keeps what the SDK would send."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@cache
def error_parts() -> tuple[bytes, bytes, bytes]:
    """An error of FRAMES frames: the part with its ids, the rest, and that rest deflated."""
    body = error()
    at = body.rindex(_ID) + len(_ID)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(body[at:]) + packer.flush()
    return body[:at], body[at:], packed


@cache
def error() -> bytes:
    """About 30 KB: FRAMES frames with context lines, BREADCRUMBS breadcrumbs, as sentry_sdk makes it."""
    client, keep = _client()
    with _scope(client) as scope:
        for number in range(BREADCRUMBS):
            scope.add_breadcrumb(category="query", message=f"SELECT {_words(number, 5)}", data={"took_ms": number * 7})
        scope.set_tag("till", "7")
        scope.set_user({"id": "42", "email": "somebody@shop.example"})
        try:
            _program()["step_0"]({})
        except Exception as raised:
            event, hint = event_from_exception(raised, client_options=client.options)
            client.capture_event(event, hint, scope=scope)
    return _written(keep.envelopes[0])


@cache
def small_error() -> bytes:
    """About 2 KB: an exception without frames."""
    client, keep = _client()
    scope = sentry_sdk.Scope()
    scope.set_tag("till", "7")
    value = {"type": "PaymentRefused", "value": _words(1, 40)}
    client.capture_event({"exception": {"values": [value]}, "extra": {"order": _words(2, 120)}}, scope=scope)
    return _written(keep.envelopes[0])


@cache
def transaction() -> bytes:
    """A transaction with CHILD_SPANS spans."""
    client, keep = _client(traces_sample_rate=1.0)
    with _scope(client), sentry_sdk.start_transaction(name="GET /cart", op="http.server") as root:
        for number in range(CHILD_SPANS):
            with root.start_child(op="db.query", name=f"SELECT {_words(number, 4)}") as span:
                span.set_data("db.rows", number)
    # Spans are identified by their trace: with one id for all, every body would make the same rows.
    return _written(keep.envelopes[0]).replace(root.trace_id.encode(), _ID)


@cache
def large() -> bytes:
    """An event of nearly the maximum size."""
    text = _words(3, 40)
    event = {
        "event_id": _ID.decode(),
        "message": "large",
        "extra": {f"part {n}": text for n in range(LARGE_BYTES // 400)},
    }
    payload = orjson.dumps(event)[:-1]
    filler = b',"filler":"' + b"x" * (LARGE_BYTES - len(payload)) + b'"}'
    return b'{"event_id":"%s"}\n{"type":"event"}\n' % _ID + payload + filler + b"\n"


def _client(**options: Any) -> tuple[Any, _Keep]:
    keep = _Keep()
    client = sentry_sdk.Client(
        dsn="http://pt_0123456789abcdef@127.0.0.1/1",
        transport=keep,
        default_integrations=False,
        include_local_variables=False,
        release="shop@1.2.3",
        **options,
    )
    return client, keep


@contextlib.contextmanager
def _scope(client: Any) -> Iterator[sentry_sdk.Scope]:
    """The SDK finds its client only in the current scope."""
    scope = sentry_sdk.Scope(client=client)
    with sentry_sdk.scope.use_isolation_scope(scope), sentry_sdk.scope.use_scope(scope):
        yield scope


def _written(envelope: Envelope) -> bytes:
    """As the SDK writes it, with our id, which stands first in the event."""
    header = envelope.headers | {"event_id": _ID.decode()}
    [item] = envelope.items
    event = item.payload.json or {}
    payload = orjson.dumps({"event_id": _ID.decode(), **{key: event[key] for key in event if key != "event_id"}})
    item_header = item.headers | {"length": len(payload)}
    return b"\n".join((orjson.dumps(header), orjson.dumps(item_header), payload, b""))


def _program() -> dict[str, Any]:
    """Thirty functions, each with its own lines around the call of the next."""
    lines: list[str] = []
    for number in range(FRAMES):
        lines += [f"def step_{number}(order):", *(f"    {line}" for line in _statements(number))]
        lines += [f"    return step_{number + 1}({{**order, {number}: {number}}})"]
        lines += [f"    # {line}" for line in _statements(number + 100)]
    lines += [f"def step_{FRAMES}(order):", "    raise ValueError(f'a value that nobody expected: {order}')"]
    name = "/srv/shop/checkout/steps.py"
    text = "\n".join(lines)
    linecache.cache[name] = (len(text), None, [f"{line}\n" for line in lines], name)
    space: dict[str, Any] = {"__name__": "shop.checkout.steps"}
    exec(compile(text, name, "exec"), space)  # our own source, so that the SDK finds real frames
    return space


def _statements(seed: int) -> list[str]:
    rest = random.Random(seed)
    words = _vocabulary()
    return [f"{rest.choice(words)}_{rest.choice(words)} = '{' '.join(rest.choices(words, k=6))}'" for _ in range(5)]


def _words(seed: int, count: int) -> str:
    return " ".join(random.Random(seed).choices(_vocabulary(), k=count))


@cache
def _vocabulary() -> list[str]:
    """Few words, so that the error compresses like a real one: six to one."""
    rest = random.Random(0)
    return ["".join(rest.choices("etaoinshrdlucmfwyp", k=rest.randint(3, 9))) for _ in range(VOCABULARY)]


# --- OpenTelemetry


@cache
def spans_protobuf() -> bytes:
    """SPANS spans with ATTRIBUTES attributes each, one trace."""
    return bytes(proto_traces.encode_spans(_spans()).SerializeToString()).replace(
        _trace_id(), bytes.fromhex(_ID.decode())
    )


@cache
def spans_json() -> bytes:
    """The same as OTLP/JSON."""
    body = orjson.dumps(json_traces.encode_spans(_spans()).to_dict())
    return body.replace(_trace_id().hex().encode(), _ID)


@cache
def logs_protobuf() -> bytes:
    """LOGS records with six attributes each; the resource holds the id."""
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(resource=Resource({"service.name": "shop", "service.instance.id": _ID.decode()}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("bench")
    for number in range(LOGS):
        attributes = {f"shop.key_{n}": _words(number * 6 + n, 1) for n in range(6)}
        logger.emit(body=_words(number, 8), severity_text="INFO", attributes=attributes)
    return bytes(proto_logs.encode_logs(exporter.get_finished_logs()).SerializeToString())


@cache
def _spans() -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")
    with tracer.start_as_current_span("GET /cart"):
        for number in range(SPANS - 1):
            with tracer.start_as_current_span(f"step {number % 20}") as span:
                for n in range(ATTRIBUTES):
                    span.set_attribute(f"shop.key_{n}", _words(number + n, 2) if n % 3 else number * n)
    return tuple(exporter.get_finished_spans())


def _trace_id() -> bytes:
    context = _spans()[0].get_span_context()
    assert context is not None
    return context.trace_id.to_bytes(16)
