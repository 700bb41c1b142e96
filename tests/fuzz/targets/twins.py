"""What is compiled from C beside its twin in Python: export requests, span messages one by one, the look for keys.

There are no such targets where nothing was compiled. AXONPUSH_FUZZ_TWINS names a folder with others than the installed
ones: those under sanitizers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ops.bench.bodies import kinds
from ops.bench.bodies import sentry as sentry_bodies
from schemas import key_masking
from schemas.otlp.http_bodies import Encoding
from schemas.otlp.protobuf_records import careful_log, careful_span, plain_spans
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.protobuf_wire import collect
from schemas.otlp.records import Allowance
from tests.fuzz import exports, twins
from tests.fuzz.target import Sample, Target
from workers.normalise.otlp import log_blocks
from workers.normalise.otlp.block_columns import needs_care

FOLDER: Final = "AXONPUSH_FUZZ_TWINS"
_TOKEN: Final = bytes(range(1, 17))
# Of the hundreds of spans of a benchmark's body so many: as much to break, in less time.
_SPANS: Final = 3
# Values where readers of numbers and of strings differ, if anywhere; each in a body of its own, for mutations to meet.
_NUMBERS: Final = (
    *(
        "0",
        "-0",
        "1",
        "-1",
        "01",
        "-007",
        "+7",
        "1.0",
        "1e3",
        "1E+3",
        "-1e-3",
        "0.1",
        "5e-324",
        "2.2250738585072011e-308",
    ),
    *("4.9406564584124654e-324", "1.7976931348623157e308", "1.7976931348623159e308", "1e400", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775807", "-9223372036854775808", "1" * 19, "9" * 19),
    *(
        "9" * 20,
        "0." + "3" * 60,
        "0." + "3" * 61,
        "0." + "3" * 62,
        "8.5e15",
        "123456789012345678.5",
        "1.",
        ".5",
        "1e",
        "-",
    ),
)
_TEXTS: Final = (
    *(
        r"\u0000",
        r"\ud83d\ude00",
        r"\ud83d",
        r"\ude00\ud83d",
        r"\u00e9",
        r"\/",
        r"\\",
        r"\\\"",
        r"\x",
        r"\u12",
        r"\b\f\n\r\t",
    ),
    *(
        "\x7f",
        "\u00e9",
        "\u20ac",
        "\U0001f600",
        "\uffff",
        "\x00",
        "\n",
        "\ud800",
        "",
        "k" * 127,
        "k" * 128,
        "\u2028" * 50,
    ),
)
_SPAN: Final = (
    '{"resourceSpans":[{"resource":{"attributes":[]},"scopeSpans":[{"scope":{"name":"s"},"spans":[{'
    '"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef","parentSpanId":"fedcba9876543210",'
    '"traceState":"a=b","flags":257,"name":"GET /","kind":2,"startTimeUnixNano":"1763699990000000000",'
    '"endTimeUnixNano":1763699990000000001,"attributes":[{"key":"%s","value":%s}],"droppedAttributesCount":0,'
    '"events":[],"links":[],"status":{"code":2,"message":"m"}}],"schemaUrl":"u"}]}]}'
)
_LOG: Final = (
    '{"resourceLogs":[{"resource":{"attributes":[]},"scopeLogs":[{"scope":{"name":"s"},"logRecords":[{'
    '"timeUnixNano":"1763699990000000000","observedTimeUnixNano":1763699990000000001,"severityNumber":9,'
    '"severityText":"Info","body":%s,"attributes":[{"key":"k","value":{"intValue":"7"}}],"droppedAttributesCount":0,'
    '"flags":257,"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef","eventName":"e"}]}]}]}'
)

_used = twins.load(Path(os.environ[FOLDER])) if FOLDER in os.environ else twins.installed()


@cache
def requests(encoding: Encoding) -> Sequence[Sample]:
    """Export requests of the real SDK, with events, links and oddities, and plain ones; in JSON all `limits`, too."""
    found = [*exports.samples("traces", encoding), Sample(_plain(encoding), encoding)]
    if encoding == "json":
        found += [Sample(body, encoding) for body in limits() if not twins.said(encoding, body).startswith("Invalid")]
    return found


@cache
def log_requests(encoding: Encoding) -> Sequence[Sample]:
    """Export requests with log records, plain and odd; in JSON bodies with each text at a limit, too."""
    found = list(exports.samples("logs", encoding))
    if encoding == "protobuf":
        found.append(Sample(_plain_logs(), encoding))
    else:
        bodies = [_LOG % f'{{"stringValue":"{text}"}}' for text in _TEXTS]
        bodies += [_LOG % body for body in ('{"intValue":7}', "null", "{}", '{"boolValue":false}')]
        bodies.append(bodies[0].replace(',"eventName":"e"}', ',"eventName":"e"},{},{"severityText":""},{"traceId":""}'))
        bodies.append(bodies[0].replace('"timeUnixNano":"1763699990000000000",', ""))
        bodies.append(bodies[0].replace('"severityNumber":9,', "").replace("0123456789abcdef", "0" * 16))
        raws = [body.encode("utf-8", "surrogatepass") for body in bodies]
        found += [Sample(raw, encoding) for raw in raws if not twins.said(encoding, raw, "logs").startswith("Invalid")]
    return found


@cache
def log_messages() -> Sequence[Sample]:
    """The usual ones among their LogRecord messages."""
    found = [message for sample in log_requests("protobuf") for message in _messages(sample.body)]
    return [Sample(message, "protobuf") for message in found if _is_usual_log(message)]


def _is_usual_log(message: bytes) -> bool:
    """Told without the compiled code, which may have a hole."""
    one = careful_log(message, BodyTally(Allowance(0)))
    time_ns = one.time_ns or one.observed_ns
    is_of_that_day = twins.SHARED.times.earliest_ns <= time_ns <= twins.SHARED.times.latest_ns
    scalars = all(value.__class__ in (str, int, float, bool) for value in one.attributes.values())
    usual = isinstance(one.body, str) and not one.dropped_attributes and scalars
    return is_of_that_day and usual and not any(map(log_blocks.needs_care, one.attributes))


@cache
def messages() -> Sequence[Sample]:
    """The plain ones among their Span messages: what is odd, mutations make of these."""
    found = [message for sample in requests("protobuf") for message in _messages(sample.body)]
    found += [next(_messages(body)) for body in _limits_protobuf()]
    return [Sample(message, "protobuf") for message in found if not plain_spans([message], BodyTally(Allowance(0)))[1]]


@cache
def timed_messages() -> Sequence[Sample]:
    """Those of `messages` that are plain to a block, with a time: without one a span is odd."""
    times = b"".join(tag + twins.RECEIVED_AT_NS.to_bytes(8, "little") for tag in (b"\x39", b"\x41"))
    timed = [Sample(sample.body + times, "protobuf") for sample in messages()]
    return [sample for sample in (*messages(), *timed) if _is_usual(sample.body)]


def _is_usual(message: bytes) -> bool:
    """Told without the compiled code, which may have a hole."""
    one = careful_span(message, BodyTally(Allowance(0)))
    has_counts = one.dropped_attributes or one.dropped_events or one.dropped_links
    # The bench's spans are of today, and what is fuzzed has a day of its own.
    is_of_that_day = twins.SHARED.times.earliest_ns <= one.start_ns <= twins.SHARED.times.latest_ns
    return is_of_that_day and not has_counts and not any(map(needs_care, one.attributes))


def _messages(body: bytes) -> Iterator[bytes]:
    for resource in collect(body)[0x0A]:
        for scope in collect(resource)[0x12]:
            yield from collect(scope)[0x12]


def _plain(encoding: Encoding) -> bytes:
    """The first spans of what the benchmark measures."""
    if encoding == "protobuf":
        sent: Any = ExportTraceServiceRequest.FromString(kinds.by_name()["spans"].make(_TOKEN))
        del sent.resource_spans[0].scope_spans[0].spans[_SPANS:]
        return bytes(sent.SerializeToString())
    document = orjson.loads(kinds.by_name()["spans-json"].make(_TOKEN))
    del document["resourceSpans"][0]["scopeSpans"][0]["spans"][_SPANS:]
    return orjson.dumps(document)


def _plain_logs() -> bytes:
    """The first log records of what the benchmark measures, of the day of the others."""
    sent: Any = ExportLogsServiceRequest.FromString(kinds.by_name()["logs"].make(_TOKEN))
    records = sent.resource_logs[0].scope_logs[0].log_records
    del records[_SPANS:]
    for record in records:
        record.observed_time_unix_nano = twins.RECEIVED_AT_NS
    return bytes(sent.SerializeToString())


def limits() -> list[bytes]:
    """Bodies in JSON of one span with one attribute each, whose number or text is at a limit or beyond it."""
    kinds = ("intValue", "doubleValue")
    values = [f'{{"{kind}":{text}}}' for kind in kinds for number in _NUMBERS for text in (number, f'"{number}"')]
    values += [f'{{"stringValue":"{text}"}}' for text in _TEXTS] + ['{"boolValue":true}', '{"boolValue":false}']
    pairs = [("k", value) for value in values] + [(text, '{"intValue":"7"}') for text in _TEXTS]
    return [(_SPAN % pair).encode("utf-8", "surrogatepass") for pair in pairs]


def _limits_protobuf() -> Iterator[bytes]:
    """The same for protobuf: doubles one bit from infinity and NaN, lengths that take one byte more or less."""
    doubles = (1.7976931348623157e308, -(2.0**1023), 5e-324, -0.0, 2.0**-1022)
    values: list[Any] = [*doubles, 2**63 - 1, -(2**63), 0, True, False, "", "\u20ac", "x" * 123, "x" * 124, "x" * 300]
    for key in ("k", "", "k" * 127, "\u00e9" * 63):
        request = ExportTraceServiceRequest()
        span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=_TOKEN, span_id=_TOKEN[:8], name="n")
        for number, value in enumerate(values):
            pair = span.attributes.add(key=f"{key}{number}"[-max(len(key), 2) :])
            kind = {float: "double", int: "int", bool: "bool", str: "string"}[type(value)]
            setattr(pair.value, f"{kind}_value", value)
        yield request.SerializeToString()


_SENTRY_SPAN: Final = (
    '{"trace_id":"0123456789abcdef0123456789abcdef","span_id":"0123456789abcdef","parent_span_id":"fedcba9876543210",'
    '"op":"db.query","description":"SELECT 1","start_timestamp":%s,"timestamp":%s,"status":"%s","origin":"auto.db",'
    '"exclusive_time":1.5,"same_process_as_parent":true,"tags":{"%s":"t"},"data":{"%s":%s,"otel.kind":"CLIENT"}}'
)
_TIMES: Final = (
    *("1763699990", "1763699990.25", "1763699990.123456789", '"2025-11-21T04:39:50Z"', '"2025-11-21T04:39:50.853Z"'),
    '"2025-11-21T04:39:50.853844Z"',
)
_STATUSES: Final = ("ok", "error", "cancelled", "unknown", "internal_error", "unauthenticated", "")
_SENTRY_VALUES: Final = (
    *("1", "-9223372036854775808", "9223372036854775807", "1.0", "-0.0", "5e-324", "true", "false", "null", '"text"'),
    *('""', '"\\u0000\\ud83d\\ude00"', "[]", '[1,"x",null]', '{"a":{"b":[1.5]}}', '"{{auto}}"'),
)
_TAG_KEYS: Final = ("k", "client.address", "sentry.origin", "k" * 200)
_SENTRY_KEYS: Final = (*_TAG_KEYS, "\u00e9")


@cache
def sentry_spans() -> Sequence[Sample]:
    """Usual spans of transactions: of the real SDK, and with each time, status, key and value at a limit."""
    usual = ("1763699990", "1763699991.5", "ok", "tag", "key", "1")
    given = [(place, values) for place, values in enumerate((_TIMES, _TIMES, _STATUSES, _TAG_KEYS, _SENTRY_KEYS))]
    given.append((5, _SENTRY_VALUES))
    found = [_SENTRY_SPAN % (*usual[:place], value, *usual[place + 1 :]) for place, values in given for value in values]
    document = orjson.loads(sentry_bodies.transaction().splitlines()[2])
    for span in document["spans"][:_SPANS]:
        found.append(orjson.dumps({**span, "start_timestamp": 1763699990, "timestamp": 1763699991}).decode())
    return [Sample(text.encode(), "json") for text in found]


def keys() -> Sequence[Sample]:
    """Texts with each form of a key's beginning at either end and in the middle, and a body of the SDK with one."""
    needles = [needle for needle, _ in key_masking._FORMS]
    found = [needle + b" a text " + needle + b"." + needle for needle in needles]
    return [Sample(data, "bytes") for data in (*found, sentry_bodies.small_error() + needles[0])]


def _targets(used: twins.Twins) -> Iterator[Target]:
    if used.may_hold_key:
        yield Target("twin-keys", keys, partial(twins.same_look, used))
    yield Target("twin-messages", messages, partial(twins.same_columns, used))
    if used.span_block:
        yield Target("twin-blocks", timed_messages, partial(twins.same_rows, used))
    if used.log_block:
        yield Target("twin-log-blocks", log_messages, partial(twins.same_log_rows, used))
    if used.sentry_span_block:
        yield Target("twin-sentry-spans", sentry_spans, partial(twins.same_transaction, used))
    for encoding in ("json", "protobuf"):
        yield Target(f"twin-{encoding}", partial(requests, encoding), partial(twins.same_verdict, used, encoding))
        same_logs = partial(twins.same_verdict, used, encoding, signal="logs")
        yield Target(f"twin-logs-{encoding}", partial(log_requests, encoding), same_logs)


TARGETS: Final = tuple(_targets(_used)) if _used else ()
