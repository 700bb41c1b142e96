"""Hostile Sentry items with many records, and envelopes with many items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ops.bench.abuse.sentry import (
    ALL,
    ENVELOPE,
    ENVELOPE_TYPE,
    ID,
    LARGE,
    NOW_S,
    WIDE,
    Part,
    abuse_kinds,
    build_envelope,
    build_item,
    list_of,
    object_of,
    of,
)
from ops.bench.abuse.shape import Shape


def _transaction(spans: Part, members: Part = lambda _: b"") -> Part:
    def payload(shape: Shape) -> bytes:
        return (
            b'{"type":"transaction","transaction":"t","start_timestamp":%b,"timestamp":%b,%b"contexts":{"trace":'
            b'{"trace_id":"%b","span_id":"%b"}},"spans":%b}'
        ) % (NOW_S, NOW_S, members(shape), ID, b"b" * 16, spans(shape))

    return of("transaction", payload)


_SPAN: Final = b'{"trace_id":"%b","span_id":"%b","start_timestamp":1,"timestamp":2%%b}' % (ID, b"b" * 16)


def _user(shape: Shape) -> bytes:
    return b'"user":{"id":"%b"},' % (b"u" * shape.text)


def _container(record: Part) -> Part:
    return lambda shape: b'{"version":2,"items":%b}' % list_of(record(shape))(shape)


def _attributes(value: Part) -> Part:
    return lambda s: b"{%b}" % b",".join(b'"a%d":{"type":"string","value":%b}' % (n, value(s)) for n in range(s.width))


def _log(value: Part) -> Part:
    return _container(
        lambda s: (
            b'{"timestamp":%b,"trace_id":"%b","level":"info","body":"x","attributes":%b}'
            % (NOW_S, ID, _attributes(value)(s))
        )
    )


_LOG_TEMPLATE: Final = (
    b'{"timestamp":1795272300,"trace_id":"%b","level":"info","body":"x","attributes":{"sentry.message.template":'
    b'{"type":"string","value":"%%b"}}}' % ID
)


_METRIC: Final = b'{"timestamp":1795272300,"trace_id":"%b","name":"m","type":"counter","value":1}' % ID
_SPAN_V2: Final = (
    b'{"trace_id":"%b","span_id":"%b","name":"s","status":"ok","is_segment":true,"start_timestamp":1795272299,'
    b'"end_timestamp":1795272300,"attributes":%%b}' % (ID, b"b" * 16)
)


def _items(item: Callable[[int], bytes]) -> Part:
    """The maximum number of items in an envelope."""
    return lambda shape: build_envelope(
        *(item(number) for number in range(min(500, shape.size_bytes // len(item(0)) or 1)))
    )


def _reports(shape: Shape) -> bytes:
    """Client reports with the maximum number of reasons, all different."""

    def report(number: int) -> bytes:
        entry = b'{"reason":"r%d.%d","category":"error","quantity":1}'
        return b'{"discarded_events":[%b]}' % b",".join(entry % (number, n) for n in range(shape.width))

    return _items(lambda number: build_item("client_report", report(number)))(shape)


def _sessions(aggregate: bytes, attributes: Part = lambda _: b"{}") -> Part:
    return of("sessions", lambda s: b'{"attrs":%b,"aggregates":%b}' % (attributes(s), list_of(aggregate)(s)))


RECORDS: Final = abuse_kinds(
    ENVELOPE,
    ENVELOPE_TYPE,
    ("transaction: spans, the least", _transaction(list_of(_SPAN % b""))),
    ("transaction: spans, invalid", _transaction(list_of(b"{}"))),
    (
        "transaction: spans with a user of 1 kB",
        _transaction(list_of(b"{}"), _user),
        Shape(size_bytes=140_000, text=1_000),
    ),
    (
        "transaction: valid spans with a user of 1 kB",
        _transaction(list_of(_SPAN % b""), _user),
        Shape(size_bytes=ALL, text=1_000),
    ),
    (
        "transaction: spans of data",
        _transaction(
            lambda s: list_of(_SPAN % (b',"data":{%b}' % b",".join(b'"d%d":1' % n for n in range(s.width))))(s)
        ),
        WIDE,
    ),
    (
        "transaction: spans of tags",
        _transaction(
            lambda s: list_of(_SPAN % (b',"tags":{%b}' % b",".join(b'"d%d":"1"' % n for n in range(s.width))))(s)
        ),
        WIDE,
    ),
    (
        "transaction: measurements",
        _transaction(lambda _: b"[]", lambda s: b'"measurements":%b,' % object_of(b'{"value":1}')(s)),
        LARGE,
    ),
    ("spans: v2, the least", of("span", _container(lambda _: _SPAN_V2 % b"{}"))),
    ("spans: v2, empty", of("span", _container(lambda _: b"{}"))),
    ("spans: v2, attributes", of("span", _container(lambda s: _SPAN_V2 % _attributes(lambda _: b'"v"')(s))), WIDE),
    (
        "spans: v2, links",
        of(
            "span",
            _container(
                lambda s: _SPAN_V2[:-2].replace(
                    b'"attributes":%', b'"attributes":{},"links":[%b]}' % b",".join([b"{}"] * s.width)
                )
            ),
        ),
        WIDE,
    ),
    ("logs: empty", of("log", _container(lambda _: b"{}"))),
    ("logs: of a wrong kind", of("log", _container(lambda _: b"0"))),
    ("logs: attributes", of("log", _log(lambda _: b'"v"')), WIDE),
    ("logs: attributes of a wrong kind", of("log", _log(lambda _: b"[[[]]]")), WIDE),
    ("logs: long attributes", of("log", _log(lambda s: b'"%b"' % (b"v" * s.text))), Shape(width=2, text=4_000)),
    (
        "logs: templates of %(",
        of("log", _container(lambda s: _LOG_TEMPLATE % (b"%(" * s.text))),
        Shape(size_bytes=ALL, text=1_000_000),
    ),
    (
        "logs: templates of addresses",
        of("log", _container(lambda s: _LOG_TEMPLATE % (b"a" * s.text + b"@"))),
        Shape(size_bytes=ALL, text=1_990),
    ),
    ("metrics: the least", of("trace_metric", _container(lambda _: _METRIC))),
    ("metrics: empty", of("trace_metric", _container(lambda _: b"{}"))),
    ("sessions: aggregates, the least", _sessions(b'{"started":1795272300}')),
    (
        "sessions: aggregates, all that fit",
        _sessions(b'{"started":1795272300,"exited":1}'),
        Shape(size_bytes=3_400_000),
    ),
    ("sessions: aggregates, invalid", _sessions(b"{}")),
    (
        "sessions: aggregates with large attributes",
        _sessions(
            b'{"started":1}',
            lambda s: b'{"release":"%b","environment":"%b","user_agent":"%b"}' % ((b"r" * s.text,) * 3),
        ),
        Shape(text=400),
    ),
    ("client reports: a reason each", _reports, Shape(width=500)),
    ("client reports: one entry each", _reports, Shape(width=1)),
    ("items: empty attachments", _items(lambda _: build_item("attachment", b""))),
    ("items: empty events", _items(lambda _: build_item("event", b"{}"))),
    ("items: empty transactions", _items(lambda _: build_item("transaction", b"{}"))),
    ("items: headers alone", _items(lambda _: b'{"type":"session"}\n{}\n')),
    ("items: types that nobody knows", _items(lambda n: build_item(f"t{n:07}", b""))),
    ("items: statsd", _items(lambda _: build_item("statsd", b"a:1|c\n" * 500)), LARGE),
    ("items: containers of one log", _items(lambda _: build_item("log", b'{"items":[{}]}'))),
    ("items: user reports", _items(lambda _: build_item("user_report", b'{"event_id":"%b","comments":"x"}' % ID))),
    ("items: check-ins", _items(lambda _: build_item("check_in", b'{"monitor_slug":"a","status":"ok"}'))),
    (
        "check-in: a large schedule",
        of("check_in", lambda s: b'{"monitor_slug":"a","status":"ok","monitor_config":%b}' % object_of(b"1")(s)),
        LARGE,
    ),
    (
        "feedback: names in contexts",
        of("feedback", lambda s: b'{"contexts":{"feedback":%b}}' % object_of(b'"v"')(s)),
        LARGE,
    ),
    ("attachment: all zeros", of("attachment", lambda s: bytes(s.size_bytes)), LARGE),
)
