"""Bodies that are small to send and were dear to read, and good ones of every worker to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from schemas import subjects
from schemas.otlp.protobuf_wire import length_field
from tests.unit.worker_fakes import RECEIVED_AT_NS, origin
from workers.normalise.native import event as native
from workers.normalise.otlp import body as otlp
from workers.normalise.sentry import event, log, session, span, trace_metric, transaction
from workers.unpack.readers import READERS

SIZE: Final = 200_000
NOW_S: Final = RECEIVED_AT_NS / 1e9
TRACE: Final = b"a" * 32
SPAN: Final = b"b" * 16

Read = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Hostile:
    """A body, and which worker reads it."""

    name: str
    worker: str
    body: bytes


def item(kind: str, payload: bytes) -> bytes:
    return b'{}\n{"type":"%s","length":%d}\n%s\n' % (kind.encode(), len(payload), payload)


def several(unit: bytes, size: int = SIZE, around: bytes = b"[%s]") -> bytes:
    return around % b",".join([unit] * max(1, size // (len(unit) + 1)))


def numbered(unit: bytes, size: int = SIZE) -> bytes:
    return b",".join(unit % number for number in range(1, size // (len(unit) + 3)))


READ: Final[dict[str, Read]] = {
    "event": partial(event.normalise, origin()),
    "log": partial(log.normalise, origin()),
    "span": partial(span.normalise, origin()),
    "trace_metric": partial(trace_metric.normalise, origin()),
    "session": partial(session.normalise, origin()),
    "transaction": partial(transaction.normalise, origin()),
    "native": partial(native.normalise, origin(content_type="application/json", resource="batch")),
    "spans": partial(otlp.normalise_spans, origin(content_type="application/json")),
    "logs": partial(otlp.normalise_logs, origin(content_type="application/json")),
    "spans_protobuf": partial(otlp.normalise_spans, origin(content_type="application/x-protobuf")),
    "logs_protobuf": partial(otlp.normalise_logs, origin(content_type="application/x-protobuf")),
    "envelope": lambda body: READERS[subjects.SENTRY_ENVELOPE](body, origin(), 6_000_000),
    "store": lambda body: READERS[subjects.SENTRY_STORE](body, origin(), 6_000_000),
}


def of_event(**fields: Any) -> bytes:
    return item("event", orjson.dumps(fields))


def _frame(number: int) -> dict[str, Any]:
    return {
        "filename": f"app/views{number}.py", "function": f"handle_{number}", "module": f"app.views{number}",
        "lineno": number, "in_app": True, "context_line": "    total = sum(prices)", "vars": {"prices": "[1, 2, 3]"},
    }  # fmt: skip


def _good_event() -> bytes:
    values = [{"type": "ValueError", "value": "bad thing 17", "stacktrace": {"frames": [*map(_frame, range(30))]}}]
    crumbs = [{"timestamp": NOW_S, "category": "http", "message": "GET /a", "data": {"status": 200}}] * 20
    return orjson.dumps(
        {"timestamp": NOW_S, "exception": {"values": values}, "tags": {"a": "b"}, "breadcrumbs": {"values": crumbs}}
    )


_ATTRIBUTES: Final = b",".join(
    b'{"key":"%s","value":{"stringValue":"%s"}}' % (key, key) for key in (b"http.method", b"url.path", b"user.name")
)
_OTLP_SPAN: Final = (
    b'{"traceId":"%s","spanId":"%%016x","name":"GET /a","kind":2,"startTimeUnixNano":"%d","endTimeUnixNano":"%d",'
    b'"attributes":[%s]}' % (TRACE, RECEIVED_AT_NS - 10**6, RECEIVED_AT_NS, _ATTRIBUTES)
)
_OTLP_LOG: Final = b'{"timeUnixNano":"%d","severityNumber":9,"body":{"stringValue":"paid %%d"},"attributes":[%s]}' % (
    RECEIVED_AT_NS,
    _ATTRIBUTES,
)
_TYPED: Final = b'{"a":{"value":"b","type":"string"},"c":{"value":3,"type":"integer"}}'
_LOG: Final = b'{"timestamp":%f,"trace_id":"%s","level":"info","body":"paid","attributes":%s}' % (NOW_S, TRACE, _TYPED)
_SPAN: Final = (
    b'{"trace_id":"%s","span_id":"%s","name":"GET /","start_timestamp":%f,"end_timestamp":%f,"attributes":%s}'
)
_CHILD: Final = (
    b'{"trace_id":"%s","span_id":"%s","op":"db","description":"select 1","start_timestamp":%f,"timestamp":%f}'
)
_TIMES: Final = (NOW_S - 1, NOW_S)


def resource_spans(spans: bytes, signal: bytes = b"Spans") -> bytes:
    records = b"spans" if signal == b"Spans" else b"logRecords"
    return b'{"resource%s":[{"scope%s":[{"%s":[%s]}]}]}' % (signal, signal, records, spans)


def of_transaction(spans: bytes, more: bytes = b"") -> bytes:
    trace = b'{"trace":{"trace_id":"%s","span_id":"%s"}}' % (TRACE, SPAN)
    fields = b'"start_timestamp":%f,"timestamp":%f,"contexts":%s' % (*_TIMES, trace)
    return item("transaction", b'{"type":"transaction",%s%s,"spans":%s}' % (fields, more, spans))


def protobuf(records: bytes) -> bytes:
    """A request of one resource and one scope."""
    return length_field(1, length_field(2, records))


def _protobuf_log() -> bytes:
    body = length_field(5, length_field(1, b"user 17 has paid"))
    pair = length_field(6, length_field(1, b"http.method") + length_field(2, length_field(1, b"GET")))
    return length_field(2, b"\x09" + RECEIVED_AT_NS.to_bytes(8, "little") + b"\x10\x09" + body + pair * 3)


def _protobuf_span() -> bytes:
    pair = length_field(9, length_field(1, b"http.method") + length_field(2, length_field(1, b"GET")))
    ids = length_field(1, b"a" * 16) + length_field(2, b"b" * 8) + length_field(5, b"GET /a")
    start, end = ((RECEIVED_AT_NS - n).to_bytes(8, "little") for n in (10**6, 0))
    return length_field(2, ids + b"\x39" + start + b"\x41" + end + pair * 3)


def good() -> dict[str, bytes]:
    """One body of about SIZE bytes for each worker; an event is what it is, and is read several times."""
    one = _good_event()
    envelope = b'{"type":"event","length":%d}\n%s\n' % (len(one), one)
    return {
        "event": item("event", one),
        "log": item("log", several(_LOG, around=b'{"version":2,"items":[%s]}')),
        "span": item("span", several(_SPAN % (TRACE, SPAN, *_TIMES, _TYPED), around=b'{"version":2,"items":[%s]}')),
        "trace_metric": item(
            "trace_metric",
            several(b'{"name":"a","type":"gauge","value":1,"attributes":%s}' % _TYPED, around=b'{"items":[%s]}'),
        ),
        "session": item("sessions", several(b'{"started":%f,"exited":17,"did":"user"}' % NOW_S, around=_AGGREGATES)),
        "transaction": of_transaction(several(_CHILD % (TRACE, SPAN, *_TIMES))),
        "native": several(_NATIVE, around=_BATCH),
        "spans": resource_spans(numbered(_OTLP_SPAN)),
        "logs": resource_spans(numbered(_OTLP_LOG), b"Logs"),
        "spans_protobuf": protobuf(_protobuf_span() * (SIZE // len(_protobuf_span()))),
        "logs_protobuf": protobuf(_protobuf_log() * (SIZE // len(_protobuf_log()))),
        "envelope": b"{}\n" + envelope * (SIZE // len(envelope)),
        "store": one,
    }


_AGGREGATES: Final = b'{"attrs":{"release":"a@1","environment":"live","ip_address":"203.0.113.9"},"aggregates":[%s]}'
_NATIVE: Final = b'{"identifier":"a","eventType":"agent.message","payload":{"text":"hello","model":"m"},"traceId":"x"}'
_BATCH: Final = b'{"channel_id":7,"events":[%s]}'


def templates() -> list[Hostile]:
    """Messages that are filled in."""
    found = {
        "%(": ({"message": "%(" * (SIZE // 2), "params": [1]}),
        "%(a": ({"message": "%(aaaaaaaa" * (SIZE // 10), "params": [1]}),
        "%(a)s of much": ({"message": "%(a)s" * (SIZE // 10), "params": {"a": "x" * (SIZE // 2)}}),
        "{0} of much": ({"message": "{0}" * (SIZE // 6), "params": [{"a": list(range(SIZE // 12))}]}),
        "%99.99f": ({"message": "%(a)99.99f" * (SIZE // 10), "params": {"a": 1.7e300}}),
        "{ without end": ({"message": "{a" * (SIZE // 2), "params": [1]}),
        "lines": ({"message": "\n" * SIZE}),
    }
    return [Hostile(f"event: {name}", "event", of_event(logentry=value)) for name, value in found.items()]


def of_chains() -> list[Hostile]:
    """Exceptions and what identifies them."""
    shape: dict[str, list[dict[str, Any]]] = {
        "frames of nothing": [{"type": "E", "stacktrace": {"frames": [{}] * 70}}] * 900,
        "addresses without an end": [{"type": "E", "value": ("a" * 64 + ".") * 30 + "@"}] * 100,
        "queries": [{"type": "E", "value": "a?" * 1_000}] * 100,
        "letters": [{"type": "E", "value": "a" * 2_000}] * 100,
        "generated names": [{"type": "E", "stacktrace": {"frames": [{"module": "lambda$" * 28_000, "function": "f"}]}}],
    }
    return [Hostile(f"event: {name}", "event", of_event(exception={"values": value})) for name, value in shape.items()]


def of_json() -> list[Hostile]:
    """Shapes of JSON in an event, and beside one."""
    shape = {
        "query of values": b'{"request":{"query_string":{"a":%s}}}' % several(b"0"),
        "tags": b'{"tags":{%s}}' % numbered(b'"k%d":"v\\n"'),
        "headers": b'{"request":{"headers":%s}}' % several(b'["a","b"]'),
        "flags": b'{"contexts":{"flags":{"values":%s}}}' % several(b"{}"),
        "empty lists and NaN": b'{"a":[%s,NaN]}' % several(b"[]"),
        "numbers and NaN": b'{"a":[%s,NaN]}' % several(b"1"),
        "deep lists": b'{"extra":{%s}}' % numbered(b'"a%d":' + b"[" * 300 + b"]" * 300),
    }
    events = [Hostile(f"event: {name}", "event", item("event", value)) for name, value in shape.items()]
    deep = b"{%s}" % numbered(b'"%d":1', 10_000)
    for _ in range(40):
        deep = b'{"%s":%s}' % (b"k" * 4_000, deep)
    metadata = _BATCH % (b'{"identifier":"a","payload":{},"metadata":%s}' % deep)
    return [
        *events,
        Hostile("native: metadata of long paths", "native", metadata),
        Hostile("store: ampersands", "store", b"&" * SIZE),
        Hostile("store: escapes", "store", b"sentry_data={" + b"%20" * (SIZE // 3)),
    ]


def of_records() -> list[Hostile]:
    """More records than anybody sends, that say nothing or are none."""
    found = []
    for record in (b"0", b"{}", b"null", b'{"a":1}'):
        for worker, around in _CONTAINERS.items():
            body = several(record, 150_000, around=around)
            found.append(Hostile(f"{worker}: {record.decode()}", worker, item(_KINDS.get(worker, worker), body)))
        found.append(
            Hostile(f"transaction: {record.decode()}", "transaction", of_transaction(several(record, 150_000)))
        )
        for worker, signal in (("spans", b"Spans"), ("logs", b"Logs")):
            body = resource_spans(several(record, 150_000, b"%s"), signal)
            found.append(Hostile(f"{worker}: {record.decode()}", worker, body))
    return found


_CONTAINERS: Final = {
    "log": b'{"items":[%s]}',
    "span": b'{"items":[%s]}',
    "trace_metric": b'{"items":[%s]}',
    "session": b'{"aggregates":[%s]}',
}
_KINDS: Final = {"session": "sessions"}


def of_protobuf() -> list[Hostile]:
    """Two bytes are a record here, a scope, an event or an item of a list."""
    ids = length_field(1, b"a" * 16) + length_field(2, b"b" * 8)
    nested = length_field(1, b"x")
    for _ in range(47):
        nested = length_field(5, length_field(1, nested))
    return [
        Hostile("empty spans", "spans_protobuf", protobuf(b"\x12\x00" * (SIZE // 2))),
        Hostile("empty logs", "logs_protobuf", protobuf(b"\x12\x00" * (SIZE // 2))),
        Hostile("broken spans", "spans_protobuf", protobuf(b"\x12\x01\xff" * (SIZE // 3))),
        Hostile("logs of an empty body", "logs_protobuf", protobuf(b"\x12\x02\x2a\x00" * (SIZE // 4))),
        Hostile("empty resources", "logs_protobuf", b"\x0a\x00" * 90_000),
        Hostile("empty scopes", "logs_protobuf", length_field(1, b"\x12\x00" * 90_000)),
        Hostile("a scope for each record", "logs_protobuf", length_field(1, b"\x12\x04\x12\x02\x10\x09" * 30_000)),
        Hostile("empty events", "spans_protobuf", protobuf(length_field(2, ids + b"\x5a\x00" * (SIZE // 2)))),
        Hostile("empty attributes", "logs_protobuf", protobuf(length_field(2, b"\x32\x00" * (SIZE // 2)))),
        Hostile("deep values", "logs_protobuf", protobuf(length_field(2, length_field(5, nested)) * 1_000)),
    ]


def of_envelopes() -> list[Hostile]:
    """What unpack takes apart."""
    reports = [
        b'{"discarded_events":%s}' % several(b'{"reason":"%d","category":"error","quantity":1}' % number, 8_000)
        for number in range(25)
    ]
    header = b'{"type":"log","length":0,"a":[%s,NaN]}\n'
    bodies = {
        "client reports": b"{}\n" + b"".join(
            b'{"type":"client_report","length":%d}\n%s\n' % (len(report), report) for report in reports
        ),
        "lists in headers": b"{}\n" + (header % several(b"[]", 14_000, b"%s")) * 14,
        "a header for each": b'{"trace":{"a":"%s"}}\n' % (b"x" * 16_000) + b'{"type":"log","length":0}\n\n' * 500,
    }  # fmt: skip
    return [Hostile(f"envelope: {name}", "envelope", body) for name, body in bodies.items()]


# Lines of stack traces: few bytes that make a frame, or that look like one until their end.
_LINES: Final = {
    "python": b'File "a", line 1, in b',
    "java": b"at a.b(c.java:1)",
    "javascript": b"at a:1:2",
    "php": b"#1 a(1): b",
    "ruby": b"a:1:in 'b'",
    "go": b"a.b(1)\n\ta.go:1",
    "rust": b"1: a::b",
    "swift": b"1 a in b at c:1",
    "swift without an end": b"1 a in b at c in d at e",
    "symbols": b"1 a 0x1 b + 1",
    "causes": b"Caused by: a",
    "frames of the trace around": b"Caused by: a\n... 9 more",
    "next": b"Next a: b",
    "types": b"a: b",
    "other": b"at aaaaaaaaaaaaaaaa",
}


def of_traces() -> list[Hostile]:
    """Stack traces of spans and logs: each is read, and groups its error."""
    found = []
    for name, line in _LINES.items():
        for size in (300, 3_000, 60_000):
            # every other line is another one, so that remembering them does not help
            lines = (line if number % 2 else line + b"%d" % number for number in range(size // (len(line) + 1)))
            text = b"\n".join(lines)
            attribute = b'[{"key":"exception.stacktrace","value":{"stringValue":%s}}]' % orjson.dumps(text.decode())
            found.append(Hostile(f"spans: {size} bytes of {name}", "spans", _otlp_spans(attribute)))
    return found


def of_commands() -> list[Hostile]:
    """Command lines, as text and as lists, in which something might be a secret."""
    words = {
        "options": b"-p x", "named options": b"--token a", "assignments": b"a=b", "secrets": b"token=b", "addresses": b"a://b:c@d",
        "headers": b"a-b: c", "quotes": b"'a' -x", "words": b"a -x mysql",
    }  # fmt: skip
    found = []
    for name, word in words.items():
        for size in (300, 60_000):
            several_words = [word.decode()] * (size // (len(word) + 1))
            text = orjson.dumps(f"mysql {' '.join(several_words)} token @")
            found.append(
                Hostile(
                    f"spans: {size} bytes of {name}",
                    "spans",
                    _otlp_spans(b'[{"key":"process.command_line","value":{"stringValue":%s}}]' % text),
                )
            )
        values = several(b'{"stringValue":%s}' % orjson.dumps(word.decode()), 3_000)
        listed = b'[{"key":"process.command_args","value":{"arrayValue":{"values":%s}}}]' % values
        found.append(Hostile(f"spans: arguments of {name}", "spans", _otlp_spans(listed)))
    breadcrumbs = several(b'{"category":"subprocess","message":"mysql -p x @"}')
    return [*found, Hostile("event: subprocesses", "event", item("event", b'{"breadcrumbs":%s}' % breadcrumbs))]


def _otlp_spans(attributes: bytes) -> bytes:
    """As many spans with these attributes as fit into SIZE."""
    span = (
        b'{"traceId":"%s","spanId":"%%016x","name":"a","startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":%s}'
        % (TRACE, RECEIVED_AT_NS - 10**6, RECEIVED_AT_NS, attributes.replace(b"%", b"%%"))
    )
    return resource_spans(b",".join(span % number for number in range(1, 2 + SIZE // len(span))))


def hostile() -> list[Hostile]:
    """All of them."""
    return [
        *(*templates(), *of_chains(), *of_json(), *of_records(), *of_protobuf(), *of_envelopes()),
        *(*of_traces(), *of_commands()),
    ]
