"""Hostile OTLP bodies: many records in few bytes, deep values, countless keys."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from ops.bench.abuse.shape import AbuseKind, Shape, nest, repeat, repeat_numbered

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
LOGS: Final = "otlp.logs"
TRACES: Final = "otlp.traces"
_NOW_NS: Final = 1_795_272_300_000_000_000
# Field numbers in LogRecord and Span.
_LOG_ATTRIBUTES: Final = 6
_SPAN_ATTRIBUTES: Final = 9
_KEY: Final = b"ak_0123456789abcdef0123456789abcdef"


# --- protobuf, written by hand: a library would refuse half of it


def varint(value: int) -> bytes:
    """An unsigned number as protobuf writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def block(number: int, content: bytes) -> bytes:
    """Field `number` with bytes, a text or a message in it."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def _request(records: bytes, resource: bytes = b"", scope: bytes = b"") -> bytes:
    """One resource and one scope with these records (fields 2)."""
    return block(1, block(1, resource) + block(2, block(1, scope) + records))


def _text(value: bytes) -> bytes:
    return block(1, value)


def _pair(key: bytes, value: bytes) -> bytes:
    return block(1, key) + block(2, value)


def _span_ids(number: int = 1) -> bytes:
    """The ids of a valid span, and its times."""
    times = b"\x39" + struct.pack("<Q", _NOW_NS) + b"\x41" + struct.pack("<Q", _NOW_NS + 1)
    return block(1, struct.pack(">QQ", 1, number + 1)) + block(2, struct.pack(">Q", number + 1)) + times


def _records(record: bytes) -> Callable[[Shape], bytes]:
    return lambda shape: _request(repeat(block(2, record), shape.size_bytes))


def _attributes(field: int, shape: Shape, value: bytes) -> bytes:
    return b"".join(block(field, _pair(b"k%d" % number, value)) for number in range(shape.width))


def _with_attributes(field: int, start: bytes, value: Callable[[Shape], bytes]) -> Callable[[Shape], bytes]:
    return lambda shape: _request(repeat(block(2, start + _attributes(field, shape, value(shape))), shape.size_bytes))


def _deep(shape: Shape) -> bytes:
    """A list in a list in a list."""
    value = _text(b"x")
    for _ in range(shape.depth):
        value = block(5, block(1, value))
    return value


def _wide(shape: Shape) -> bytes:
    """A map of maps, as wide as deep."""
    inner = block(6, b"".join(block(1, _pair(b"m%d" % n, _text(b"x"))) for n in range(shape.width)))
    return block(6, b"".join(block(1, _pair(b"m%d" % n, inner)) for n in range(shape.width)))


def _other_names(field: int, start: bytes) -> Callable[[Shape], bytes]:
    """All attributes have different names, so caching by name does not help."""

    def make(shape: Shape) -> bytes:
        def record(number: int) -> bytes:
            pairs = (block(field, _pair(b"k%08d.%03d" % (number, n), _text(b"v"))) for n in range(shape.width))
            return block(2, start + b"".join(pairs))

        return _request(repeat_numbered(record, shape.size_bytes))

    return make


def _same_name(shape: Shape) -> bytes:
    """One record with the same attribute many times."""
    attribute = block(_LOG_ATTRIBUTES, _pair(b"k", _text(b"v")))
    return _request(block(2, repeat(attribute, shape.size_bytes)))


def _one_record(shape: Shape) -> bytes:
    """One record with all attributes that fit."""
    pairs = repeat_numbered(lambda n: block(_LOG_ATTRIBUTES, _pair(b"k%07d" % n, _text(b"v"))), shape.size_bytes)
    return _request(block(2, pairs))


def _resources(shape: Shape) -> bytes:
    return repeat(block(1, block(1, block(1, _pair(b"service.name", _text(b"a"))))), shape.size_bytes)


def _scopes(shape: Shape) -> bytes:
    return block(1, repeat(block(2, block(1, block(1, b"scope")) + block(2, b"")), shape.size_bytes))


def _resources_with_records(shape: Shape) -> bytes:
    """One resource per record, all different."""

    def resource(number: int) -> bytes:
        pairs = (block(1, _pair(b"k%d" % n, _text(b"%d" % number))) for n in range(shape.width))
        return block(1, block(1, b"".join(pairs)) + block(2, block(2, b"")))

    return repeat_numbered(resource, shape.size_bytes)


def _large_resource(shape: Shape) -> bytes:
    """A large resource and a large scope with records of two bytes."""
    pairs = b"".join(block(1, _pair(b"k%d" % n, _text(b"v" * shape.text))) for n in range(shape.width))
    return _request(
        repeat(block(2, b""), shape.size_bytes), pairs, block(1, b"scope") + pairs.replace(b"\x0a", b"\x1a", 1)
    )


def _events(field: int) -> Callable[[Shape], bytes]:
    """Spans with `width` events (11) or links (13)."""

    def make(shape: Shape) -> bytes:
        own = block(1, bytes(15) + b"\1") + block(2, bytes(7) + b"\1") if field == 13 else block(2, b"e")
        return _request(repeat(block(2, _span_ids() + block(field, own) * shape.width), shape.size_bytes))

    return make


def _one_span_events(shape: Shape) -> bytes:
    return _request(block(2, _span_ids() + repeat(block(11, b""), shape.size_bytes)))


def _distinct_spans(shape: Shape) -> bytes:
    return _request(repeat_numbered(lambda n: block(2, _span_ids(n)), shape.size_bytes))


# --- JSON


def _json(signal: str, records: bytes, resource: bytes = b"{}") -> bytes:
    outer, inner, last = (
        (b"resourceLogs", b"scopeLogs", b"logRecords")
        if signal == LOGS
        else (b"resourceSpans", b"scopeSpans", b"spans")
    )
    return b'{"%b":[{"resource":%b,"%b":[{"%b":[%b]}]}]}' % (outer, resource, inner, last, records)


def _json_records(signal: str, record: Callable[[Shape], bytes]) -> Callable[[Shape], bytes]:
    return lambda shape: _json(signal, repeat(record(shape), shape.size_bytes, b","))


_JSON_SPAN: Final = b'"traceId":"%b","spanId":"%b","startTimeUnixNano":"%d","endTimeUnixNano":"%d"' % (
    b"a" * 32, b"b" * 16, _NOW_NS, _NOW_NS + 1,
)  # fmt: skip


def _json_attributes(shape: Shape, value: bytes) -> bytes:
    return b",".join(b'{"key":"k%d","value":%b}' % (number, value) for number in range(shape.width))


def _json_log(value: Callable[[Shape], bytes]) -> Callable[[Shape], bytes]:
    return _json_records(
        LOGS, lambda shape: b'{"body":%b,"attributes":[%b]}' % (value(shape), _json_attributes(shape, value(shape)))
    )


def _json_string(unit: bytes) -> Callable[[Shape], bytes]:
    return lambda shape: b'{"stringValue":"%b"}' % (unit * max(1, shape.text // 2))


def _json_deep(shape: Shape) -> bytes:
    return nest(b'{"arrayValue":{"values":[', b'{"stringValue":"x"}', b"]}}", shape.depth)


def _json_map(shape: Shape) -> bytes:
    return nest(b'{"kvlistValue":{"values":[{"key":"k","value":', b'{"intValue":"1"}', b"}]}}", shape.depth)


_WIDE_SPAN: Final = Shape(width=100, text=10)
KINDS: Final = (
    AbuseKind("otlp logs: empty records", LOGS, PROTOBUF, _records(b"")),
    AbuseKind("otlp logs: empty records, all that fit", LOGS, PROTOBUF, _records(b""), Shape(size_bytes=5_900_000)),
    AbuseKind("otlp logs: an empty body each", LOGS, PROTOBUF, _records(block(5, b""))),
    AbuseKind("otlp spans: without ids", TRACES, PROTOBUF, _records(b"")),
    AbuseKind("otlp spans: a short trace id each", TRACES, PROTOBUF, _records(block(1, b"x"))),
    AbuseKind("otlp spans: nothing but ids", TRACES, PROTOBUF, _records(_span_ids())),
    AbuseKind("otlp spans: nothing but ids, all different", TRACES, PROTOBUF, _distinct_spans),
    AbuseKind("otlp logs: resources without records", LOGS, PROTOBUF, _resources),
    AbuseKind("otlp logs: a scope for each record", LOGS, PROTOBUF, _scopes),
    AbuseKind("otlp logs: a resource for each record", LOGS, PROTOBUF, _resources_with_records),
    AbuseKind(
        "otlp logs: large resource over empty records", LOGS, PROTOBUF, _large_resource, Shape(width=60, text=200)
    ),
    AbuseKind("otlp logs: deep values", LOGS, PROTOBUF, _with_attributes(_LOG_ATTRIBUTES, b"", _deep)),
    AbuseKind("otlp logs: maps of maps", LOGS, PROTOBUF, _with_attributes(_LOG_ATTRIBUTES, b"", _wide)),
    AbuseKind(
        "otlp logs: bytes", LOGS, PROTOBUF, _with_attributes(_LOG_ATTRIBUTES, b"", lambda s: block(7, b"b" * s.text))
    ),
    AbuseKind(
        "otlp logs: empty values", LOGS, PROTOBUF, _with_attributes(_LOG_ATTRIBUTES, b"", lambda _: b""), _WIDE_SPAN
    ),
    AbuseKind(
        "otlp logs: texts that are not UTF-8",
        LOGS,
        PROTOBUF,
        _with_attributes(_LOG_ATTRIBUTES, b"", lambda s: _text(b"\xff" * s.text)),
    ),
    AbuseKind(
        "otlp logs: keys in texts", LOGS, PROTOBUF, _with_attributes(_LOG_ATTRIBUTES, b"", lambda _: _text(_KEY))
    ),
    AbuseKind("otlp logs: no name twice", LOGS, PROTOBUF, _other_names(_LOG_ATTRIBUTES, b""), _WIDE_SPAN),
    AbuseKind("otlp spans: no name twice", TRACES, PROTOBUF, _other_names(_SPAN_ATTRIBUTES, _span_ids()), _WIDE_SPAN),
    AbuseKind("otlp logs: one record, one name again and again", LOGS, PROTOBUF, _same_name),
    AbuseKind("otlp logs: one record, all attributes", LOGS, PROTOBUF, _one_record),
    AbuseKind("otlp spans: events", TRACES, PROTOBUF, _events(11), _WIDE_SPAN),
    AbuseKind("otlp spans: links", TRACES, PROTOBUF, _events(13), _WIDE_SPAN),
    AbuseKind("otlp spans: one span, empty events", TRACES, PROTOBUF, _one_span_events),
    AbuseKind("otlp logs JSON: empty records", LOGS, JSON, _json_records(LOGS, lambda _: b"{}")),
    AbuseKind("otlp logs JSON: records of a wrong kind", LOGS, JSON, _json_records(LOGS, lambda _: b"1")),
    AbuseKind("otlp spans JSON: without ids", TRACES, JSON, _json_records(TRACES, lambda _: b"{}")),
    AbuseKind("otlp spans JSON: nothing but ids", TRACES, JSON, _json_records(TRACES, lambda _: b"{%b}" % _JSON_SPAN)),
    AbuseKind(
        "otlp logs JSON: numbers as texts", LOGS, JSON, _json_log(lambda _: b'{"intValue":"9223372036854775807"}')
    ),
    AbuseKind("otlp logs JSON: numbers in exponents", LOGS, JSON, _json_log(lambda _: b'{"doubleValue":"1e308"}')),
    AbuseKind("otlp logs JSON: not a number", LOGS, JSON, _json_log(lambda _: b'{"doubleValue":NaN}')),
    AbuseKind("otlp logs JSON: escapes", LOGS, JSON, _json_log(_json_string(b"\\u00e9"))),
    AbuseKind("otlp logs JSON: lone surrogates", LOGS, JSON, _json_log(_json_string(b"\\ud800"))),
    AbuseKind("otlp logs JSON: emoji", LOGS, JSON, _json_log(_json_string("\U0001f600".encode()))),
    AbuseKind(
        "otlp logs JSON: base64", LOGS, JSON, _json_log(lambda s: b'{"bytesValue":"%b"}' % (b"QUFB" * (s.text // 4)))
    ),
    AbuseKind("otlp logs JSON: deep lists", LOGS, JSON, _json_log(_json_deep)),
    AbuseKind("otlp logs JSON: deep maps", LOGS, JSON, _json_log(_json_map)),
    AbuseKind(
        "otlp logs JSON: empty lists",
        LOGS,
        JSON,
        _json_log(lambda s: b'{"arrayValue":{"values":[%b]}}' % b",".join([b"{}"] * s.width)),
    ),
    AbuseKind(
        "otlp spans JSON: events",
        TRACES,
        JSON,
        _json_records(TRACES, lambda s: b'{%b,"events":[%b]}' % (_JSON_SPAN, b",".join([b"{}"] * s.width))),
        _WIDE_SPAN,
    ),
    AbuseKind(
        "otlp logs JSON: unknown members",
        LOGS,
        JSON,
        _json_records(LOGS, lambda s: b"{%b}" % b",".join(b'"x%d":[]' % n for n in range(s.width))),
    ),
)
